from functools import reduce

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from inference.prediction_log.items import as_objects
from monitors.stats.mergeable.outcomes import (
    merge_outcomes,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.mergeable.sketches import summarise_categories, summarise_numbers
from monitors.stats.mergeable.window_summary import (
    UnreadableSummary,
    WindowSummary,
    decode_outcomes,
    merge_columns,
    merge_stored,
    merge_windows,
    summarise_window,
)
from monitors.stats.performance.metrics import measure_outcomes
from tests.monitors.stats.columns import same_numbers


def flights(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    score = rng.random(n)
    return {
        "distance": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(6, 1, n)),
        "origin": rng.choice(np.array(["JFK", "LGA", "EWR", None], dtype=object), n),
        "score": score,
        "late": rng.random(n) < score,
        "latency_ms": rng.gamma(2, 1, n),
    }


def window_of(columns: dict[str, np.ndarray], rows: slice = slice(None)) -> WindowSummary:
    part = {name: values[rows] for name, values in columns.items()}
    return summarise_window(
        rows=len(part["score"]),
        features={"distance": part["distance"], "origin": part["origin"]},
        centres={"distance": 400.0},
        prediction=np.where(part["score"] > 0.5, "late", "on time"),
        score=part["score"],
        latency_ms=part["latency_ms"],
        outcome=summarise_binary_outcomes(part["late"], part["score"] > 0.5, part["score"]),
        labelled=len(part["score"]),
        label_lag_s=part["latency_ms"] * 1e3,
    )


def assert_same(left: WindowSummary, right: WindowSummary) -> None:
    assert (left.rows, left.labelled, left.prediction) == (right.rows, right.labelled, right.prediction)
    assert left.features["origin"] == right.features["origin"]
    assert same_numbers(left.features["distance"], right.features["distance"])
    assert same_numbers(left.score, right.score)
    assert same_numbers(left.latency_ms, right.latency_ms)
    assert same_numbers(left.label_lag_s, right.label_lag_s)
    for name, estimate in measure_outcomes(left.outcome).items():
        assert measure_outcomes(right.outcome)[name].value == pytest.approx(estimate.value)


def test_merged_hours_equal_the_day():
    columns = flights(np.random.default_rng(0), 3_000)

    merged = merge_windows([window_of(columns, slice(start, start + 500)) for start in range(0, 3_000, 500)])

    assert_same(merged, window_of(columns))


def test_a_stored_window_comes_back():
    window = window_of(flights(np.random.default_rng(0), 2_000))

    restored = WindowSummary.decode(window.encode())

    distance, original = restored.features["distance"], window.features["distance"]
    assert np.array_equal(distance.keys, original.keys)
    assert np.array_equal(distance.counts, original.counts)
    assert distance.sums == pytest.approx(original.sums, rel=1e-6)
    assert (distance.total, distance.total_sq, distance.minimum) == (
        original.total, original.total_sq, original.minimum,
    )  # fmt: skip
    assert restored.features["origin"] == window.features["origin"]
    assert restored.prediction == window.prediction
    before, after = measure_outcomes(window.outcome), measure_outcomes(restored.outcome)
    assert {name: e.value for name, e in after.items()} == pytest.approx(
        {n: e.value for n, e in before.items()}
    )


def test_storing_twice_changes_nothing():
    stored = window_of(flights(np.random.default_rng(0), 2_000)).encode()

    assert WindowSummary.decode(stored).encode() == stored


@pytest.mark.parametrize(
    "outcome",
    [
        summarise_multiclass_outcomes(("a", "b"), ["a", "b", "c"], ["a", "a", "a"], [[0.9, 0.1]] * 3),
        summarise_regression_outcomes([1.0, 2.0, 4.0], [1.5, 2.0, 3.0]),
        summarise_binary_outcomes([], [], None),
        None,
    ],
)
def test_every_kind_of_outcome_comes_back(outcome):
    window = WindowSummary(rows=3, features={}, outcome=outcome)

    restored = WindowSummary.decode(window.encode()).outcome

    assert type(restored) is type(outcome)
    if outcome is not None:
        before, after = measure_outcomes(outcome), measure_outcomes(restored)
        assert {name: (e.value, e.n) for name, e in after.items()} == {
            name: (None if e.value is None else pytest.approx(e.value, rel=1e-6), e.n)
            for name, e in before.items()
        }


CURVES = {"roc_auc", "weighted_roc_auc", "average_precision", "weighted_average_precision"}


@pytest.mark.parametrize(
    ("outcome", "fields_then", "unknown_then"),
    [
        (
            summarise_multiclass_outcomes(("a", "b"), ["a", "b"], ["a", "a"], [[0.9, 0.1]] * 2),
            5,
            {"brier", "ece", *CURVES},
        ),
        (
            summarise_multiclass_outcomes(("a", "b"), ["a", "b"], ["a", "a"], [[0.9, 0.1]] * 2),
            8,
            CURVES,
        ),
        (summarise_regression_outcomes([1.0, 4.0], [1.5, 3.0]), 6, {"mape", "median_absolute_error"}),
    ],
)
def test_a_window_stored_before_a_metric_was_known_gives_the_others(outcome, fields_then, unknown_then):
    stored = WindowSummary(rows=2, features={}, outcome=outcome).encode()
    fields = msgspec.msgpack.decode(zstandard.decompress(stored))
    fields[-1] = msgspec.msgpack.encode(msgspec.msgpack.decode(fields[-1])[:fields_then])
    old = zstandard.compress(msgspec.msgpack.encode(fields))

    measured = measure_outcomes(WindowSummary.decode(old).outcome)

    assert {name for name, estimate in measured.items() if estimate.value is None} == unknown_then
    together = merge_outcomes([WindowSummary.decode(old).outcome, WindowSummary.decode(stored).outcome])
    assert all(measure_outcomes(together)[name].n == 2 for name in unknown_then)


def test_only_the_features_asked_for_are_unpacked():
    window = window_of(flights(np.random.default_rng(0), 100))

    assert list(WindowSummary.decode(window.encode(), features=["origin"]).features) == ["origin"]


def test_answers_of_a_regression_that_were_counted_as_categories_merge_with_numbers():
    then, now = [1.5, 1.5, 2.0, None], [2.5, 1.5]

    merged = merge_columns([summarise_categories(then), summarise_numbers(now, centre=2.0)])

    whole = summarise_numbers([*then, *now], centre=2.0)
    assert same_numbers(merged, whole)


def test_empty_windows_are_stored_and_merged():
    empty = summarise_window(rows=0, features={"x": [], "y": []}, centres={"x": 0.0})

    merged = WindowSummary.decode(empty.encode()).merge(empty)

    assert merged.rows == 0
    assert merged.features["x"].n == merged.features["y"].n == 0


def test_a_feature_that_some_windows_lack_comes_from_the_others():
    with_feature = summarise_window(rows=2, features={"x": [1.0, 2.0]}, centres={"x": 0.0})

    merged = merge_windows([WindowSummary(rows=1, features={}), with_feature])

    assert merged.rows == 3
    assert merged.features["x"].n == 2


def test_categories_that_are_no_numbers_are_of_the_wrong_type_among_numbers():
    numbers = summarise_numbers([1.0, 2.0, "x"], centre=1.0)
    texts = summarise_categories(["3.5", "high", "high", None])

    merged = merge_columns([texts, numbers])

    assert (merged.n, merged.missing, merged.wrong_type, merged.rows) == (3, 1, 3, 7)
    assert merged.maximum == 3.5


OLD = bytes.fromhex(
    "28b52ffd206485020034049901030082a178c4489da16ecb4000020100cb3ff800cb400400cb00cb3fe000c404ff01407e01c4020101"
    "c40800bf3fa179c40a95a16381a16102000102c0c0c0c0c0061000a22e49dc8830863a"
)
VALUES = st.lists(
    st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from(["", "notanumber", "7"]), st.booleans()),
    max_size=12,
)


