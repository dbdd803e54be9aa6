"""Transitions become incidents and deliveries, exactly once and in event time."""

from datetime import datetime, timedelta
from threading import Thread

import pytest
from django.db import connection

from driftline.base.accounts.models import Project, User
from inference.registry.models import Model
from monitors.alerts import services, silences
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.base import Message
from monitors.alerts.channels.email import EmailChannel
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import notifying
from monitors.alerts.story import Story
from monitors.rules.models import Rule, Transition
from monitors.rules.services import delete_rule
from tests.monitors.alerts.conftest import DAY, Fire

HOUR = timedelta(hours=1)


def states(**filters: object) -> dict[str, str]:
    return dict(Delivery.objects.filter(**filters).values_list("event", "state"))


class WordlessChannel(EmailChannel):
    def compose(self, story: Story, channel: Channel) -> Message:
        raise NotImplementedError


class TestOpening:
    def test_makes_an_incident_that_names_the_problem(self, fire: Fire, email: Channel) -> None:
        causes = [{"feature": "dep_hour", "score": 0.4, "evidence": "moved by two hours"}]
        opened = fire(detail={"feature": "", "causes": causes})

        handling.handle_transition(opened.pk)

        incident = Incident.objects.get()
        assert incident.title == "flight-delay: Log loss 0.61 above 0.55"
        assert (incident.status, incident.severity, incident.causes) == ("open", "critical", causes)
        assert incident.opened_at == opened.window_end
        assert [event.text for event in incident.events.all()] == ["Log loss 0.61 above 0.55 on 812 rows"]
        assert states() == {"incident.opened": "pending"}

    def test_names_the_worst_feature_of_a_rule_over_all_of_them(self, fire: Fire, rule: Rule) -> None:
        Rule.objects.filter(pk=rule.pk).update(metric="psi", feature="*", segment="origin:JFK")

        handling.handle_transition(fire(value=0.5501, detail={"feature": "temp"}).pk)

        assert (
            Incident.objects.get().title
            == "flight-delay: Population stability index of temp in origin:JFK 0.5501 above 0.55"
        )

    def test_tells_each_enabled_channel_of_the_project_that_takes_its_severity(
        self, fire: Fire, rule: Rule, project: Project, email: Channel
    ) -> None:
        stranger = Project.objects.create(slug="other", name="Other")
        for owner, name, level, enabled in (
            (project, "same", "warning", True),
            (project, "too high", "critical", True),
            (project, "off", "notice", False),
            (stranger, "elsewhere", "notice", True),
        ):
            Channel.objects.create(
                project=owner,
                kind="email",
                name=name,
                target="x@example.com",
                min_severity=level,
                enabled=enabled,
            )
        Rule.objects.filter(pk=rule.pk).update(severity="warning")

        handling.handle_transition(fire().pk)

        told = Delivery.objects.values_list("channel__name", flat=True)
        assert sorted(told) == ["on call", "same"]
        assert Delivery.objects.values("event_id").distinct().count() == 1

    def test_happens_once_however_often_it_is_asked_for(self, fire: Fire, email: Channel) -> None:
        opened = fire()

        for _ in range(3):
            handling.handle_transition(opened.pk)

        opened.refresh_from_db()
        assert opened.alerts_done_at is not None
        assert (Incident.objects.count(), Delivery.objects.count()) == (1, 1)

    @pytest.mark.slow
    @pytest.mark.django_db(transaction=True)
    def test_happens_once_when_workers_race(self, fire: Fire, email: Channel) -> None:
        opened = fire()

        def work() -> None:
            handling.handle_transition(opened.pk)
            connection.close()

        workers = [Thread(target=work) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        assert (Incident.objects.count(), Delivery.objects.count()) == (1, 1)

    def test_leaves_nothing_behind_when_it_fails_half_way(
        self, fire: Fire, email: Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = fire()
        monkeypatch.setitem(KINDS, email.kind, WordlessChannel())

        with pytest.raises(NotImplementedError):
            handling.handle_transition(opened.pk)

        opened.refresh_from_db()
        assert opened.alerts_done_at is None
        assert (Incident.objects.count(), Delivery.objects.count()) == (0, 0)

    @pytest.mark.slow
    def test_that_cannot_be_handled_holds_up_no_other_rule(
        self, fire: Fire, rule: Rule, email: Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Rule.objects.create(
            project=rule.project, model=rule.model, name="latency", metric="latency_p99", threshold=50,
            cooldown=DAY, notify_within=DAY,
        )  # fmt: skip
        broken, whole = fire(age=2 * HOUR), fire(rule=other, value=70, threshold=50)
        compose = EmailChannel.compose

        def fail_for_log_loss(self: EmailChannel, story: Story, channel: Channel) -> Message:
            if story.rule.metric == "log_loss":
                raise NotImplementedError
            return compose(self, story, channel)

        monkeypatch.setattr(EmailChannel, "compose", fail_for_log_loss)

        handling.handle_transition(whole.pk)

        assert [one.rule.name for one in Incident.objects.all()] == ["latency"]
        broken.refresh_from_db()
        assert broken.alerts_done_at is None

    def test_of_a_deleted_rule_is_no_error(self, fire: Fire, rule: Rule) -> None:
        opened = fire()
        rule.delete()

        handling.handle_transition(opened.pk)

        assert not Incident.objects.exists()

    def test_counts_more_rows_than_32_bits_hold(self, fire: Fire) -> None:
        handling.handle_transition(fire(n=3_000_000_000).pk)

        incident = Incident.objects.get()
        assert incident.alerts.get().n == 3_000_000_000
        assert incident.events.get().text.endswith("on 3,000,000,000 rows")

    def test_writes_an_infinite_value(self, fire: Fire, email: Channel, webhook: Channel) -> None:
        handling.handle_transition(fire(value=float("inf")).pk)

        assert Incident.objects.get().title == "flight-delay: Log loss inf above 0.55"
        assert '"value":null' in Delivery.objects.get(channel=webhook).body


class TestEventTime:
    def test_an_old_window_opens_an_incident_silently(self, fire: Fire, email: Channel) -> None:
        handling.handle_transition(fire(age=DAY + HOUR).pk)

        delivery = Delivery.objects.get()
        assert Incident.objects.get().status == "open"
        assert (delivery.state, delivery.reason) == (
            "suppressed",
            "The window ended 1 d 1 h ago; this rule notifies within 1 d 0 h.",
        )

    def test_a_silence_mutes_the_windows_that_end_within_it(
        self, fire: Fire, email: Channel, project: Project, model: Model, now: datetime
    ) -> None:
        silences.create_silence(
            project=project,
            model=model,
            start=now - 3 * HOUR,
            end=now - HOUR,
            reason="snow",
            actor="ada@example.com",
        )

        handling.handle_transition(fire(age=2 * HOUR).pk)

        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.reason.partition(": ")[2]) == ("suppressed", "snow")

    def test_a_silence_that_covers_now_but_not_the_window_mutes_nothing(
        self, fire: Fire, email: Channel, project: Project, now: datetime
    ) -> None:
        silences.create_silence(
            project=project,
            model=None,
            start=now - HOUR,
            end=now + HOUR,
            reason="snow",
            actor="ada@example.com",
        )

        handling.handle_transition(fire(age=2 * HOUR).pk)

        assert states() == {"incident.opened": "pending"}

    def test_a_silence_of_another_model_or_project_mutes_nothing(
        self, fire: Fire, email: Channel, project: Project, now: datetime
    ) -> None:
        neighbour = Model.objects.create(project=project, name="gate", task="binary")
        stranger = Project.objects.create(slug="other", name="Other")
        for owner, silenced in ((project, neighbour), (stranger, None)):
            silences.create_silence(
                project=owner,
                model=silenced,
                start=now - DAY,
                end=now,
                reason="snow",
                actor="ada@example.com",
            )

        handling.handle_transition(fire().pk)

        assert states() == {"incident.opened": "pending"}


class TestGoingOn:
    def test_adds_a_line_and_no_message(self, fire: Fire, email: Channel) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)

        handling.handle_transition(fire("still_firing", value=0.7).pk)

        assert [event.kind for event in Incident.objects.get().events.order_by("pk")] == [
            "opened",
            "still_firing",
        ]
        assert states() == {"incident.opened": "pending"}

    @pytest.mark.slow
    def test_tells_a_channel_from_which_the_opening_was_withheld(self, fire: Fire, email: Channel) -> None:
        handling.handle_transition(fire(age=3 * DAY).pk)

        handling.handle_transition(fire("still_firing", value=0.7).pk)

        assert list(Delivery.objects.order_by("pk").values_list("event", "state")) == [
            ("incident.opened", "suppressed"),
            ("incident.opened", "pending"),
        ]
        assert "is 0.7, above 0.55" in Delivery.objects.get(state="pending").body

    @pytest.mark.slow
    def test_opens_anew_what_a_person_resolved_too_early(
        self, fire: Fire, email: Channel, now: datetime
    ) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)
        services.resolve(incident=Incident.objects.get(), actor="ada@example.com", now=now)

        handling.handle_transition(fire("still_firing").pk)

        assert sorted(Incident.objects.values_list("status", flat=True)) == ["open", "resolved"]
        assert Delivery.objects.filter(event="incident.opened", state="pending").count() == 2

    def test_keeps_one_unresolved_incident_a_rule(self, fire: Fire) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)
        handling.handle_transition(fire(age=HOUR).pk)

        assert Incident.objects.count() == 1


