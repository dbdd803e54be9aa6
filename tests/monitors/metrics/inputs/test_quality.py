"""When missing, unseen and out-of-range values are a fault, and when they are what the reference knows."""

import numpy as np
import pytest

from monitors.definitions.models import Expectation
from monitors.metrics.glossary import meaning_of
from monitors.metrics.inputs.quality import quality_points
from monitors.metrics.store.points import Point
from monitors.stats.column_faults import count_faults
from monitors.stats.mergeable.sketches import summarise_categories, summarise_numbers
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, merge_windows
from monitors.stats.share_limits import DayCounts


def window(**features: ColumnSummary) -> WindowSummary:
    return WindowSummary(rows=100, features=features)


def numbers(*values: float) -> ColumnSummary:
    """A hundred rows of these values in turn."""
    return summarise_numbers(np.resize(np.array(values, dtype=np.float64), 100), centre=0.0)


def names(*values: str | None) -> ColumnSummary:
    return summarise_categories(np.resize(np.array(values, dtype=object), 100))


def quality_of(
    current: ColumnSummary, days: list[ColumnSummary], wanted: Expectation | None = None
) -> dict[str, Point]:
    """Judge a window against a reference of these days, if any, and what is expected."""
    summaries = [window(x=day) for day in days]
    points = quality_points(
        window(x=current),
        merge_windows(summaries) if days else None,
        count_faults(summaries),
        expected={"x": wanted} if wanted else {},
        min_rows=50,
    )
    return {point.metric: point for point in points}


def test_gaps_as_on_the_references_worst_day_are_no_fault_and_wider_ones_are() -> None:
    usual, gappy = numbers(1.0, 2.0), numbers(1.0, 2.0, 3.0, np.nan)

    assert quality_of(gappy, [usual, usual, usual])["missing_share"].status == "warning"
    assert quality_of(gappy, [usual, usual, gappy])["missing_share"].status == "ok"
    assert quality_of(numbers(np.nan), [usual, usual, gappy])["missing_share"].status == "critical"


@pytest.mark.slow
def test_a_week_of_twelve_times_the_gaps_is_a_fault_of_a_model_of_thirty_rows_a_day() -> None:
    """The worst of such days has 10% by chance alone, which says nothing of a week."""
    rng, noticed = np.random.default_rng(35), 0

    def rows(n: int, missing: float) -> ColumnSummary:
        return summarise_numbers(np.where(rng.random(n) < missing, np.nan, 1.0), centre=0.0)

    for _ in range(100):
        points = quality_of(rows(7 * 30, 0.12), [rows(30, 0.01) for _ in range(28)])
        noticed += points["missing_share"].status == "warning"

    assert noticed >= 95


def test_gaps_that_no_day_came_near_are_a_fault_of_a_column_with_gaps() -> None:
    usual, gappy = numbers(1.0, 2.0, 3.0), numbers(1.0, 2.0, 3.0, 4.0, 5.0, np.nan)
    days = [usual] * 27 + [gappy]

    assert quality_of(numbers(1.0, 2.0, np.nan), days)["missing_share"].status == "ok"
    assert quality_of(numbers(1.0, 2.0, np.nan, np.nan, np.nan), days)["missing_share"].status == "warning"


def test_a_column_that_was_empty_for_a_day_is_still_missed() -> None:
    days = [numbers(1.0, 2.0), numbers(1.0, 2.0), numbers(np.nan)]

    assert quality_of(numbers(np.nan), days)["missing_share"].status == "critical"


def test_a_column_that_is_nearly_always_empty_is_as_it_should_be() -> None:
    sparse = numbers(*[np.nan] * 24, 1.0)

    assert quality_of(sparse, [sparse, sparse])["missing_share"].status == "ok"


def test_a_stormy_day_is_no_fault() -> None:
    calm, stormy = numbers(1010.0, 1020.0), numbers(980.0, 990.0)

    assert quality_of(stormy, [calm, calm, numbers(1000.0, 1030.0)])["out_of_range_share"].status == "ok"