@given(st.lists(VALUES, min_size=2, max_size=4), st.sampled_from([{}, {"x": 0.0}]))
def test_values_of_the_wrong_type_are_counted_alike_however_windows_are_merged(parts, centres):
    def summarise(rows):
        return summarise_window(rows=len(rows), features={"x": as_objects(rows)}, centres=centres)

    first, *others = map(summarise, parts)
    whole = summarise([value for rows in parts for value in rows]).features["x"]

    forwards = reduce(WindowSummary.merge, others, first).features["x"]
    backwards = merge_windows([reduce(WindowSummary.merge, reversed(others)), first]).features["x"]

    is_text = [isinstance(value, str) for rows in parts for value in rows]
    missing = sum(value is None for rows in parts for value in rows)
    expected = sum(is_text) if centres else len(is_text) - sum(is_text) - missing
    for column in (forwards, backwards, whole):
        assert (column.n, column.missing, column.wrong_type, column.rows) == (
            len(is_text) - missing - expected, missing, expected, len(is_text)
        )  # fmt: skip


def test_counts_of_the_wrong_type_are_stored():
    window = summarise_window(
        rows=3,
        features={"x": as_objects([1.0, "a", None]), "y": as_objects(["a", 2.0, None])},
        centres={"x": 0.0},
    )

    restored = WindowSummary.decode(window.encode()).features

    assert (restored["x"].wrong_type, restored["x"].missing) == (1, 1)
    assert restored["y"] == window.features["y"]
    assert (restored["y"].wrong_type, restored["y"].n) == (1, 1)


