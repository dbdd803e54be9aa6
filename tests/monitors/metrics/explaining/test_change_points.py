"""Detectors on the windows of a version: what they read, what they wait for, and what late labels do to it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from inference.prediction_log.items import LabelItem
from inference.registry.models import Model
from inference.registry.services import create_model, update_model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.context import context_of
from monitors.metrics.explaining.change_points import look_for_changes, sentence_of
from monitors.metrics.store.expiry import expire_summaries
from monitors.metrics.store.models import ChangePoint, DetectorState, MetricPoint, PackedPoints
from monitors.summaries.models import StaleWindow
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, work
from tests.worlds.points import store_points

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

USUAL = [0.1, 0.14, 0.12, 0.08] * 6
WORSE = [0.4, 0.44, 0.38, 0.42] * 5
LONG = USUAL + WORSE
CHANGED_AT = DAY + timedelta(days=len(USUAL))


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def measured(
    model: Model, errors: Mapping[int, float] | Sequence[float], *, metric: str = "accuracy", **fields: Any
) -> None:
    """Store the points of these days as a worker does, and have the detectors look."""
    days = dict(enumerate(errors)) if not isinstance(errors, Mapping) else errors
    points = [
        MetricPoint(
            **(
                {"model": model, "role": "champion", "version": "1", "span": "day", "n": 100, "status": "ok"}
                | fields
            ),
            metric=metric,
            start=DAY + timedelta(days=day),
            value=error if metric == "mae" else 1 - error,
        )
        for day, error in days.items()
    ]
    store_points(*points)
    look(model, days)


def look(model: Model, days: Mapping[int, float] | Sequence[int]) -> None:
    windows = [StaleWindow(model=model, span="day", start=DAY + timedelta(days=day)) for day in days]
    look_for_changes(context_of(model), windows, rows=[])


def told(model: Model) -> list[tuple[Any, ...]]:
    return list(
        ChangePoint.objects.filter(model=model)
        .order_by("detector", "at")
        .values_list("detector", "version", "at", "noticed_at", "before", "after", "n_before", "n_after")
    )


def test_a_lasting_rise_is_found_by_both_detectors_with_its_day_and_means(model: Model) -> None:
    measured(model, LONG)

    found = ChangePoint.objects.filter(model=model).order_by("detector")

    assert [change.detector for change in found] == ["adwin", "page_hinkley"]
    for change in found:
        assert (change.at, change.error) == (CHANGED_AT, "wrong_share")
        assert change.noticed_at == change.at + timedelta(days=change.n_after)
        assert (change.before, change.n_before) == (pytest.approx(0.11), len(USUAL))
        assert change.after == pytest.approx(0.41, abs=0.02)


def test_what_stays_as_it_was_has_no_change(model: Model) -> None:
    measured(model, USUAL * 4)

    assert told(model) == []


@pytest.mark.parametrize("n", [1, 5])
def test_the_result_is_the_same_in_whatever_parts_windows_come(model: Model, n: int) -> None:
    measured(model, LONG)
    at_once = told(model)
    PackedPoints.objects.all().delete()
    look(model, [0])
    emptied = told(model)

    for part in np.array_split(np.arange(len(LONG)), len(LONG) // n):
        measured(model, {int(day): LONG[day] for day in part})

    assert emptied == []
    assert told(model) == at_once != []


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(8)), late=st.integers(0, len(LONG) - 1))
def test_the_result_is_the_same_in_whatever_order_labels_come(
    model: Model, order: list[int], late: int
) -> None:
    ChangePoint.objects.all().delete()
    DetectorState.objects.all().delete()
    PackedPoints.objects.all().delete()
    measured(model, LONG)
    at_once = told(model)
    PackedPoints.objects.all().delete()
    look(model, [0])

    measured(model, {late: 0.9})  # as its first labels say
    for part in order:
        measured(model, {day: error for day, error in enumerate(LONG) if day % 8 == part})

    assert told(model) == at_once


def test_a_state_is_kept_for_each_week_and_those_after_a_changed_window_are_made_anew(model: Model) -> None:
    measured(model, LONG)
    weeks = DetectorState.objects.filter(detector="page_hinkley").order_by("until")
    before = dict(weeks.values_list("until", "pk"))

    measured(model, {len(LONG) - 1: 0.2})

    after = dict(weeks.values_list("until", "pk"))
    assert {until.weekday() for until in before} == {0}
    assert list(after) == list(before)
    assert after == before

    measured(model, {15: 0.2})

    again = dict(weeks.values_list("until", "pk"))
    assert list(again) == list(before)
    assert [again[week] == before[week] for week in before] == [
        week <= DAY + timedelta(15) for week in before
    ]


def test_a_change_that_corrected_labels_take_back_is_gone(model: Model) -> None:
    measured(model, LONG)
    found = len(told(model))

    measured(model, {len(USUAL) + day: USUAL[day] for day in range(len(WORSE))})

    assert (found, told(model)) == (2, [])


def test_a_change_keeps_its_row_when_an_earlier_window_is_corrected(model: Model) -> None:
    measured(model, LONG)
    known = dict(ChangePoint.objects.filter(model=model).values_list("detector", "pk"))

    measured(model, {1: 0.12})

    found = ChangePoint.objects.filter(model=model)
    assert dict(found.values_list("detector", "pk")) == known
    assert all(change.before == pytest.approx(0.1092, abs=1e-4) for change in found)


def test_nothing_is_read_beyond_a_window_that_still_waits_for_labels(model: Model) -> None:
    measured(model, {len(USUAL): WORSE[0]}, status="unripe")
    measured(model, {day: error for day, error in enumerate(LONG) if day != len(USUAL)})
    while_it_waits = told(model)

    measured(model, {len(USUAL): WORSE[0]}, status="ok")

    assert while_it_waits == []
    assert {change[0] for change in told(model)} == {"adwin", "page_hinkley"}


def test_a_day_that_waits_for_labels_costs_no_question_to_the_database(
    model: Model, django_assert_num_queries: Any
) -> None:
    context, window = context_of(model), StaleWindow(model=model, span="day", start=DAY)
    waiting = MetricPoint(span="day", start=DAY, metric="label_coverage", status="unripe")

    with django_assert_num_queries(0):
        look_for_changes(context, [window], rows=[waiting])


def test_windows_that_may_not_be_judged_are_left_out(model: Model) -> None:
    measured(model, USUAL)

    measured(model, {len(USUAL) + day: error for day, error in enumerate(WORSE)}, status="insufficient")

    assert told(model) == []


def test_each_version_has_a_stream_of_its_own(model: Model) -> None:
    measured(model, USUAL)
    measured(model, {len(USUAL) + day: error for day, error in enumerate(WORSE)}, version="2")
    measured(model, LONG, version="3", role="shadow")

    assert {(change.role, change.version) for change in ChangePoint.objects.all()} == {("shadow", "3")}


@pytest.mark.parametrize(
    ("task", "metric", "error"), [("regression", "mae", "mae"), ("ranking", "ndcg", "ndcg_loss")]
)
def test_a_task_without_classes_has_an_error_of_its_own(
    model: Model, task: str, metric: str, error: str
) -> None:
    other = create_model(project=model.project, name="other", task=task, actor="test")
    measured(other, LONG, metric=metric)

    found = ChangePoint.objects.filter(model=other)

    assert {(change.detector, change.error) for change in found} == {
        ("adwin", error),
        ("page_hinkley", error),
    }
    assert {change.at for change in found} == {CHANGED_AT}
    assert all(change.before < change.after for change in found)


def test_an_error_too_large_to_count_with_is_left_out(model: Model) -> None:
    prices = create_model(project=model.project, name="prices", task="regression", actor="test")
    measured(prices, {**dict(enumerate(LONG)), 5: 1e300, 9: float("inf")}, metric="mae")

    assert {change[2] for change in told(prices)} == {CHANGED_AT}


def test_windows_of_another_length_than_the_monitors_are_not_read(model: Model) -> None:
    Monitor.objects.filter(model=model, kind=MonitorKind.PERFORMANCE).update(span="hour")
    measured(model, LONG)

    assert told(model) == []


def test_changes_and_states_go_when_their_model_keeps_them_no_longer(model: Model) -> None:
    measured(model, LONG)
    measured(model, {200: 0.4})

    update_model(model=model, actor="test", summary_retention_days=30)
    log(model, rows_of_a_day(DAY + timedelta(days=200), 1))
    expire_summaries(model, datetime.now(UTC))

    assert told(model) == []
    assert {state.until for state in DetectorState.objects.all()} == {DAY + timedelta(days=196)}


def test_a_sentence_says_which_error_moved_how_far_and_who_noticed(model: Model) -> None:
    measured(model, LONG)

    said = sentence_of(ChangePoint.objects.get(detector="page_hinkley"))

    assert said.startswith("The share of wrong answers of version 1 rose from 11.0% to 4")
    assert "as Page-Hinkley noticed by 2026-02-0" in said
    assert "from 24 days before and" in said


def test_labels_are_followed_from_the_log_to_the_change(model: Model) -> None:
    Monitor.objects.filter(model=model).exclude(kind=MonitorKind.PERFORMANCE).update(enabled=False)
    Monitor.objects.filter(model=model).update(min_rows=10)
    days = [rows_of_a_day(DAY + timedelta(days=day), 1) for day in range(26)]
    rows = [replace(day[0], id=f"{day[0].id}{n}", prediction="1") for day in days for n in range(10)]
    log(model, rows)

    label(model, [LabelItem(row.id, str(int(n < 150 or n % 2)), None) for n, row in enumerate(rows)])
    work(model)

    [change] = ChangePoint.objects.filter(model=model)
    assert (change.detector, change.at) == ("page_hinkley", DAY + timedelta(days=15))
    assert (change.before, change.after) == (0.0, 0.5)
