"""When impossible values are a notice, and when a fault."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from driftline.base.periods import window
from inference.registry.models import Model
from monitors.definitions.models import Expectation
from monitors.metrics.answers.segment_summaries import SegmentSummary
from monitors.metrics.context import MeasuredSummary, context_of
from monitors.metrics.inputs.impossible import impossible_points, measure_impossible
from monitors.metrics.inputs.quality import quality_points
from monitors.metrics.store.points import Point
from monitors.stats.impossible_values import reach_of
from monitors.stats.mergeable.sketches import NumericSummary, summarise_numbers
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.models import Summary
from tests.worlds.approvals import give_reference, make_model

pytestmark = pytest.mark.slow

AGES = np.random.default_rng(0).integers(18, 91, 1_000).astype(float)
KNOWN = summarise_numbers(AGES, centre=50.0)


def of(*values: float) -> NumericSummary:
    return summarise_numbers(values, centre=50.0)


def judge(
    current: NumericSummary,
    before: Sequence[NumericSummary] = (),
    wanted: Expectation | None = None,
    known: NumericSummary = KNOWN,
) -> tuple[Point, Point]:
    """Measure a window of ages, and the features with faults in it."""
    reach = reach_of(known)
    assert reach is not None
    found = impossible_points(
        {"age": current},
        {"age": known},
        {"age": reach},
        expected={"age": wanted} if wanted else {},
        earlier=lambda feature: before,
    )
    window, reference = (
        WindowSummary(current.rows, {"age": current}),
        WindowSummary(known.rows, {"age": known}),
    )
    points = quality_points(window, reference, {}, expected={}, min_rows=50, impossible=found)
    return found[0], next(point for point in points if point.metric == "faulty_features")


def test_a_single_one_is_a_notice_with_its_value_and_no_fault() -> None:
    impossible, faulty = judge(of(-3.0, *AGES[:23]))

    assert (impossible.value, impossible.n, impossible.status) == (1 / 24, 24, "warning")
    assert impossible.detail["why"] == "age -3 in 1 of 24 rows; reference 18 to 90"
    assert faulty.detail == {"counted": []}


def test_several_are_a_fault_however_few_the_rows_are() -> None:
    impossible, faulty = judge(of(-3.0, -3.0, *AGES[:22]))

    assert impossible.detail["is_repeated"]
    assert (faulty.value, faulty.status, faulty.detail) == (1.0, "warning", {"counted": ["age"]})


def test_one_after_one_in_the_window_before_is_a_fault() -> None:
    assert judge(of(-3.0, *AGES[:23]), [of(-7.0, *AGES[:23])])[1].detail == {"counted": ["age"]}
    assert judge(of(-3.0, *AGES[:23]), [of(*AGES[:24])])[1].detail == {"counted": []}


def test_four_percent_of_a_days_rows_four_ranges_below_are_a_fault() -> None:
    impossible, faulty = judge(of(*[18 - 4 * 72.0] * 40, *AGES[:960]))

    assert impossible.value == 0.04
    assert faulty.detail == {"counted": ["age"]}


def test_one_value_170_times_the_largest_is_noticed_among_many_rows() -> None:
    column = summarise_numbers([170 * 90.0, *np.random.default_rng(1).uniform(18, 90, 5_000)], centre=50.0)

    assert judge(column)[0].detail["value"] == 15_300.0


def test_implausible_values_are_a_notice_however_many_and_no_fault() -> None:
    incomes = np.random.default_rng(1).lognormal(3, 1.6, 5_000)
    known = summarise_numbers(incomes, centre=20.0)

    noticed, faulty = judge(of(*[100 * incomes.max()] * 3, *incomes[:200]), known=known)

    assert (noticed.value, noticed.status) == (3 / 203, "warning")
    assert (noticed.detail["kind"], noticed.detail["rows"]) == ("implausible", 3)
    assert faulty.detail == {"counted": []}


def test_a_clean_window_and_one_without_rows_are_none() -> None:
    assert (judge(of(*AGES[:24]))[0].value, judge(of(*AGES[:24]))[0].status) == (0.0, "ok")
    assert judge(of())[0].status == "no_data"


def test_what_somebody_expects_is_possible() -> None:
    assert judge(of(-3.0, *AGES[:23]), wanted=Expectation(least=-10.0))[0].status == "ok"


def test_days_that_lie_beyond_all_that_the_reference_has_are_drift_and_no_fault() -> None:
    summer = of(*(AGES[:200] / 2 + 82))

    impossible, faulty = judge(summer, [summer])

    assert summer.minimum > KNOWN.maximum
    assert (impossible.value, impossible.status, faulty.detail) == (0.0, "ok", {"counted": []})


# -- the window before -------------------------------------------------------------------------------------------------
FIRST = datetime(2026, 2, 1, tzinfo=UTC)
FAR = 1_000.0


@pytest.fixture
def model(db: None) -> Model:
    model = make_model(Project.objects.create(slug="p", name="P"))
    give_reference(model)
    return model


def store(model: Model, span: str, start: datetime, *incomes: float) -> None:
    column = summarise_numbers(incomes, centre=0.0)
    Summary.objects.create(
        model=model, version=model.versions.get(), role="champion", span=span, start=start, rows=len(incomes),
        payload=WindowSummary(len(incomes), {"income": column, "debt": column}).encode(),
    )  # fmt: skip


def measure_day(model: Model, day: datetime, *incomes: float) -> list[Point]:
    """Measure a day of two features, of which the reference says the same."""
    context, period = context_of(model), window(day, "day")
    version = model.versions.get()
    reference = context.references.of(version.pk, period)
    assert reference is not None
    columns = reference.summary.features
    reference = replace(
        reference, summary=replace(reference.summary, features={**columns, "debt": columns["income"]})
    )
    column = summarise_numbers(incomes, centre=0.0)
    summary = WindowSummary(len(incomes), {"income": column, "debt": column})
    segment = SegmentSummary("champion", "", version.pk, "", summary)
    monitor = context.monitors["quality"]
    return measure_impossible(MeasuredSummary(context, monitor, segment, reference, "day", period))


def test_a_month_that_stands_for_its_days_is_not_the_day_before(model: Model) -> None:
    store(model, "month", FIRST, FAR, *range(20))

    points = measure_day(model, FIRST + timedelta(days=1), FAR, *[0.5] * 20)

    assert [point.detail["is_repeated"] for point in points] == [False, False]


def test_the_day_before_is_read_once_for_all_features(model: Model) -> None:
    store(model, "day", FIRST, FAR, *range(20))

    with CaptureQueriesContext(connection) as queries:
        points = measure_day(model, FIRST + timedelta(days=1), FAR, *[0.5] * 20)

    assert [point.detail["is_repeated"] for point in points] == [True, True]
    assert sum('"monitors_summary"."payload"' in query["sql"] for query in queries) == 1