def test_columns_that_were_stored_before_wrong_types_were_counted_are_read():
    """The bytes are those that the code wrote before it counted values of the wrong type."""
    restored = WindowSummary.decode(OLD).features

    assert (restored["x"].n, restored["x"].missing, restored["x"].wrong_type) == (2, 1, 0)
    assert (restored["y"].counts, restored["y"].missing, restored["y"].wrong_type) == ({"a": 2}, 1, 0)


@pytest.mark.slow
@given(
    st.floats(-1e6, 1e6) | st.sampled_from([0.1, 3.0, -0.0]),
    st.sampled_from([1, 2, 300, 70_000]),
    st.sampled_from([0.0, 0.1, 1e6]),
)
def test_a_column_of_one_value_is_read_back_as_it_was_stored(value, rows, centre):
    column = summarise_numbers([value] * rows + [None] * (rows % 2), centre=centre)
    stored = WindowSummary(rows=rows, features={"x": column}).encode()

    restored = WindowSummary.decode(stored)

    assert same_numbers(restored.features["x"], column)
    assert restored.features["x"].distinct.values.tolist() == [value]
    assert restored.encode() == stored


@pytest.mark.parametrize("data", [b"", b"no summary", WindowSummary(rows=1, features={}).encode()[:-3]])
def test_bytes_that_are_no_summary_are_refused(data):
    for decode in (WindowSummary.decode, decode_outcomes):
        with pytest.raises(UnreadableSummary, match="recompute"):
            decode(data)


def test_a_day_of_100_000_rows_takes_some_kilobytes_a_column():
    column = np.random.default_rng(0).lognormal(size=100_000)

    stored = summarise_window(rows=100_000, features={"x": column}, centres={"x": 1.0}).encode()

    assert len(stored) < 16_000


def column_of(draw_from: list[float | str | None], rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(draw_from, object), rows)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2**16)), min_size=1, max_size=8),
    st.sampled_from(
        [["text", None], [0.1, 0.25, None], [0.1, 1e39, 3.0], [1.5, "1.5", None], [2.0, "x", 0.7]]
    ),
)
def test_stored_windows_are_added_up_as_if_each_had_been_unpacked(
    days: list[tuple[int, int]], others: list[float | str | None]
) -> None:
    windows = []
    for rows, seed in days:
        rng = np.random.default_rng(seed)
        score = rng.random(rows).round(3)
        features = {
            "income": rng.normal(50, 20, rows).round(2),
            "age": rng.integers(18, 90, rows).astype(float),
            "other": column_of(others, rows, seed),
        }
        windows.append(
            summarise_window(
                rows=rows,
                features=features if seed % 7 else {name: features[name] for name in ("income", "other")},
                centres={"income": 50.3, "age": 40.0} | ({} if others[0] == "text" else {"other": 0.3}),
                prediction=np.where(score > 0.5, "1", "0"),
                score=score,
                latency_ms=np.zeros(rows),
                outcome=summarise_binary_outcomes(rng.random(rows) < score, score > 0.5, score)
                if rows
                else None,
                labelled=rows,
                label_lag_s=np.empty(0) if seed % 3 else score * 60,
            )
        )
    stored = [window.encode() for window in windows]

    merged, outcomes = merge_stored(stored)
    one, _ = merge_stored(stored, features=["income"])

    unpacked = [WindowSummary.decode(data) for data in stored]
    expected = merge_windows(unpacked)
    assert (merged.rows, merged.labelled, merged.prediction) == (
        expected.rows,
        expected.labelled,
        expected.prediction,
    )
    assert [outcome and outcome.n for outcome in outcomes] == [
        window.outcome and window.outcome.n for window in unpacked
    ]
    assert list(merged.features) == list(expected.features)
    for name, column in expected.features.items():
        found = merged.features[name]
        assert found == column if name == "other" and others[0] == "text" else same_numbers(found, column)
    for name in ("score", "latency_ms", "label_lag_s"):
        assert same_numbers(getattr(merged, name), getattr(expected, name))
    assert same_numbers(one.features["income"], expected.features["income"])
    assert list(one.features) == ["income"]


def test_a_stored_window_that_is_none_is_named_where_it_is_added_up() -> None:
    with pytest.raises(UnreadableSummary, match="3 bytes"):
        merge_stored([b"abc"])
