"""What single sections of a pack count: every row and window of the period once, and every entry of a list."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.periods import Period
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.models import PredictionChunk, RequestCount
from inference.registry.models import Model
from monitors.alerts.incidents.acting import audit_incident
from monitors.alerts.models import Channel, Delivery, Incident, IncidentEvent
from monitors.definitions.models import MonitorKind
from monitors.deletion import delete_version
from monitors.metrics.store.models import MetricPoint, PointName
from monitors.reports.evidence.about_model import versions
from monitors.reports.evidence.gaps import not_monitored
from monitors.reports.evidence.measurements import data_quality, performance
from monitors.reports.evidence.reactions import approvals, incidents, runs
from monitors.reports.evidence.sections import (
    MAX_TABLE_ROWS,
    EvidenceSection,
    EvidenceSubject,
    EvidenceTable,
    table,
)
from monitors.reports.evidence.trail import audit
from monitors.rules.models import Rule
from monitors.rules.services import create_rule, delete_rule
from monitors.summaries.rollups import drop_parts
from monitors.workflows.judging.verdict_text import LIVE, WORST_CASE
from monitors.workflows.models import Run, Step
from monitors.workflows.services import reject
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work
from tests.worlds.moved_income import drift_of_income
from tests.worlds.points import store_points

A_DAY = timedelta(days=1)
NOON = timedelta(hours=12)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
TOO_MANY = MAX_TABLE_ROWS + 5


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


def about(model: Model, start: datetime, end: datetime) -> EvidenceSubject:
    return EvidenceSubject(model, Period(start, end), datetime(2027, 1, 1, tzinfo=UTC))


def found(section: EvidenceSection, title: str) -> EvidenceTable:
    return next(one for one in section.tables if one.title.startswith(title))


def rows(section: EvidenceSection, title: str) -> Any:
    return found(section, title).rows


class TestRowsOfThePeriod:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("start", "end", "answered"),
        [(NOON, A_DAY + NOON, 12), (-A_DAY, NOON, 12), (timedelta(hours=3), timedelta(hours=5), 2)],
        ids=["from noon on", "until noon", "within a day"],
    )
    def test_are_counted_by_the_hour_where_it_cuts_a_day(
        self, model: Model, start: timedelta, end: timedelta, answered: int
    ) -> None:
        log(model, rows_of_a_day(DAY, 24))
        work(model)
        subject = about(model, DAY + start, DAY + end)

        [version] = rows(versions(subject), "Versions")
        days_without = {one["first"] for one in rows(not_monitored(subject), "Days without rows")}

        assert version["rows"] == answered
        assert f"{DAY:%Y-%m-%d}" not in days_without

    @pytest.mark.slow
    def test_are_those_of_the_whole_day_where_its_hours_were_dropped(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 24))
        work(model)
        assert drop_parts(model=model, span="day", before=FEBRUARY)

        section = versions(about(model, DAY + NOON, DAY + 2 * A_DAY))

        assert rows(section, "Versions")[0]["rows"] == 24
        assert any("from 2026-01-05 00:00 to 2026-01-07 00:00 UTC" in one for one in section.sentences)

    @pytest.mark.slow
    def test_are_those_of_the_whole_month_where_its_days_were_dropped(self, model: Model) -> None:
        for day, n in ((DAY, 24), (DAY + 15 * A_DAY, 10), (FEBRUARY, 7)):
            log(model, rows_of_a_day(day, n))
        work(model)
        for span in ("day", "month"):
            assert drop_parts(model=model, span=span, before=FEBRUARY)
        subject = about(model, DAY + 5 * A_DAY, FEBRUARY + A_DAY)

        section = not_monitored(subject)

        assert rows(versions(subject), "Versions")[0]["rows"] == 41
        assert [(one["month"], one["rows"]) for one in rows(section, "Rows without a label")] == [
            ("2026-01", 34),
            ("2026-02", 7),
        ]
        assert any("from 2026-01-01 00:00 to 2026-02-02 00:00 UTC" in one for one in section.sentences)

    def test_are_counted_as_requests_by_the_same_hours(self, model: Model) -> None:
        for hour in range(9, 13):
            RequestCount.objects.create(
                model=model, hour=DAY + timedelta(hours=hour), version="1", role="champion", outcome="answered",
                requests=10**hour,
            )  # fmt: skip
        subject = about(model, DAY + timedelta(hours=10, minutes=15), DAY + timedelta(hours=11, minutes=45))

        section = performance(subject)

        [counted] = rows(section, "How requests")
        assert counted["requests"] == 10**10 + 10**11
        assert any("Requests are counted by the hour" in one for one in section.sentences)

    @pytest.mark.slow
    def test_that_cannot_be_read_are_counted_also_on_a_day_that_the_period_cuts(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 24))
        work(model)
        PredictionChunk.objects.update(damage="of a broken disk")

        def describe(start: timedelta, end: timedelta) -> str:
            return " ".join(not_monitored(about(model, DAY + start, DAY + end)).sentences)

        assert "24 rows of the period cannot be read" in describe(-A_DAY, NOON)
        assert "24 rows of the period cannot be read" in describe(NOON, 2 * A_DAY)
        assert "cannot be read" not in describe(A_DAY, 2 * A_DAY)

    def test_that_were_erased_since_it_began_are_said_to_be_missing(self, model: Model) -> None:
        def erase(person: str, rows: int, finished_at: datetime, *remains: str) -> None:
            Erasure.objects.create(
                project=model.project, key_hash=person, state="done", finished_at=finished_at,
                counts={"predictions": rows}, remains=list(remains),
            )  # fmt: skip

        def describe() -> list[str]:
            sentences = not_monitored(about(model, DAY, DAY + A_DAY)).sentences
            return [one for one in sentences if "erased" in one]

        erase("before", 5, DAY - A_DAY)
        erase("without rows", 0, DAY + A_DAY)
        assert describe() == []

        erase("ada", 1, DAY + A_DAY)
        rest = "Rows and metrics of this model are without them; its incidents say what was there when they opened."
        since = "Rows that were erased from the project since the period began"
        assert describe() == [f"{since}: 1 of 1 person. {rest}"]

        erase("ada", 1_200, FEBRUARY, "approvals")
        erase("grace", 30, FEBRUARY)
        assert describe() == [
            f"{since}: 1,231 of 2 persons. {rest}",
            "Where rows were dropped before, summaries still count some of those that were erased.",
        ]

    def test_say_nothing_of_other_ends_where_the_period_has_its_own(self, model: Model) -> None:
        assert not any("Rows are counted" in one for one in versions(about(model, DAY, FEBRUARY)).sentences)


class TestWindowsOfThePeriod:
    @pytest.fixture
    def subject(self, model: Model) -> EvidenceSubject:
        """Thursday until the Thursday after the next: two weeks end in it, of which the first began before."""
        model.monitors.filter(kind=MonitorKind.QUALITY).update(span="week")
        return about(model, DAY + 3 * A_DAY, DAY + 17 * A_DAY)

    def store_weeks(self, model: Model, *numbers: int, metric: str = "missing_share") -> None:
        for number in numbers:
            store_points(
                MetricPoint(
                    model=model, metric=metric, feature="income", role="champion", span="week",
                    start=DAY + 7 * number * A_DAY, n=3, status="insufficient",
                )
            )  # fmt: skip

    def test_are_expected_to_be_measured_when_they_end_in_it(self, subject: EvidenceSubject) -> None:
        self.store_weeks(subject.model, 1, 2)

        missing = rows(not_monitored(subject), "Windows of which nothing")

        [quality] = [one for one in missing if one["span"] == "week"]
        assert (quality["expected"], quality["missing"]) == (2, 1)

    def test_are_counted_when_they_end_in_it(self, subject: EvidenceSubject) -> None:
        self.store_weeks(subject.model, -1, 0, 1, 2)

        [unjudged] = rows(not_monitored(subject), "Measured, but not judged")
        [measured] = rows(data_quality(subject), "By metric")

        assert unjudged["points"] == measured["windows"] == 2

    def test_that_roll_are_counted_once_by_their_last_day(self, subject: EvidenceSubject) -> None:
        subject.model.monitors.filter(kind=MonitorKind.QUALITY).update(span="7d")

        missing = rows(not_monitored(subject), "Windows of which nothing")

        assert [one["expected"] for one in missing if one["span"] == "7d"] == [14]

    def test_of_a_metric_that_this_release_does_not_know_are_listed_by_its_name(
        self, subject: EvidenceSubject
    ) -> None:
        self.store_weeks(subject.model, 0)
        PointName.objects.filter(metric="missing_share").update(metric="blank_share")

        assert [one["metric"] for one in rows(not_monitored(subject), "Measured, but")] == ["blank_share"]


class TestListsThatAreTooLong:
    def test_say_how_many_rows_are_left_out_where_all_were_given(self) -> None:
        made = table("Numbers", {"number": "Number"}, ((number,) for number in range(TOO_MANY)))

        assert (len(made.rows), made.left_out) == (MAX_TABLE_ROWS, 5)

    @pytest.mark.slow
    def test_of_incidents_count_the_events_and_messages_of_those_left_out(self, model: Model) -> None:
        common = {"project": model.project, "model": model, "severity": "warning", "since": DAY}
        made = Incident.objects.bulk_create(
            Incident(**common, title=f"number {number}", opened_at=DAY + number * timedelta(seconds=1))
            for number in range(TOO_MANY)
        )
        IncidentEvent.objects.bulk_create(
            IncidentEvent(incident=one, kind="opened", text="It opened.") for one in made
        )
        channel = Channel.objects.create(project=model.project, name="mail", kind="email")
        Delivery.objects.bulk_create(
            Delivery(incident=one, channel=channel, event="incident.opened", event_id=str(one.pk), body="")
            for one in made
        )

        section = incidents(about(model, DAY, DAY + A_DAY))

        assert [one.left_out for one in section.tables] == [5, 5, 5]

    @pytest.mark.slow
    def test_of_runs_count_the_steps_and_reasons_of_those_left_out(self, model: Model) -> None:
        champion = model.versions.create(version="1")
        made = Run.objects.bulk_create(
            Run(
                model=model, trigger="by hand", data_until=DAY, champion=champion, state="rejected",
                verdict={"decision": "reject", "reasons": ["It is worse."]}, finished_at=timezone.now(),
            )
            for _ in range(TOO_MANY)
        )  # fmt: skip
        Step.objects.bulk_create(Step(run=one, position=0, name="gate", state="done") for one in made)

        section = runs(about(model, DAY, DAY + A_DAY))

        assert [one.left_out for one in section.tables] == [5, 5, 5, 5]


class TestRuns:
    def test_say_each_reason_once_and_why_a_run_was_rejected_although_nothing_was_concluded(
        self, model: Model
    ) -> None:
        latency = "p99 latency 5 ms against 4 ms: within the limit of 9 ms."
        reasons = [
            "roc_auc 0.8 against 0.7: better beyond its interval.", latency, "Labels are selective (80% arrived).",
            "roc_auc 0.7 against 0.7: the interval includes no difference.", latency,
        ]  # fmt: skip
        run = Run.objects.create(
            model=model, trigger="by hand", state="waiting", data_until=DAY,
            champion=model.versions.create(version="1"), verdict={"decision": "inconclusive", "reasons": reasons},
        )  # fmt: skip
        reject(run=run, actor="ada@bank.example", reason="the missing labels decide")

        section = runs(about(model, DAY, DAY + A_DAY))

        written = [(one["comparison"], one["reason"]) for one in rows(section, "Reasons")]
        [end] = rows(section, "What followed")
        assert [comparison for comparison, _ in written] == [LIVE, LIVE, WORST_CASE, WORST_CASE]
        assert [reason.partition(" 0.")[0] for _, reason in written if "ROC" in reason] == ["ROC AUC"] * 2
        assert (end["decision"], end["state"], end["actor"], end["reason"]) == (
            "inconclusive", "rejected", "ada@bank.example", "the missing labels decide",
        )  # fmt: skip


class TestIncidents:
    @pytest.fixture
    def model(self, project: Project) -> Model:
        return drift_of_income(project, quiet=1, moved=2)

    def test_name_the_run_that_they_started_and_say_where_no_cause_was_found(self, model: Model) -> None:
        incident = model.incidents.get()
        Incident.objects.update(causes=[])
        run = Run.objects.create(
            model=model, trigger="rule moved", state="waiting", data_until=DAY,
            champion=model.versions.get(version="1"), transition=incident.alerts.get().opened_by,
        )  # fmt: skip
        reject(run=run, actor="ada@bank.example", reason="the missing labels decide")

        section = incidents(about(model, DAY, DAY + 30 * A_DAY))

        [row] = rows(section, "Incidents")
        assert row["likely_causes"].startswith("No monitored feature was beyond the limit")
        assert row["runs"] == f"Run {run.pk}: Rejected"
        assert [one["text"] for one in rows(section, "Timeline") if one["kind"].startswith("run_")] == [
            f"Run {run.pk} was started by rule moved",
            f"Run {run.pk} was rejected by ada@bank.example: the missing labels decide.",
        ]


class TestAuditExtract:
    @pytest.fixture
    def subject(self, model: Model) -> EvidenceSubject:
        return about(model, timezone.now() - A_DAY, timezone.now() + A_DAY)

    def entries(self, subject: EvidenceSubject) -> set[tuple[str, str]]:
        return {(one["action"], one["subject"]) for one in rows(audit(subject), "Entries")}

    def make_rule(self, model: Model, name: str) -> Rule:
        return create_rule(
            project=model.project, model=model, actor="test", name=name, metric="count", threshold=1.0
        )

    def test_has_what_happened_to_the_models_rules_also_to_those_deleted(
        self, subject: EvidenceSubject
    ) -> None:
        self.make_rule(subject.model, "kept")
        delete_rule(rule=self.make_rule(subject.model, "deleted"), actor="test")

        assert self.entries(subject) >= {
            ("rule.create", "kept"), ("rule.create", "deleted"), ("rule.delete", "deleted"),
        }  # fmt: skip

    def test_has_no_rule_of_another_model_although_it_has_the_same_name(
        self, subject: EvidenceSubject
    ) -> None:
        own = self.make_rule(subject.model, "moved")
        other = make_model(subject.model.project, "refunds")
        delete_rule(rule=self.make_rule(other, own.name), actor="test")

        assert ("rule.create", "moved") in self.entries(subject)
        assert ("rule.delete", "moved") not in self.entries(subject)

    def test_has_nothing_that_is_only_called_like_the_model(self, subject: EvidenceSubject) -> None:
        project = subject.model.project
        for action, name in (
            ("team.create", "approvals"),
            ("silence.end", "approvals are repaired"),
            ("channel.update", "news of approvals"),
            ("role.create", "approvals"),
            ("audit.export", "approvals"),
            ("configuration.apply", "approvals"),
        ):
            record_audit(project=project, actor="test", action=action, subject=name)

        assert {action for action, _ in self.entries(subject)} == {"model.create"}

    def test_has_what_people_did_about_its_incidents_and_no_others(self, subject: EvidenceSubject) -> None:
        other = make_model(subject.model.project, "refunds")
        for model, action in ((subject.model, "incident.resolve"), (other, "incident.acknowledge")):
            incident = Incident.objects.create(
                project=model.project,
                model=model,
                title="moved",
                severity="warning",
                since=DAY,
                opened_at=DAY,
            )
            audit_incident(incident, "ada", action)

        assert {action for action, _ in self.entries(subject) if action.startswith("incident.")} == {
            "incident.resolve"
        }

    def test_has_its_runs_also_those_that_were_deleted_with_their_version(
        self, subject: EvidenceSubject
    ) -> None:
        model = subject.model
        for version in ("1", "2"):
            model.versions.create(version=version)
        champion, challenger = model.versions.order_by("pk")
        run = Run.objects.create(
            model=model, trigger="by hand", data_until=DAY, champion=champion, challenger=challenger
        )
        reject(run=run, actor="ada", reason="the labels are of one branch")
        for name in (f"run 7 of not {model}", f"run 7 of {model}s"):
            record_audit(project=model.project, actor="ada", action="run.rejected", subject=name)
        record_audit(project=model.project, actor="rules", action="run.not_started", subject=model.name)
        delete_version(version=challenger, confirm="2", actor="ada")

        assert not Run.objects.exists()
        assert {one for one in self.entries(subject) if one[0].startswith("run.")} == {
            ("run.rejected", str(run)), ("run.not_started", model.name),
        }  # fmt: skip
        assert [one["subject"] for one in rows(approvals(subject), "Decisions on runs")] == [str(run)]

    def test_has_what_belongs_to_the_model_and_its_silences(self, subject: EvidenceSubject) -> None:
        model = subject.model
        record_audit(project=model.project, actor="ada", action="segment.create", subject=f"{model}/rich")
        record_audit(
            project=model.project, actor="ada", action="silence.create", subject="a repair",
            after={"model": model.name},
        )  # fmt: skip

        assert self.entries(subject) >= {
            ("segment.create", "approvals/rich"),
            ("silence.create", "a repair"),
        }