def test_a_day_of_which_most_rows_lie_outside_the_reference_has_moved_and_some_rows_outside_are_a_fault() -> (
    None
):
    winter = [numbers(30.0, 40.0, 50.0)] * 3

    summer = quality_of(numbers(65.0, 80.0, 92.0), winter)
    swapped = quality_of(numbers(30.0, 40.0, 92.0), winter)

    assert (summer["out_of_range_share"].value, summer["out_of_range_share"].status) == (1.0, "ok")
    assert summer["faulty_features"].detail == {"counted": []}
    assert swapped["faulty_features"].detail == {"counted": ["x"]}


def test_names_that_come_and_go_by_the_day_are_known_to_do_so() -> None:
    days = [names("a", "b"), names("a", "c"), names("a", "a", "a", "d")]

    assert quality_of(names("a", "e"), days)["unseen_share"].status == "ok"
    assert quality_of(names("a", "e"), [names("a", "b"), names("a", "b")])["unseen_share"].status == "warning"


def test_features_beyond_their_limits_are_counted_by_name() -> None:
    reference = window(x=numbers(1.0, 2.0), y=names("a"))

    current = window(x=numbers(np.nan), y=names("b"))
    points = quality_points(current, reference, {}, expected={}, min_rows=50)

    counted = next(point for point in points if point.metric == "faulty_features")
    assert (counted.value, counted.status, counted.detail) == (2.0, "critical", {"counted": ["x", "y"]})


@pytest.mark.parametrize("days", [[], [window(x=numbers(1.0))]], ids=["no day", "one day"])
def test_too_few_days_tell_nothing(days: list[WindowSummary]) -> None:
    assert count_faults(days) == {}


WEEK = [numbers(1.0, 2.0, 3.0, float(day)) for day in range(7)]


def test_a_number_that_stands_still_is_a_fault_where_its_days_never_did() -> None:
    stuck, half = numbers(2.0), numbers(2.0, 2.0, 3.0, 4.0)

    assert quality_of(stuck, WEEK)["mode_share"].status == "warning"
    assert quality_of(half, WEEK)["mode_share"].status == "ok"
    assert quality_of(stuck, [*WEEK, stuck])["mode_share"].threshold is None
    assert quality_of(stuck, WEEK[:6])["mode_share"].threshold is None


def test_a_more_frequent_value_is_no_faulty_feature_and_one_that_stands_still_is() -> None:
    days = [numbers(*range(10))] * 7

    more_frequent = quality_of(numbers(2.0, 2.0, 2.0, 2.0, *range(6)), days)

    assert more_frequent["mode_share"].status == "warning"
    assert more_frequent["faulty_features"].detail == {"counted": []}
    assert quality_of(numbers(2.0), days)["faulty_features"].detail == {"counted": ["x"]}


def test_a_number_that_stands_still_for_half_of_the_time_is_a_fault_where_its_days_never_did() -> None:
    """Neither the days, at 42%, nor chance in a week of hours explains 65%; in a day of hours chance may."""
    days = {("mode_share", "x"): DayCounts.of([10] * 70, [24] * 70)}
    reference = window(x=numbers(*range(100)))

    limits = {}
    for rows in (24, 168, 100_000):
        column = summarise_numbers(np.arange(rows, dtype=np.float64) % 200, centre=0.0)
        points = quality_points(window(x=column), reference, days, expected={}, min_rows=20)
        [limits[rows]] = [point.threshold for point in points if point.metric == "mode_share"]

    assert limits == {
        24: pytest.approx(0.8, abs=0.05),
        168: pytest.approx(0.58, abs=0.03),
        100_000: pytest.approx(0.5, abs=0.02),
    }


