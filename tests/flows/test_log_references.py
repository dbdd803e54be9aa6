"""References that are made of the log: fixed periods, trailing days, and the same hours of the weeks before."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings
from msgspec import structs
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.periods import rfc3339
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.deployments import promote
from inference.registry.models import Model, Version
from monitors.alerts.selectors import days_of_critical_incidents
from monitors.definitions.choosing import ReferenceChoice, active_reference, choose_reference
from monitors.definitions.models import Monitor, MonitorKind, Reference
from monitors.definitions.services import build_reference
from monitors.metrics.selectors import drift_rows
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.tasks import expire
from monitors.rules.models import Rule, RuleState, Transition
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.services import summarise
from tests.shared_rows import rows_of_many_tests
from tests.worlds import incidents
from tests.worlds.approvals import DAY, give_reference, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

ONE_DAY = timedelta(days=1)
HISTORY = 36
TRAILING = ReferenceChoice("trailing", length=28, gap=7)
WEEKDAYS = ReferenceChoice("same_hours", length=16)


def morning(
    day: datetime, n: int = 60, *, shift: float = 0.0, hour: int = 10, version: str = "1"
) -> list[SentPrediction]:
    """Make a day's rows, all of them in one hour."""
    return [
        structs.replace(
            row,
            id=f"{row.id}-{hour}-{version}",
            version=version,
            timestamp=rfc3339(day + timedelta(hours=hour, seconds=number)),
        )
        for number, row in enumerate(rows_of_a_day(day, n, shift=shift))
    ]


def remember(model: Model, rows: list[SentPrediction]) -> None:
    """Have rows of the past in the summaries, and nobody measure them."""
    log(model, rows)
    while summarise(model.pk):
        pass
    StaleWindow.objects.filter(model=model).delete()