class TestResolving:
    def test_resolves_the_incident_and_tells_those_who_know(self, fire: Fire, email: Channel) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)
        resolved = fire("resolved", value=0.5)

        handling.handle_transition(resolved.pk)

        incident = Incident.objects.get()
        assert (incident.status, incident.resolved_at) == ("resolved", resolved.window_end)
        assert incident.events.last().text == "Log loss 0.5 no longer above 0.55 on 812 rows"
        assert states() == {"incident.opened": "pending", "incident.resolved": "pending"}

    def test_stays_silent_where_the_opening_was_withheld(self, fire: Fire, email: Channel) -> None:
        handling.handle_transition(fire(age=3 * DAY).pk)

        handling.handle_transition(fire("resolved", value=0.5).pk)

        assert states() == {"incident.opened": "suppressed", "incident.resolved": "suppressed"}

    def test_never_overtakes_an_opening_that_waits(self, fire: Fire, email: Channel) -> None:
        fire(age=3 * HOUR)
        resolved = fire("resolved", value=0.5)

        handling.handle_transition(resolved.pk)

        assert Incident.objects.get().status == "resolved"
        assert not Transition.objects.filter(alerts_done_at=None).exists()

    def test_without_an_incident_changes_nothing(self, fire: Fire, email: Channel) -> None:
        handling.handle_transition(fire("resolved", value=0.5).pk)

        assert not Incident.objects.exists()


