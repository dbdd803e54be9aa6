"""When missing, unseen and out-of-range values are a fault, and when they are what the reference knows."""

import numpy as np
import pytest

from monitors.metrics.points import Point
from monitors.metrics.quality import quality_points, worst_days
from monitors.stats.sketches import summarise_categories, summarise_numbers
from monitors.stats.window_summary import ColumnSummary, WindowSummary, merge_windows


def window(**features: ColumnSummary) -> WindowSummary:
    return WindowSummary(rows=100, features=features)


def numbers(*values: float) -> ColumnSummary:
    """A hundred rows of these values in turn."""
    return summarise_numbers(np.resize(np.array(values, dtype=np.float64), 100), centre=0.0)


def names(*values: str | None) -> ColumnSummary:
    return summarise_categories(np.resize(np.array(values, dtype=object), 100))


def told(current: ColumnSummary, days: list[ColumnSummary]) -> dict[str, Point]:
    """Judge a window against a reference of these days."""
    summaries = [window(x=day) for day in days]
    points = quality_points(window(x=current), merge_windows(summaries), worst_days(summaries), min_rows=50)
    return {point.metric: point for point in points}


def test_gaps_as_on_the_references_worst_day_are_no_fault_and_wider_ones_are() -> None:
    usual, gappy = numbers(1.0, 2.0), numbers(1.0, 2.0, 3.0, np.nan)

    assert told(gappy, [usual, usual, usual])["missing_share"].status == "warning"
    assert told(gappy, [usual, usual, gappy])["missing_share"].status == "ok"
    assert told(numbers(np.nan), [usual, usual, gappy])["missing_share"].status == "critical"


def test_a_column_that_was_empty_for_a_day_is_still_missed() -> None:
    days = [numbers(1.0, 2.0), numbers(1.0, 2.0), numbers(np.nan)]

    assert told(numbers(np.nan), days)["missing_share"].status == "critical"


def test_a_column_that_is_nearly_always_empty_is_as_it_should_be() -> None:
    sparse = numbers(*[np.nan] * 24, 1.0)

    assert told(sparse, [sparse, sparse])["missing_share"].status == "ok"


def test_a_stormy_day_is_no_fault_and_another_unit_is() -> None:
    calm, stormy = numbers(1010.0, 1020.0), numbers(980.0, 990.0)

    assert told(stormy, [calm, calm, numbers(1000.0, 1030.0)])["out_of_range_share"].status == "ok"
    assert told(numbers(29.8, 30.1), [calm, calm, stormy])["out_of_range_share"].status == "critical"


def test_names_that_come_and_go_by_the_day_are_known_to_do_so() -> None:
    days = [names("a", "b"), names("a", "c"), names("a", "a", "a", "d")]

    assert told(names("a", "e"), days)["unseen_share"].status == "ok"
    assert told(names("a", "e"), [names("a", "b"), names("a", "b")])["unseen_share"].status == "warning"


def test_features_beyond_their_limits_are_counted_by_name() -> None:
    reference = window(x=numbers(1.0, 2.0), y=names("a"))

    points = quality_points(window(x=numbers(np.nan), y=names("b")), reference, {}, min_rows=50)

    counted = next(point for point in points if point.metric == "faulty_features")
    assert (counted.value, counted.status, counted.detail) == (2.0, "critical", {"counted": ["x", "y"]})


@pytest.mark.parametrize("days", [[], [window(x=numbers(1.0))]], ids=["no day", "one day"])
def test_too_few_days_tell_nothing(days: list[WindowSummary]) -> None:
    assert worst_days(days) == {}