def test_numbers_far_from_the_centre_of_their_grid_are_not_one_value() -> None:
    """Cells grow with the distance: a counter's are wider than its days, once it has counted for long."""
    days = [summarise_numbers(np.arange(100.0) + 100 * day, centre=0.0) for day in range(7)]
    later = summarise_numbers(np.arange(100.0) + 200_000, centre=0.0)
    many = summarise_numbers(np.linspace(200_000, 200_100, 2_000), centre=0.0)

    assert quality_of(later, days)["mode_share"].value == 0.01
    assert quality_of(later, days)["mode_share"].status == "ok"
    assert quality_of(many, days)["mode_share"].threshold == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("usual", [0.05, 0.42, 0.8])
@pytest.mark.parametrize("rows", [24, 168, 2_000])
def test_the_most_frequent_value_of_independent_rows_stays_within_its_limit(usual: float, rows: int) -> None:
    """Days of a reference differ by chance as windows do, and the limit is of the worst of seven."""
    rng, alarms = np.random.default_rng(0), 0
    values = np.arange(1.0, 22.0)
    shares = np.array([usual, *[(1 - usual) / 20] * 20])

    for _ in range(300):
        *days, current = (summarise_numbers(rng.choice(values, rows, p=shares), centre=0.0) for _ in range(8))
        summaries = [WindowSummary(rows=rows, features={"x": day}) for day in days]
        points = quality_points(
            WindowSummary(rows=rows, features={"x": current}), merge_windows(summaries), count_faults(summaries),
            expected={}, min_rows=20,
        )  # fmt: skip
        alarms += any(point.metric == "mode_share" and point.status == "warning" for point in points)

    assert alarms == 0


def test_a_weekday_stands_still_all_day_and_is_no_fault() -> None:
    weekdays = [names(day) for day in ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")]

    assert quality_of(names("Mo"), weekdays)["mode_share"].threshold is None


def test_a_value_that_nearly_all_rows_have_may_be_that_of_all_rows_by_chance() -> None:
    usual = names(*["no"] * 19, "yes")

    assert quality_of(names("no"), [usual] * 7)["mode_share"].threshold is None


def test_what_is_expected_goes_before_what_the_reference_shows() -> None:
    wanted = Expectation(least=0.0, most=2.5, missing_share=0.3)
    days = [numbers(1.0, 2.0, 3.0, 4.0)] * 2

    points = quality_of(numbers(1.0, 2.0, 3.0, np.nan), days, wanted)

    assert (points["out_of_range_share"].value, points["out_of_range_share"].status) == (0.25, "warning")
    assert (points["missing_share"].value, points["missing_share"].status) == (0.25, "ok")
    assert points["faulty_features"].detail == {"counted": ["x"]}
    assert quality_of(numbers(1.0, 2.0, 3.0), days)["out_of_range_share"].status == "ok"


def test_a_number_beyond_the_reference_by_less_than_half_of_its_range_is_within_it() -> None:
    days = [numbers(0.0, 100.0, 40.0, 60.0)] * 2

    points = quality_of(numbers(-49.0, 149.0, -51.0, 151.0), days)

    assert points["out_of_range_share"].value == 0.5
    assert "by more than half of its width" in meaning_of("out_of_range_share")


def test_expectations_need_no_reference_and_tolerate_what_they_say() -> None:
    wanted = Expectation(categories=["a", "b"], tolerance=0.3)

    assert quality_of(names("a", "b", "a", "c"), [], wanted)["unseen_share"].status == "ok"
    assert quality_of(names("a", "c"), [], wanted)["unseen_share"].status == "warning"
    assert quality_of(names("c"), [], wanted)["faulty_features"].status == "critical"
    assert quality_of(names("c"), [])["faulty_features"].detail == {"counted": []}


def test_a_value_at_the_edge_is_within_it() -> None:
    wanted = Expectation(least=0.1, most=99.9)

    edges = quality_of(numbers(0.1, 99.9), [], wanted)

    assert (edges["out_of_range_share"].value, edges["out_of_range_share"].status) == (0.0, "ok")
    assert quality_of(numbers(0.1, 99.9, 99.8, 150.0), [], wanted)["out_of_range_share"].value == 0.25
