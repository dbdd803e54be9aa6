"""The language of custom metrics: what it reads, what it refuses in a sentence, and how sums behave."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from monitors.stats.expressions.checking import ModelColumns, check_metric
from monitors.stats.expressions.estimates import estimate_metric
from monitors.stats.expressions.evaluation import Vocabulary, evaluate
from monitors.stats.expressions.parsing import MAX_LENGTH, parse_metric
from monitors.stats.expressions.tree import Aggregate, ColumnName, ExpressionError, Floats
from monitors.stats.mergeable.expression_sums import ExpressionSums, merge_expressions
from monitors.stats.mergeable.subtraction import subtract
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows
from tests.monitors.stats.expressions.random_metrics import ROWS, MetricWriter, sums_in_parts, table

LOANS = ModelColumns(
    "binary", {"amount": True, "age": True, "region": False, "ssn": False}, hidden={"ssn": "is kept hashed"}
)


def refusal(text: str, columns: ModelColumns = LOANS) -> str:
    with pytest.raises(ExpressionError) as refused:
        check_metric(parse_metric(text), columns)
    return str(refused.value)


def sums_of(text: str, rows: int = 4, **columns: list[float | str | None]) -> ExpressionSums:
    arrays = {
        name: np.array(values, object if any(isinstance(value, str) for value in values) else np.float64)
        for name, values in columns.items()
    }

    def read(column: ColumnName, vocabulary: Vocabulary) -> Floats:
        values = arrays[str(column)]
        return vocabulary.numbers(values) if values.dtype == object else values

    return evaluate({"one": parse_metric(text)}, rows, read, np.ones(rows, bool)).sums(rows, rows)["one"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("mean(amuont)", "Character 6: 'amuont' is no feature of this model; did you mean 'amount'?"),
            ("menn(amount)", "Did you mean 'mean'?"),
            ("share(region == 3)", "region is a text and 3.0 a number; both must be of one kind."),
            ("mean(region)", "region is a text, and a number is needed here."),
            ("share(amount)", "amount is a number, and a boolean is needed here. Compare it with something."),
            ("mean(ssn == 'x')", "'ssn' is kept hashed, so no row can be computed with it."),
            ("mean(amount", "Character 12: Expected ')', but the expression ends."),
            ("share(1 < age < 2)", "Character 15: Join two comparisons by `and`."),
            ("share(age = 2)", "Character 11: Use == to compare;"),
            ("mean(sum(age))", "An aggregate stands at the beginning, and only there."),
            ("quantile(age, 2)", "A quantile lies between 0 and 1"),
            ("mean(1e999)", "This number is too large."),
            ("mean(__import__)", "'__import__' is no feature of this model"),
            ("mean(age.real)", "Character 9: '.' does not belong here."),
            ("cost()", "cost needs what at least one kind of answer costs"),
            ("cost(fp=1, fp=2)", "fp has two costs."),
            ("", "A metric begins with one of count, rate, sum"),
        ],
    )
    def test_name_the_place_and_what_to_do(self, text: str, sentence: str) -> None:
        assert sentence in refusal(text)

    def test_cost_matrices_are_of_models_with_two_classes(self) -> None:
        assert "Only models of two classes" in refusal(
            "cost(fp=1)", ModelColumns("regression", {"age": True})
        )

    def test_ten_kilobytes_are_too_long_however_they_are_filled(self) -> None:
        sentence = f"An expression has up to {MAX_LENGTH:,} characters, and this one has 10,240."

        assert refusal("(" * 10_240) == refusal("mean(age" + "+1" * 5_116) == sentence

    @pytest.mark.parametrize(
        "text",
        [
            "mean(" + "(" * 500 + "age" + ")" * 501,
            "mean(" + "-" * 900 + "age)",
            "share(" + "not " * 400 + "age > 1)",
            "mean(age" + " + age" * 300 + ")",
            "mean(" + "abs(" * 200 + "age" + ")" * 201,
        ],
    )
    def test_deep_or_large_trees_are_refused_before_they_are_built(self, text: str) -> None:
        sentence = refusal(text)

        assert "nested up to 30 deep" in sentence or "up to 200 names, values and operators" in sentence

    @given(st.text(alphabet="mean(sumco) \"'ag+-*/<>=!,.1eif\\\n\u00e4", max_size=60))
    def test_no_text_whatever_does_anything_but_parse_or_be_refused(self, text: str) -> None:
        try:
            read: object = parse_metric(text)
        except ExpressionError as refused:
            read = refused

        assert isinstance(read, Aggregate | ExpressionError)


class TestAModelWithoutData:
    def test_takes_any_name_and_learns_from_the_expression_what_it_is(self) -> None:
        kinds = check_metric(
            parse_metric("mean(amount) where region == 'north' and 2 < age"), ModelColumns("binary")
        )

        assert {str(column): kind.value for column, kind in kinds.items()} == {
            "amount": "number", "region": "text", "age": "number",
        }  # fmt: skip


class TestValues:
    def test_a_row_with_a_missing_operand_is_left_out_and_counted(self) -> None:
        sums = sums_of("mean(amount / age)", amount=[1.0, 2.0, np.nan, 6.0], age=[1.0, 0.0, 1.0, 2.0])

        assert (sums.values.mean, sums.n, sums.left_out) == (2.0, 2, 2)

    def test_rows_outside_the_condition_are_not_counted_as_left_out(self) -> None:
        sums = sums_of(
            "sum(amount) where region == 'n'", amount=[1, 2, np.nan, np.nan], region=["n", "s", "s", None]
        )

        assert (sums.values.total, sums.n, sums.left_out, sums.rows) == (1.0, 1, 1, 4)

    def test_a_result_beyond_all_floats_is_missing(self) -> None:
        sums = sums_of("sum(amount * 1e308)", amount=[1e308, 1.0, np.inf, 0.0])

        assert (sums.n, sums.left_out) == (2, 2)

    def test_texts_are_equal_by_what_they_say(self) -> None:
        sums = sums_of("share(a == b)", a=["x", "y", "z", None], b=["x", "x", "z", "x"])

        assert (sums.values.total, sums.n) == (2.0, 3)

    def test_quantiles_lie_within_a_cell_of_the_sketch(self) -> None:
        values = np.random.default_rng(0).lognormal(size=5_000)

        found = estimate_metric(
            parse_metric("quantile(amount, 0.9)"),
            sums_of("quantile(amount, 0.9)", 5_000, amount=list(values)),
            1.0,
        )

        assert found.value == pytest.approx(np.quantile(values, 0.9), rel=0.02)


class TestIntervals:
    @pytest.mark.parametrize(
        "text", ["mean(u)", "share(u > 1)", "ratio(u, v)", "sum(u)", "count() where u > 1", "rate()"]
    )
    def test_hold_the_truth_in_about_95_of_100_draws(self, text: str) -> None:
        rng, metric, held = np.random.default_rng(4), parse_metric(text), 0
        truth = {
            "mean": 1.0,
            "share": np.exp(-1),
            "ratio": 0.5,
            "sum": 400.0,
            "count": 400 * np.exp(-1),
            "rate": 200.0,
        }

        for _ in range(400):
            rows = rng.poisson(400)  # rows come by themselves
            u = rng.exponential(size=rows)
            columns = {"u": list(u), "v": list(u + rng.exponential(size=rows))}
            found = estimate_metric(metric, sums_of(text, rows, **columns), hours=2.0)
            assert found.lower is not None
            assert found.upper is not None
            held += found.lower <= truth[metric.function] <= found.upper

        assert 0.92 <= held / 400 <= 0.98

    def test_extremes_have_none(self) -> None:
        found = estimate_metric(parse_metric("max(u)"), sums_of("max(u)", u=[1, 5, 2, 3]), hours=1.0)

        assert (found.value, found.lower, found.upper) == (5.0, None, None)

    def test_a_metric_of_no_row_is_undefined(self) -> None:
        sums = sums_of("ratio(u, v)", u=[np.nan] * 4, v=[1] * 4)

        assert estimate_metric(parse_metric("ratio(u, v)"), sums, hours=1.0).value is None


def rows_where(half: np.ndarray, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the values of half of the rows, so that all operands of the others are missing."""
    missing: dict[bool, Any] = {True: None, False: np.nan}
    return {name: np.where(half, values, missing[values.dtype == object]) for name, values in columns.items()}