class TestPeople:
    def test_acknowledging_is_noted_once(self, fire: Fire, person: User, now: datetime) -> None:
        handling.handle_transition(fire().pk)

        for _ in range(2):
            incident = services.acknowledge(
                incident=Incident.objects.get(), actor=str(person), user=person, now=now
            )

        assert (incident.status, incident.acknowledged_by, incident.acknowledged_at) == (
            "acknowledged",
            person,
            now,
        )
        assert incident.events.filter(kind="acknowledged").count() == 1

    def test_an_acknowledged_incident_is_resolved_by_its_rule(
        self, fire: Fire, person: User, now: datetime
    ) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)
        services.acknowledge(incident=Incident.objects.get(), actor=str(person), user=person, now=now)

        handling.handle_transition(fire("resolved", value=0.5).pk)

        assert Incident.objects.get().status == "resolved"

    def test_resolving_by_hand_tells_those_who_know_and_is_audited(
        self, fire: Fire, email: Channel, project: Project, now: datetime
    ) -> None:
        handling.handle_transition(fire().pk)

        for _ in range(2):
            services.resolve(incident=Incident.objects.get(), actor="ada@example.com", now=now)

        assert states() == {"incident.opened": "pending", "incident.resolved": "pending"}
        assert project.audit.filter(action="incident.resolve", actor="ada@example.com").count() == 1

    def test_resolving_by_hand_says_who_and_that_the_limit_is_still_exceeded(
        self, fire: Fire, email: Channel, now: datetime
    ) -> None:
        handling.handle_transition(fire().pk)

        incident = services.resolve(incident=Incident.objects.get(), actor="ada@example.com", now=now)

        line = incident.events.get(kind="resolved")
        assert line.text == "Closed by ada@example.com, still above its limit"
        assert line.event_time is None  # what a person does is dated by the wall clock
        assert (incident.closed_at, incident.closed_by) == (now, "ada@example.com")
        mail = Delivery.objects.get(event="incident.resolved")
        assert mail.body.startswith(
            "Closed by ada@example.com, still above its limit: flight-delay: Log loss 0.61 above 0.55; since "
        )
        assert mail.subject.endswith(f"(closed, INC-{incident.pk})")


class TestADeletedRule:
    def test_keeps_its_incidents(self, fire: Fire, rule: Rule, email: Channel) -> None:
        handling.handle_transition(fire(age=3 * HOUR).pk)
        handling.handle_transition(fire("resolved", value=0.5).pk)

        delete_rule(rule=rule, actor="ada@example.com")

        incident = Incident.objects.get()
        assert (incident.status, incident.rule.name, incident.rule.pk) == ("resolved", "log loss", None)
        assert (incident.opening.value, incident.rule.threshold) == (0.61, 0.55)
        assert incident.close_reason == ""

    def test_closes_what_it_keeps_open(self, fire: Fire, rule: Rule, email: Channel) -> None:
        handling.handle_transition(fire().pk)

        delete_rule(rule=rule, actor="ada@example.com")

        incident = Incident.objects.get()
        assert incident.status == "resolved"
        assert incident.close_reason == "Closed: ada@example.com deleted the rule log loss"
        assert states() == {"incident.opened": "pending", "incident.resolved": "pending"}


class TestOngoing:
    def test_what_is_under_way_is_said(
        self, fire: Fire, email: Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            notifying, "describe_ongoing", lambda transition: [f"Run for {transition.kind} is queued"]
        )

        handling.handle_transition(fire().pk)

        assert "- Run for opened is queued" in Delivery.objects.get().body

    def test_an_alert_goes_out_although_nobody_can_say_what_is_under_way(
        self, fire: Fire, email: Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(transition: Transition) -> list[str]:
            Rule.objects.get(pk=-1)
            return []

        monkeypatch.setattr(notifying, "describe_ongoing", broken)

        handling.handle_transition(fire().pk)

        assert states() == {"incident.opened": "pending"}
