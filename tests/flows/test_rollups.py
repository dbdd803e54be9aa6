"""Hours go into their day and days into their month, and nothing that is measured changes by that."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.work.work_rows import touch
from inference.prediction_log.erasure import services as erasures
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.models import Label, PackedDay, PredictionChunk, PredictionRow, SummedDay
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.definitions.segments import set_segments
from monitors.metrics.selectors import longer_points
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.tasks import expire
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.services import summarise
from tests.driftline.api.conftest import Api, caller
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work
from tests.worlds.summaries import broken_invariants, summaries_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

LATER = DAY + timedelta(days=20)
MONTH = datetime(2026, 1, 1, tzinfo=UTC)
HALF_A_YEAR_LATER = DAY + timedelta(days=180)


@pytest.fixture(autouse=True)
def _days_are_kept_for_some_months(settings: Any) -> None:
    settings.DAILY_SUMMARY_DAYS = 100


@pytest.fixture
def model() -> Model:
    model = make_model(Project.objects.create(slug="bank", name="Bank"))
    set_segments(model=model, features=["region"], actor="test")
    return model


def keep_no_rows(model: Model) -> None:
    update_model(model=model, actor="test", rows_kept="none")


def spans_of(model: Model, day: datetime = DAY) -> set[str]:
    """Say in which lengths a day is still summarised."""
    end = day + timedelta(days=1)
    near = Summary.objects.filter(model=model, start__gte=day, start__lt=end)
    months = Summary.objects.filter(model=model, span="month", start=MONTH)
    return {*near.values_list("span", flat=True), *months.values_list("span", flat=True)}


def rounded(value: Any) -> Any:
    """Leave out the last digits of sums, which depend on the order in which they were added up."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return value


def points_of(model: Model, **which: Any) -> list[Any]:
    found = MetricPoint.objects.filter(model=model, **which).order_by(
        "metric", "feature", "segment", "version", "start", "span"
    )
    fields = (
        "metric", "feature", "segment", "version", "start", "value", "n", "lower", "upper", "status", "detail"
    )  # fmt: skip
    return [rounded(point) for point in found.values_list(*fields)]


def measure_day_again(model: Model) -> None:
    touch(StaleWindow, [(model.pk, "day", DAY)], fields=("model_id", "span", "start"))
    work(model)


def pass_time(model: Model, until: datetime = LATER) -> None:
    """Let event time go on."""
    log(model, rows_of_a_day(until, 1))
    work(model)


def grow_old(model: Model, until: datetime = LATER) -> None:
    """Let event time go on, and have what is old dropped."""
    pass_time(model, until)
    expire()


def lose_rows(model: Model) -> None:
    """Let go of all rows of January, as their retention does."""
    january = {"model": model, "day__lt": MONTH.date() + timedelta(days=31)}
    PredictionChunk.objects.filter(**january).delete()
    PackedDay.objects.filter(**january).delete()
    PredictionRow.objects.filter(model=model, event_time__lt=MONTH + timedelta(days=31)).delete()
    Label.objects.filter(model=model, prediction_time__lt=MONTH + timedelta(days=31)).delete()