@given(seed=st.integers(0, 10_000))
def test_sums_of_parts_are_those_of_the_whole_and_can_be_taken_out_again(seed: int) -> None:
    metric = parse_metric(MetricWriter(seed).metric().text)
    columns, is_first = table(seed), np.arange(ROWS) < 500
    whole = sums_in_parts(metric, columns)
    first, last = (sums_in_parts(metric, rows_where(half, columns)) for half in (is_first, ~is_first))

    stored = WindowSummary.decode(WindowSummary(ROWS, {}, custom={"1.1": whole}).encode())
    both = merge_windows(
        [WindowSummary(ROWS, {}, custom={"1.1": first}), WindowSummary(ROWS, {}, custom={"1.1": last})]
    )
    rest = subtract(both, WindowSummary(ROWS, {}, custom={"1.1": last})).rest.custom["1.1"]

    assert (stored.custom["1.1"].values, stored.custom["1.1"].minimum) == (whole.values, whole.minimum)
    assert (rest.rows, rest.left_out, rest.n) == (first.rows, first.left_out, first.n)
    assert rest.values.total == pytest.approx(
        first.values.total, rel=1e-6, abs=1e-6 * abs(last.values.total) + 1e-9
    )
    assert merge_expressions([{"1.1": first}, {"2.1": last}]).keys() == {"1.1", "2.1"}
