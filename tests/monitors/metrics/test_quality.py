"""When missing, unseen and out-of-range values are a fault, and when they are what the reference knows."""

import numpy as np
import pytest

from monitors.definitions.models import Expectation
from monitors.metrics.points import Point
from monitors.metrics.quality import quality_points
from monitors.stats.column_faults import worst_days
from monitors.stats.mergeable.sketches import summarise_categories, summarise_numbers
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, merge_windows


def window(**features: ColumnSummary) -> WindowSummary:
    return WindowSummary(rows=100, features=features)


def numbers(*values: float) -> ColumnSummary:
    """A hundred rows of these values in turn."""
    return summarise_numbers(np.resize(np.array(values, dtype=np.float64), 100), centre=0.0)


def names(*values: str | None) -> ColumnSummary:
    return summarise_categories(np.resize(np.array(values, dtype=object), 100))


def told(
    current: ColumnSummary, days: list[ColumnSummary], wanted: Expectation | None = None
) -> dict[str, Point]:
    """Judge a window against a reference of these days, if any, and what is expected."""
    summaries = [window(x=day) for day in days]
    points = quality_points(
        window(x=current),
        merge_windows(summaries) if days else None,
        worst_days(summaries),
        expected={"x": wanted} if wanted else {},
        min_rows=50,
    )
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

    current = window(x=numbers(np.nan), y=names("b"))
    points = quality_points(current, reference, {}, expected={}, min_rows=50)

    counted = next(point for point in points if point.metric == "faulty_features")
    assert (counted.value, counted.status, counted.detail) == (2.0, "critical", {"counted": ["x", "y"]})


@pytest.mark.parametrize("days", [[], [window(x=numbers(1.0))]], ids=["no day", "one day"])
def test_too_few_days_tell_nothing(days: list[WindowSummary]) -> None:
    assert worst_days(days) == {}


WEEK = [numbers(1.0, 2.0, 3.0, float(day)) for day in range(7)]


def test_a_number_that_stands_still_is_a_fault_where_its_days_never_did() -> None:
    stuck, half = numbers(2.0), numbers(2.0, 2.0, 3.0, 4.0)

    assert told(stuck, WEEK)["mode_share"].status == "warning"
    assert told(half, WEEK)["mode_share"].status == "ok"
    assert told(stuck, [*WEEK, stuck])["mode_share"].threshold is None
    assert told(stuck, WEEK[:6])["mode_share"].threshold is None


def test_a_weekday_stands_still_all_day_and_is_no_fault() -> None:
    weekdays = [names(day) for day in ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")]

    assert told(names("Mo"), weekdays)["mode_share"].threshold is None


def test_a_value_that_nearly_all_rows_have_may_be_that_of_all_rows_by_chance() -> None:
    usual = names(*["no"] * 19, "yes")

    assert told(names("no"), [usual] * 7)["mode_share"].threshold is None


def test_what_is_expected_goes_before_what_the_reference_shows() -> None:
    wanted = Expectation(least=0.0, most=2.5, missing_share=0.3)
    days = [numbers(1.0, 2.0, 3.0, 4.0)] * 2

    points = told(numbers(1.0, 2.0, 3.0, np.nan), days, wanted)

    assert (points["out_of_range_share"].value, points["out_of_range_share"].status) == (0.25, "warning")
    assert (points["missing_share"].value, points["missing_share"].status) == (0.25, "ok")
    assert points["faulty_features"].detail == {"counted": ["x"]}
    assert told(numbers(1.0, 2.0, 3.0), days)["out_of_range_share"].status == "ok"


def test_expectations_need_no_reference_and_tolerate_what_they_say() -> None:
    wanted = Expectation(categories=["a", "b"], tolerance=0.3)

    assert told(names("a", "b", "a", "c"), [], wanted)["unseen_share"].status == "ok"
    assert told(names("a", "c"), [], wanted)["unseen_share"].status == "warning"
    assert told(names("c"), [], wanted)["faulty_features"].status == "critical"
    assert told(names("c"), [])["faulty_features"].detail == {"counted": []}


def test_a_value_at_the_edge_is_within_it() -> None:
    wanted = Expectation(least=0.1, most=99.9)

    edges = told(numbers(0.1, 99.9), [], wanted)

    assert (edges["out_of_range_share"].value, edges["out_of_range_share"].status) == (0.0, "ok")
    assert told(numbers(0.1, 99.9, 99.8, 150.0), [], wanted)["out_of_range_share"].value == 0.25