class TestHours:
    def test_go_after_their_days_and_leave_every_summary_and_point_of_the_day(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 96)
        log(model, rows)
        label(model, truths(rows))
        pass_time(model)
        days = {window: one for window, one in summaries_of(model).items() if window[0] == "day"}
        points = points_of(model, start__lt=LATER)

        expire()
        measure_day_again(model)

        assert spans_of(model) == {"day"}
        assert spans_of(model, LATER) == {"hour", "day"}
        assert {window: one for window, one in summaries_of(model).items() if window in days} == days
        assert points_of(model, start__lt=LATER) == points
        accuracy = MetricPoint.objects.get(
            model=model, span="day", metric="accuracy", version="", segment="", start=DAY
        )
        assert accuracy.detail["blocks"] == 24  # type: ignore[index]
        assert broken_invariants() == []

    def test_stay_for_ever_where_no_days_are_set(self, model: Model, settings: Any) -> None:
        settings.HOURLY_SUMMARY_DAYS = 0
        log(model, rows_of_a_day(DAY, 3))
        work(model)

        grow_old(model)

        assert spans_of(model) == {"hour", "day"}

    def test_stay_while_their_labels_are_due(self, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"label_lag_hours": 24 * 25})
        log(model, rows_of_a_day(DAY, 3))
        work(model)

        grow_old(model)
        unripe = spans_of(model)
        grow_old(model, DAY + timedelta(days=30))

        assert unripe == {"hour", "day"}
        assert spans_of(model) == {"day"}

    def test_wait_for_no_labels_where_performance_is_not_watched(self, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"label_lag_hours": 24 * 25})
        log(model, rows_of_a_day(DAY, 3))
        work(model)
        model.monitors.filter(kind="performance").update(enabled=False)

        grow_old(model)

        assert spans_of(model) == {"day"}

    def test_are_not_asked_for_again_by_what_waits_for_their_labels(self, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"label_lag_hours": 24 * 25})
        log(model, rows_of_a_day(DAY, 3))
        work(model)
        model.monitors.filter(kind="performance").update(enabled=False)
        grow_old(model)
        assert MetricPoint.objects.filter(model=model, span="hour", status="unripe").exists()

        log(model, rows_of_a_day(DAY + timedelta(days=30), 1))
        work(model)

        assert not StaleWindow.objects.filter(model=model, span="hour", start__lt=LATER).exists()

    def test_stay_while_something_is_to_be_measured_of_them(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 3))
        log(model, rows_of_a_day(LATER, 1))
        work(model)
        touch(StaleWindow, [(model.pk, "hour", DAY)], fields=("model_id", "span", "start"))

        expire()

        assert spans_of(model) == {"hour", "day"}

    def test_are_kept_by_a_segment_and_by_version_and_role(self, model: Model) -> None:
        rows = rows_of_a_day(DAY, 48)
        log(model, rows)
        log(model, [replace(row, version="2", role="shadow") for row in rows])
        work(model)

        grow_old(model)

        days = Summary.objects.filter(model=model, span="day", start=DAY)
        assert sorted(days.values_list("role", "version__version", "segment").distinct()) == [
            (role, version, segment)
            for role, version in (("champion", "1"), ("shadow", "2"))
            for segment in ("", "region:north", "region:south")
        ]
        assert broken_invariants() == []


def _without_ratios(points: list[list[Any]]) -> list[list[Any]]:
    """Leave out the ratios of volume, which are of what was known when their windows ended."""
    return [point for point in points if point[0] != "volume_ratio"]


class TestWhatComesLate:
    """To a day whose hours are gone."""

    def test_is_measured_as_if_it_had_come_in_time(self, model: Model) -> None:
        punctual = make_model(model.project, "punctual")
        set_segments(model=punctual, features=["region"], actor="test")
        rows = rows_of_a_day(DAY, 96)
        for each in (punctual, model):
            log(each, rows[::2])
            summarise(each.pk)  # fixes the centres alike
        log(punctual, rows[1::2])
        label(punctual, truths(rows))
        pass_time(punctual)
        grow_old(model)
        assert spans_of(model) == {"day"}

        log(model, rows[1::2])
        label(model, truths(rows))
        work(model)
        late = points_of(model, start__lt=LATER)
        expire()

        days = {window: one for window, one in summaries_of(punctual).items() if window[0] == "day"}
        assert {window: one for window, one in summaries_of(model).items() if window in days} == days
        assert _without_ratios(late) == _without_ratios(points_of(punctual, start__lt=LATER))
        assert spans_of(model) == {"day"}
        assert broken_invariants() == []

    def test_is_added_to_rows_that_have_expired(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 12))
        work(model)
        grow_old(model)
        lose_rows(model)

        log(model, [replace(row, id=f"late-{row.id}") for row in rows_of_a_day(DAY, 2)])
        work(model)

        assert summaries_of(model)["day", DAY, "champion", ""]["rows"] == 14


