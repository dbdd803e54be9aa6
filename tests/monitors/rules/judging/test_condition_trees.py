"""Conditions as trees: what is refused, what they say of windows, and random ones against a plain oracle."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.base.errors import Problem
from driftline.base.yaml_text import NumberReader, read_yaml
from monitors.metrics.store.models import MetricPoint
from monitors.rules.judging.condition_trees import (
    DeviationsAway,
    FixedThreshold,
    OwnLimit,
    Term,
    TimesBefore,
    document_of,
    parse_condition,
    terms_of,
)
from monitors.rules.judging.conditions import RuleProgress, step
from monitors.rules.judging.windows import gather
from monitors.rules.models import Rule
from monitors.rules.sentences import describe_tree
from tests.monitors.rules.oracle import BAD, DAY, GOOD, NO_DATA, AboveOne, plainly

GUIDE = Path(__file__).parents[4] / "docs/guides/alerts.md"
MANY = int(os.environ.get("DRIFTLINE_RANDOM_RULES", settings().max_examples))
START = datetime(2026, 1, 1, tzinfo=UTC)
INCOME = {"metric": "psi", "feature": "income", "threshold": 0.25}
ACCURACY = {"metric": "accuracy", "operator": "below", "threshold": 0.8}


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = INCOME
    for _ in range(levels - 1):
        document = {"not": document}
    return document


REFUSED: list[tuple[str, Any, str, str]] = [
    ("a list", [], "", "A condition is an object"),
    ("nothing in it", {}, "", "exactly one of threshold, limit, times or deviations"),
    ("an empty group", {"all": []}, "/all", "a list of 1 to 20 conditions"),
    ("a group that is no list", {"any": INCOME}, "/any", "a list of 1 to 20 conditions"),
    ("two groups", {"all": [INCOME], "any": [INCOME]}, "/any", "'all' stands alone in its object"),
    ("a group beside a comparison", {"not": INCOME, "metric": "psi"}, "/metric", "'not' stands alone"),
    ("an unknown key", INCOME | {"luck": 1}, "/luck", "'luck' is unknown here; use feature, metric"),
    ("a key with a slash", INCOME | {"a/b": 1}, "/a~1b", "is unknown here"),
    ("two right sides", INCOME | {"limit": "calibrated"}, "", "exactly one of"),
    ("a boolean for a number", INCOME | {"threshold": True}, "/threshold", "'True' is not a finite number"),
    ("NaN", INCOME | {"threshold": float("nan")}, "/threshold", "'nan' is not a finite number"),
    ("an integer of 400 digits", INCOME | {"threshold": 10**400}, "/threshold", "is not a finite number"),
    ("text for a number", INCOME | {"threshold": "0.2"}, "/threshold", "'0.2' is not a finite number"),
    ("a number for a name", INCOME | {"metric": 7}, "/metric", "A metric is a text"),
    ("an unknown operator", INCOME | {"operator": "near"}, "/operator", "'near' is not one of above, below"),
    ("another limit", {"metric": "psi", "limit": "usual"}, "/limit", "The only limit is 'calibrated'"),
    (
        "an operator beside a calibrated limit",
        {"metric": "psi", "operator": "above", "limit": "calibrated"},
        "/operator",
        "has a direction of its own",
    ),
    ("no days before", {"metric": "count", "times": 2}, "/days_before", "Say days_before, a whole number from 1"),
    ("half a day before", {"metric": "count", "times": 2, "days_before": 0.5}, "/days_before", "not a whole number"),
    ("a negative share", {"metric": "count", "times": -1, "days_before": 7}, "/times", "-1 is not above 0"),
    ("few windows", {"metric": "count", "deviations": 3, "last_windows": 4}, "/last_windows", "from 5 to 366"),
    ("no deviations", {"metric": "count", "deviations": 0, "last_windows": 9}, "/deviations", "not a number above 0"),
    ("six levels", nested(6), "/not/not/not/not/not", "at most 5 levels"),
    ("21 members", {"all": [INCOME] * 21}, "/all", "a list of 1 to 20"),
    ("40 comparisons", {"all": [{"any": [INCOME] * 20}] * 2}, "", "at most 20 comparisons, not 40"),
]  # fmt: skip


class TestParsing:
    @pytest.mark.parametrize(
        ("document", "place", "sentence"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED]
    )
    def test_refuses_with_the_place_and_a_sentence(self, document: Any, place: str, sentence: str) -> None:
        with pytest.raises(Problem) as refused:
            parse_condition(document)

        [fault] = refused.value.errors
        assert fault.pointer == f"/condition{place}"
        assert sentence in fault.detail

    def test_refuses_nesting_of_10_kb_without_following_it(self) -> None:
        document: Any = INCOME
        for _ in range(2_000):
            document = {"all": [document]}

        with pytest.raises(Problem, match="at most 5 levels"):
            parse_condition(document)

    def test_takes_five_levels(self) -> None:
        assert list(terms_of(parse_condition(nested(5)))) == [
            Term("psi", "income", "", "above", FixedThreshold(0.25), "/condition/not/not/not/not")
        ]

    @pytest.mark.parametrize(
        "document",
        [
            {"metric": "psi", "feature": "income", "limit": "calibrated"},
            {"metric": "count", "operator": "below", "times": 0.5, "days_before": 7},
            {"metric": "mae", "segment": "region:north", "operator": "above", "deviations": 3.0, "last_windows": 28},
        ],
    )  # fmt: skip
    def test_writes_a_comparison_as_it_was_read(self, document: dict[str, Any]) -> None:
        [term] = terms_of(parse_condition(document))

        assert document_of(term) == document


def test_the_guide_shows_a_condition_of_every_right_side() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    [text] = (block for block in blocks if block.startswith("all:"))

    terms = terms_of(parse_condition(read_yaml(text, NumberReader)))

    assert {type(term.right) for term in terms} == {FixedThreshold, OwnLimit, TimesBefore, DeviationsAway}


def test_a_tree_is_written_as_it_was_read() -> None:
    document = {"all": [INCOME | {"operator": "above"}, {"any": [ACCURACY, {"not": ACCURACY}]}]}

    assert document_of(parse_condition(document)) == document


def test_a_tree_reads_as_a_sentence() -> None:
    document = {
        "all": [
            {"metric": "psi", "feature": "*", "limit": "calibrated"},
            {"any": [ACCURACY, {"metric": "count", "operator": "below", "times": 0.5, "days_before": 7}]},
            {"not": {"metric": "mae", "deviations": 3, "last_windows": 28}},
        ]
    }

    assert describe_tree(parse_condition(document), "day") == (
        "Population stability index of any feature is beyond its calibrated limit and (Accuracy is below 0.8 or "
        "Predictions is below 0.5 times its value 7 days before) and not (Mean absolute error is more than 3 "
        "deviations above the median of its 28 last days)"
    )


# -- windows -----------------------------------------------------------------------------------------------------------
def rule_of(document: dict[str, Any], **fields: Any) -> Rule:
    return Rule(condition=document, judged_span="day", min_rows=10, cooldown=3 * DAY, **fields)


def point(metric: str, day: int, value: float | None, **fields: Any) -> MetricPoint:
    start = START + day * DAY
    defaults = {"n": 100, "status": "ok", "span": "day", "feature": "", "segment": ""}
    return MetricPoint(metric=metric, value=value, start=start, end=start + DAY, **(defaults | fields))


class TestAWindow:
    def test_is_decided_by_the_first_comparison_that_settles_it(self) -> None:
        rule = rule_of({"any": [ACCURACY, INCOME]})

        [window] = gather(rule, [point("accuracy", 0, 0.9), point("psi", 0, 0.4, feature="income")])

        assert window.is_breached
        assert (window.feature, window.value, window.threshold) == ("income", 0.4, 0.25)

    def test_is_decided_by_the_first_of_all_where_all_must_hold(self) -> None:
        rule = rule_of({"all": [ACCURACY, INCOME]})

        [window] = gather(rule, [point("accuracy", 0, 0.7), point("psi", 0, 0.4, feature="income")])

        assert window.is_breached
        assert (window.value, window.threshold) == (0.7, 0.8)

    def test_asks_for_no_rows_of_a_metric_that_is_measured_where_none_comes(self) -> None:
        silent = point("silence", 0, 8.0, n=0)
        rule = rule_of({"all": [{"metric": "silence", "threshold": 6}]})

        [window] = gather(rule, [silent])

        assert window.is_breached
        assert rule.of_term(rule.terms[0], 6).breaks(silent)

    @pytest.mark.parametrize(("kind", "expected"), [("any", True), ("all", None)])
    def test_needs_no_value_that_changes_nothing(self, kind: str, expected: bool | None) -> None:
        [window] = gather(rule_of({kind: [ACCURACY, INCOME]}), [point("accuracy", 0, 0.7)])

        assert window.is_breached is expected

    def test_says_nothing_on_too_few_rows_unless_the_interval_proves_it(self) -> None:
        few = point("accuracy", 0, 0.5, n=30, lower=0.4, upper=0.6)
        rule = rule_of({"all": [ACCURACY]})
        rule.min_rows = 100

        [unproven] = gather(rule, [point("accuracy", 0, 0.5, n=30)])
        [proven] = gather(rule, [few])

        assert (unproven.is_breached, proven.is_breached) == (None, True)

    def test_goes_by_the_calibrated_limit_as_pages_do(self) -> None:
        """A value beyond its own limit that does not stand out among all features is no breach."""
        rule = rule_of({"metric": "psi", "feature": "*", "limit": "calibrated"})
        alone = point("psi", 0, 0.3, feature="age", threshold=0.2, status="ok")
        raised = point("psi", 1, 0.3, feature="age", threshold=0.2, status="warning")

        assert [window.is_breached for window in gather(rule, [alone, raised])] == [False, True]

    def test_compares_with_the_same_window_days_before(self) -> None:
        rule = rule_of({"metric": "count", "operator": "below", "times": 0.5, "days_before": 7})
        points = [point("count", day, 100.0) for day in range(8)] + [point("count", 8, 40.0)]

        breaches = [window.is_breached for window in gather(rule, points)]

        assert breaches == [None] * 7 + [False, True]

    def test_counts_deviations_that_an_outlier_before_does_not_widen(self) -> None:
        rule = rule_of({"metric": "mae", "deviations": 3, "last_windows": 6})
        usual = [1.0, 1.1, 0.9, 1.0, 50.0, 1.1]
        points = [point("mae", day, value) for day, value in enumerate(usual)]

        calm, high = (gather(rule, [*points, point("mae", 6, value)])[-1] for value in (1.2, 1.6))

        assert (calm.is_breached, high.is_breached) == (False, True)

    def test_of_values_that_were_always_the_same_a_deviation_is_what_chance_moves_the_window_by(self) -> None:
        rule = rule_of({"metric": "mae", "deviations": 3, "last_windows": 6})
        points = [point("mae", day, 0.0) for day in range(6)]
        wide, narrow = (replace_interval(point("mae", 6, 0.01), half) for half in (0.01, 0.001))

        breaches = [
            gather(rule, [*points, last])[-1].is_breached for last in (point("mae", 6, 0.01), wide, narrow)
        ]

        assert breaches == [None, False, True]


def replace_interval(point: MetricPoint, half: float) -> MetricPoint:
    assert point.value is not None
    point.lower, point.upper = point.value - half, point.value + half
    return point


# -- random trees ------------------------------------------------------------------------------------------------------
SERIES = [("accuracy", ""), ("psi", "income"), ("psi", "age"), ("count", "")]
VALUES = [0.1, 0.3, 0.5, 0.9, 1.0]
DAYS = 24

type Seen = tuple[float, int, str]
"""Value, rows and status of a point."""
type Table = dict[tuple[str, str, int], Seen]


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    metric, feature = draw(st.sampled_from([*SERIES, ("psi", "*")]))
    right = draw(
        st.one_of(
            st.builds(lambda value: {"threshold": value}, st.sampled_from(VALUES)),
            st.just({"limit": "calibrated"}),
            st.builds(
                lambda times, days: {"times": times, "days_before": days},
                st.sampled_from([0.5, 1.0, 2.0]), st.integers(1, 7),
            ),
            st.builds(
                lambda many, last: {"deviations": many, "last_windows": last},
                st.sampled_from([0.5, 1.0, 3.0]), st.integers(5, 9),
            ),
        )
    )  # fmt: skip
    operator = {} if "limit" in right else {"operator": draw(st.sampled_from(["above", "below"]))}
    return {"metric": metric, "feature": feature, **operator, **right}


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        some.map(lambda members: {"all": members}),
        some.map(lambda members: {"any": members}),
        inner.map(lambda member: {"not": member}),
    )


TREES = comparisons() | grown(comparisons()) | grown(comparisons() | grown(comparisons()))
SEEN = st.none() | st.tuples(
    st.sampled_from(VALUES), st.sampled_from([3, 100, 100]), st.sampled_from(["ok", "ok", "warning", "insufficient"])
)  # fmt: skip


@dataclass(frozen=True)
class History:
    """A table of what is measured at first, and what late rows make of some days after a day was judged."""

    first: Table
    late: dict[int, Table]
    batches: list[int]


@st.composite
def histories(draw: st.DrawFn) -> History:
    def table(days: list[int]) -> Table:
        cells = {(metric, feature, day): draw(SEEN) for metric, feature in SERIES for day in days}
        return {key: seen for key, seen in cells.items() if seen is not None}

    cuts = sorted(draw(st.sets(st.integers(1, DAYS - 1), max_size=4)))
    late = {cut: table([draw(st.integers(0, cut - 1))]) for cut in cuts}
    return History(table(list(range(DAYS))), late, [0, *cuts, DAYS])


def usable(seen: Seen | None) -> bool:
    return seen is not None and seen[1] >= 10 and seen[2] != "insufficient"


def truth(document: Mapping[str, Any], table: Table, day: int) -> bool | None:
    """Whether a condition holds on a day, by the definition of each word: slow, and with no code of the product."""
    for kind, settled in (("all", False), ("any", True)):
        if kind in document:
            members = [truth(one, table, day) for one in document[kind]]
            return settled if settled in members else None if None in members else not settled
    if "not" in document:
        inner = truth(document["not"], table, day)
        return None if inner is None else not inner
    features = [feature for metric, feature in SERIES if metric == document["metric"]]
    chosen = features if document["feature"] == "*" else [document["feature"]]
    answers = {one_is_beyond(document, table, feature, day) for feature in chosen} - {None}
    return any(answers) if answers else None


def one_is_beyond(document: Mapping[str, Any], table: Table, feature: str, day: int) -> bool | None:
    metric = document["metric"]
    here = table.get((metric, feature, day))
    if here is None or not usable(here):
        return None
    value, _, status = here
    if "limit" in document:
        return status == "warning"
    if "threshold" in document:
        limit = document["threshold"]
    elif "times" in document:
        before = table.get((metric, feature, day - document["days_before"]))
        if before is None or not usable(before):
            return None
        limit = document["times"] * before[0]
    else:
        last = document["last_windows"]
        cells = [table.get((metric, feature, day - back)) for back in range(1, last + 1)]
        values = np.array([cell[0] for cell in cells if cell is not None and usable(cell)])
        if len(values) < 5 or 2 * len(values) < last:
            return None
        distances = np.abs(values - np.median(values))
        spread = 1.4826 * np.median(distances) or 1.2533 * np.mean(distances)
        if spread == 0:
            return None
        sign = 1 if document["operator"] == "above" else -1
        limit = np.median(values) + sign * document["deviations"] * spread
    return bool(value > limit) if document["operator"] == "above" else bool(value < limit)


def points_of_table(table: Table) -> list[MetricPoint]:
    return [
        point(metric, day, value, feature=feature, n=rows, status=status, threshold=2.0)
        for (metric, feature, day), (value, rows, status) in table.items()
    ]


def judged_in_batches(rule: Rule, history: History, note: Callable[[int, Table], None]) -> list[str]:
    """The outcomes of a rule that judges what came, batch by batch, late rows being stored between them."""
    table, progress, outcomes = dict(history.first), RuleProgress(), []
    for begin, end in pairwise(history.batches):
        table |= history.late.get(begin, {})
        known = {key: seen for key, seen in table.items() if key[2] < end}
        measured = dict.fromkeys((START + day * DAY for day in range(begin, end)), False)
        windows = gather(rule, points_of_table(known), since=START + begin * DAY, measured=measured)
        assert [window.start for window in windows] == list(measured)
        for day, window in zip(range(begin, end), windows, strict=True):
            note(day, known)
            verdict = step(rule, progress, window)
            progress = verdict.progress
            outcomes.append(verdict.outcome.value)
    return outcomes


@pytest.mark.slow
@settings(max_examples=MANY, deadline=None)
@given(TREES, histories(), st.integers(1, 3), st.integers(0, 2), st.sampled_from(["keep", "alert", "ok"]))
def test_a_rule_with_a_condition_does_what_its_words_say(
    document: dict[str, Any], history: History, for_windows: int, more: int, no_data: str
) -> None:
    values: list[float | None] = []
    rule = rule_of(
        document, for_windows=for_windows, of_windows=for_windows + more, recover_windows=2, no_data=no_data
    )

    def note(day: int, table: Table) -> None:
        values.append({True: BAD, False: GOOD, None: NO_DATA}[truth(document, table, day)])

    outcomes = judged_in_batches(rule, history, note)

    plain = AboveOne(
        for_windows=for_windows, of_windows=for_windows + more, recover_windows=2, no_data=no_data
    )
    assert outcomes == plainly(plain, values)