@pytest.fixture(scope="module")
def shared(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The key of a model with quiet days before `DAY`, all labelled, of which Sundays have larger incomes.

    Earlier ones are Sundays and Mondays alone.
    """
    with rows_of_many_tests(django_db_blocker), override_settings(HOME=tmp_path_factory.mktemp("home")):
        model = make_model(Project.objects.create(slug="shop", name="Shop"))
        before = [back for back in range(113, HISTORY, -1) if back % 7 in (0, 1)]
        days = [DAY - back * ONE_DAY for back in (*before, *range(HISTORY, 0, -1))]
        rows = [row for day in days for row in morning(day, shift=float(day.weekday() == 6))]
        log(model, rows)
        label(model, truths(rows))
        remember(model, [])
        yield model.pk


@pytest.fixture
def model(db: None, shared: int) -> Model:
    return Model.objects.get(pk=shared)


def choose(model: Model, choice: ReferenceChoice, version: str = "1") -> Reference:
    """Choose, and do not have the past measured anew, as the very first choice does."""
    chosen = model.versions.get(version=version)
    reference = choose_reference(model=model, version=chosen, choice=choice, actor="ana")
    StaleWindow.objects.filter(model=model, start__lt=DAY).delete()
    return reference


def let_answer(model: Model, version: str) -> None:
    """Promote a version as if its artifact had passed the intake on the newest reference."""
    newest = model.datasets.order_by("-pk").first()
    report = {"reference_sha256": newest.sha256} if newest else {}
    model.versions.filter(version=version).update(sha256="0" * 64, path="none", intake_report=report)
    promote(model=model, version=version, expected_generation=None, actor="ben")


def income_on(model: Model, start: datetime, span: str = "day") -> MetricPoint:
    return MetricPoint.objects.get(
        model=model, metric="psi", feature="income", span=span, start=start, version="", segment=""
    )


def reference_of(point: MetricPoint) -> dict[str, Any]:
    return (point.detail or {})["reference"]  # type: ignore[no-any-return]


def arrive(model: Model, day: datetime = DAY, **how: Any) -> MetricPoint:
    log(model, morning(day, 200, **how))
    work(model)
    return income_on(model, day)


class TestTrailingDays:
    def test_judge_a_day_by_the_days_before_it_without_the_gap(self, model: Model) -> None:
        choose(model, TRAILING)

        point = arrive(model)

        assert point.status == "ok"
        assert reference_of(point) == {
            "kind": "trailing",
            "from": rfc3339(DAY - 35 * ONE_DAY),
            "to": rfc3339(DAY - 7 * ONE_DAY),
            "rows": 28 * 60,
        }
        assert "28 runs of days" in point.detail["why"]

    def test_find_what_moved(self, model: Model) -> None:
        choose(model, TRAILING)

        assert arrive(model, shift=4.0).status in ("warning", "critical")

    def test_give_performance_its_limits(self, model: Model) -> None:
        choose(model, TRAILING)
        rows = morning(DAY, 200)
        log(model, [*rows, *morning(DAY + ONE_DAY, 1)])  # the next day has begun: labels had their time
        label(model, [structs.replace(one, label=str(1 - int(one.label))) for one in truths(rows)])

        work(model)

        accuracy = MetricPoint.objects.get(
            model=model, metric="accuracy", span="day", start=DAY, version="", segment=""
        )
        assert accuracy.status == "warning"
        assert accuracy.threshold > accuracy.value

    def test_that_are_too_few_judge_nothing_and_say_so(self, model: Model) -> None:
        choose(model, replace(TRAILING, length=180))

        point = arrive(model, shift=4.0)

        assert point.status == "insufficient"
        assert point.detail["why"].startswith("Too little to compare with: 51 of 180 days")
        counted = MetricPoint.objects.get(model=model, metric="drifted_features", span="day", start=DAY)
        assert counted.status == "insufficient"

    def test_that_do_not_exist_judge_nothing_either(self, project: Project) -> None:
        fresh = make_model(project)
        log(fresh, morning(DAY, 200))
        choose(fresh, TRAILING)

        work(fresh)

        counts = MetricPoint.objects.filter(
            model=fresh, span="day", metric__in=("drifted_features", "faulty_features")
        )
        assert set(counts.values_list("status", flat=True)) == {"insufficient"}

    def test_leave_out_the_days_of_a_critical_incident(self, model: Model) -> None:
        choose(model, replace(TRAILING, gap=0))
        begun, ended = DAY - 9 * ONE_DAY, DAY - 3 * ONE_DAY
        open_incident(model, begun, ended)

        point = arrive(model)

        assert days_of_critical_incidents(model, DAY - 7 * ONE_DAY, DAY) == {
            (DAY - back * ONE_DAY).date() for back in (7, 6, 5, 4)
        }
        assert reference_of(point)["from"] == rfc3339(DAY - 34 * ONE_DAY)
        assert reference_of(point)["rows"] == 28 * 60

    def test_count_requests_of_every_version_and_answers_of_their_own(self, model: Model) -> None:
        remember(model, morning(DAY - 8 * ONE_DAY, hour=12, version="2"))
        let_answer(model, "2")
        choose(model, TRAILING, version="2")
        log(model, morning(DAY, 200, version="2"))

        work(model)

        rows = drift_rows(model=model, start=DAY, end=DAY + ONE_DAY)

        assert rows["reference"]["rows"] == 28 * 60 + 60
        assert {row["feature"] for row in rows["items"]} == {"income", "region"}


class TestSameHours:
    def test_judge_a_day_by_the_same_weekday(self, model: Model) -> None:
        choose(model, WEEKDAYS)
        sunday = DAY + 6 * ONE_DAY

        point = arrive(model, sunday, shift=1.0)

        assert sunday.weekday() == 6
        assert point.status == "ok"
        assert reference_of(point)["rows"] == 16 * 60
        assert arrive(model, sunday + ONE_DAY, shift=1.0).status in ("warning", "critical")

    def test_judge_an_hour_by_the_same_hour(self, model: Model) -> None:
        Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).update(span="hour", is_span_chosen=True)
        choose(model, WEEKDAYS)
        remember(model, morning(DAY - 7 * ONE_DAY, hour=3, shift=3.0))
        log(model, morning(DAY, 200, hour=10) + morning(DAY, 200, hour=3, shift=3.0))

        work(model)

        at_ten, at_three = (income_on(model, DAY + timedelta(hours=hour), "hour") for hour in (10, 3))
        assert (at_ten.status, reference_of(at_ten)["rows"]) == ("ok", 16 * 60)
        assert (at_three.status, reference_of(at_three)["rows"]) == ("insufficient", 60)

    def test_keep_the_hours_that_they_need(self, model: Model) -> None:
        def oldest_hour() -> datetime:
            return Summary.objects.filter(model=model, span="hour").earliest("start").start

        choose(model, WEEKDAYS)
        log(model, morning(DAY, 10))
        while summarise(model.pk):
            pass
        StaleWindow.objects.all().delete()
        expire()
        with_weeks = oldest_hour()

        choose(model, TRAILING)
        expire()

        assert with_weeks == DAY - 113 * ONE_DAY + timedelta(hours=10)
        assert oldest_hour() == DAY - 14 * ONE_DAY + timedelta(hours=10)


class TestAFixedPeriod:
    def test_stays_what_it_is(self, model: Model) -> None:
        choose(model, ReferenceChoice("period", DAY - 20 * ONE_DAY, DAY - 5 * ONE_DAY))

        points = [arrive(model, DAY + later * ONE_DAY) for later in (0, 1)]

        for point in points:
            assert reference_of(point)["from"] == rfc3339(DAY - 20 * ONE_DAY)
            assert reference_of(point)["rows"] == 15 * 60

    def test_keeps_its_summaries(self, model: Model, settings: Any) -> None:
        settings.SUMMARY_RETENTION_DAYS = 10
        PredictionChunk.objects.filter(model=model).delete()
        choose(model, ReferenceChoice("period", DAY - 30 * ONE_DAY, DAY - 16 * ONE_DAY))

        expire()

        kept = Summary.objects.filter(model=model, span="day", start__lt=DAY - 10 * ONE_DAY)
        assert [one.start for one in kept.order_by("start")] == [
            DAY - back * ONE_DAY for back in range(30, 16, -1)
        ]


class TestAChoice:
    def test_holds_from_the_present_day_on_and_is_audited(self, model: Model) -> None:
        first = give_reference(model)
        StaleWindow.objects.all().delete()
        before = arrive(model, DAY - 2 * ONE_DAY, hour=11)
        log(model, morning(DAY, 10, hour=1))

        chosen = choose(model, TRAILING)
        StaleWindow.objects.bulk_create(
            [StaleWindow(model=model, span="day", start=DAY - 2 * ONE_DAY)], ignore_conflicts=True
        )
        after = arrive(model)

        old = income_on(model, DAY - 2 * ONE_DAY)
        assert chosen.since == DAY
        assert "reference" not in old.detail
        assert old.threshold == before.threshold
        assert reference_of(after)["kind"] == "trailing"
        entry = AuditEntry.objects.get(action="reference.choose")
        assert (entry.actor, entry.subject) == ("ana", model.name)
        assert entry.before == {"id": first.pk, "version": "1", "kind": "file"}
        assert entry.after == {
            "id": chosen.pk, "version": "1", "kind": "trailing", "days": 28, "gap_days": 7,
        }  # fmt: skip

    def test_of_the_file_goes_back_to_it(self, model: Model) -> None:
        give_reference(model)
        choose(model, TRAILING)

        again = choose(model, ReferenceChoice("file"))
        build_reference(again.pk)

        again.refresh_from_db()
        assert again.is_active
        assert again.since == DAY - ONE_DAY
        assert active_reference(model=model, version_id=again.version_id, at=DAY - 2 * ONE_DAY).kind == "file"  # type: ignore[union-attr]

    def test_is_not_undone_by_a_file_that_was_still_being_read(self, model: Model) -> None:
        file = give_reference(model)
        Reference.objects.update(state=Reference.State.BUILDING, is_active=False)
        chosen = choose(model, TRAILING)

        build_reference(file.pk)

        assert active_reference(model=model, version_id=file.version_id) == chosen

    def test_goes_along_with_a_promotion(self, model: Model) -> None:
        former = choose(model, TRAILING)
        remember(model, morning(DAY, 10, version="2"))

        let_answer(model, "2")

        champion = Version.objects.get(model=model, version="2")
        reference = active_reference(model=model, version_id=champion.pk)
        assert reference is not None
        assert (reference.version, reference.kind, reference.length) == (champion, "trailing", 28)
        entry = AuditEntry.objects.get(action="reference.rebase")
        assert entry.actor == "ben"
        assert (entry.before["id"], entry.before["version"]) == (former.pk, "1")
        assert (entry.after["id"], entry.after["version"]) == (reference.pk, "2")

    def test_of_a_file_gives_way_to_that_of_the_new_champion(self, model: Model) -> None:
        former = give_reference(model)
        remember(model, morning(DAY, 10, version="2"))
        own = Reference.objects.create(
            model=model, version=model.versions.get(version="2"), dataset=former.dataset
        )

        let_answer(model, "2")

        entry = AuditEntry.objects.get(action="reference.rebase")
        assert (entry.before["id"], entry.after["id"]) == (former.pk, own.pk)


def open_incident(model: Model, begun: datetime, ended: datetime) -> None:
    rule = Rule.objects.create(
        project=model.project, model=model, name="r", metric="psi", threshold=1,
        cooldown=timedelta(1), notify_within=timedelta(1),
    )  # fmt: skip
    RuleState.objects.create(rule=rule)
    transition = Transition.objects.create(
        rule=rule,
        model=model,
        kind="opened",
        window_start=begun,
        window_end=begun + ONE_DAY,
        n=1,
        threshold=1,
    )
    incidents.open_incident(
        transition, severity="critical", opened_at=begun + ONE_DAY, resolved_at=ended, status="resolved"
    )