class TestErasure:
    def test_takes_rows_out_of_a_day_without_hours(
        self, model: Model, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
        rows = rows_of_a_day(DAY, 24)
        log(model, [*rows[:-2], *(replace(row, subject="Zoe-4711") for row in rows[-2:])])
        work(model)
        grow_old(model)

        receipt = erasures.request_erasure(project=model.project, key="Zoe-4711", actor="test")
        erasures.resume_erasure(receipt.pk)
        work(model)
        expire()

        assert Erasure.objects.get().state == "done"
        assert spans_of(model) == {"day"}
        assert summaries_of(model)["day", DAY, "champion", ""]["rows"] == 22
        assert broken_invariants() == []


class TestDays:
    def test_go_into_their_month_with_the_rows(self, model: Model) -> None:
        days = [DAY + timedelta(days=number) for number in range(7)]
        for day in days:
            rows = rows_of_a_day(day, 5)
            log(model, rows)
            label(model, truths(rows))
        work(model)
        asked: dict[str, Any] = {
            "model": model,
            "metric": "accuracy",
            "start": MONTH,
            "end": days[-1] + timedelta(days=1),
            "step": "month",
        }
        [before] = longer_points(**asked)
        grow_old(model, HALF_A_YEAR_LATER)
        with_rows = spans_of(model)
        lose_rows(model)

        expire()

        [after] = longer_points(**asked)
        assert with_rows == {"day"}
        assert spans_of(model) == {"month"}
        assert (after.value, after.n, after.lower, after.upper) == (
            before.value,
            before.n,
            before.lower,
            before.upper,
        )
        assert after.detail["blocks"] == 7  # type: ignore[index]
        assert MetricPoint.objects.filter(model=model, span="day", start=DAY, metric="count").exists()
        assert broken_invariants() == []

    def test_that_are_gone_take_late_rows_of_a_model_that_keeps_none(self, model: Model) -> None:
        keep_no_rows(model)
        rows = rows_of_a_day(DAY, 30)
        log(model, rows[:20])
        work(model)
        grow_old(model, HALF_A_YEAR_LATER)
        assert spans_of(model) == {"month"}

        log(model, rows[20:])
        work(model)

        assert spans_of(model) == {"month"}
        assert summaries_of(model)["month", MONTH, "champion", ""]["rows"] == 30
        assert SummedDay.objects.filter(model=model, day=DAY.date()).exists()
        assert broken_invariants() == []

    def test_go_with_their_month_when_summaries_expire(self, model: Model) -> None:
        keep_no_rows(model)
        log(model, rows_of_a_day(DAY, 3))
        work(model)
        grow_old(model, HALF_A_YEAR_LATER)
        update_model(model=model, actor="test", summary_retention_days=(HALF_A_YEAR_LATER - DAY).days - 10)

        expire()
        within = spans_of(model)
        update_model(model=model, actor="test", summary_retention_days=(HALF_A_YEAR_LATER - DAY).days - 28)
        expire()

        assert within == {"month"}
        assert spans_of(model) == set()


class TestQuestions:
    """About hours and days that are gone."""

    @pytest.fixture
    def api(self, model: Model) -> Api:
        keep_no_rows(model)
        log(model, rows_of_a_day(DAY, 24))
        work(model)
        return caller("bank")

    def test_about_hours_are_answered_by_the_day_with_a_sentence(self, api: Api, model: Model) -> None:
        path = f"/models/{model.name}/drift?from=2026-01-05T06:00:00Z&to=2026-01-05T12:00:00Z"
        by_hours = api.get(path).json()
        grow_old(model)

        by_day = api.get(path).json()

        assert (by_hours["n"], by_hours["note"]) == (6, "")
        assert by_day["n"] == 24
        assert by_day["window"] == {"start": "2026-01-05T00:00:00Z", "end": "2026-01-06T00:00:00Z"}
        assert "by the day" in by_day["note"]

    def test_about_days_are_answered_by_the_month(self, api: Api, model: Model) -> None:
        grow_old(model, HALF_A_YEAR_LATER)

        drift = api.get(
            f"/models/{model.name}/drift?from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z"
        ).json()
        weeks = api.get(
            f"/models/{model.name}/metrics?metric=count&step=week&from=2026-01-05T00:00:00Z&to=2026-02-10T00:00:00Z"
        ).json()["items"]

        assert drift["window"] == {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
        assert [(one["start"], one["n"]) for one in weeks] == [("2026-01-01T00:00:00Z", 24)]
