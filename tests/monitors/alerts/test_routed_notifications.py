"""Who hears of an incident and when: routes, waits, reminders, escalation, muted hours, inhibition."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.errors import Problem
from inference.registry.models import Model
from monitors.alerts import services
from monitors.alerts.incidents import handling
from monitors.alerts.models import Alert, Channel, ChannelTimer, Delivery, Incident, StoredRouting
from monitors.alerts.sending import channel_services, due_notifications
from monitors.alerts.sending.channel_timers import describe_waits
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.sending.recipients import labels_of
from monitors.alerts.silences import create_silence
from monitors.alerts.stored_routing import reset_routing, routing_of, save_routing
from monitors.rules.models import Rule, Transition
from tests.monitors.alerts.conftest import DAY, HOUR, Fire, muted_by

ADA = "ada@example.com"
MINUTE = timedelta(minutes=1)

type Route = Callable[..., None]


@pytest.fixture
def at(db: None) -> datetime:
    """The database's time, which stands still within a test."""
    return database_time()


@pytest.fixture
def mail(email: Channel) -> Channel:
    return email


@pytest.fixture
def pager(project: Project) -> Channel:
    channel, _ = channel_services.create_channel(
        project=project, kind="email", name="pager", target="pager@example.com", actor=ADA
    )
    return channel


@pytest.fixture
def route(project: Project) -> Route:
    """Store a tree with a root that keywords describe; `more` has what stands beside it."""

    def save(more: dict[str, Any] | None = None, **root: Any) -> None:
        root = {"group_wait": "0s", "group_interval": "0s"} | root
        save_routing(project=project, document={"route": root} | (more or {}), actor=ADA)

    return save


@pytest.fixture
def opened(fire: Fire) -> Callable[[], Incident]:
    """Have the rule fire, and return its incident."""

    def open_incident(**fields: Any) -> Incident:
        handling.handle_transition(fire(**fields).pk)
        return Incident.objects.get()

    return open_incident


def sent(channel: Channel | None = None, state: str = "pending") -> list[str]:
    """List the events of incidents that were written to a channel, or to all, in their order."""
    rows = Delivery.objects.filter(
        state=state, event__startswith="incident.", **({"channel": channel} if channel else {})
    )
    return [event.removeprefix("incident.") for event in rows.order_by("pk").values_list("event", flat=True)]


class TestWithoutATree:
    def test_every_channel_that_takes_the_severity_hears_at_once(
        self, opened: Callable[[], Incident], mail: Channel, pager: Channel
    ) -> None:
        opened()

        assert sent(mail) == sent(pager) == ["opened"]

    @pytest.mark.slow
    def test_a_critical_incident_is_reminded_of_once_a_day(
        self, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        opened()

        for hours in (23, 24, 30, 48):
            due_notifications.send_due_notifications(at=at + hours * HOUR)

        assert sent(mail) == ["opened", "reminder", "reminder"]
        reminder = Delivery.objects.filter(event="incident.reminder")[0]
        assert "(reminder, INC-" in reminder.subject
        assert "Nobody has acknowledged this; the next reminder comes in 1 d 0 h." in reminder.body

    def test_an_archived_project_is_not_reminded(
        self, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        opened()
        Project.objects.update(archived_at=at)

        due_notifications.send_due_notifications(at=at + 24 * HOUR)
        while_archived = sent(mail)
        Project.objects.update(archived_at=None)
        due_notifications.send_due_notifications(at=at + 24 * HOUR)

        assert (while_archived, sent(mail)) == (["opened"], ["opened", "reminder"])

    def test_a_warning_is_not_repeated(
        self, opened: Callable[[], Incident], rule: Rule, mail: Channel, at: datetime
    ) -> None:
        Rule.objects.filter(pk=rule.pk).update(severity="warning")
        opened()

        due_notifications.send_due_notifications(at=at + 300 * DAY)

        assert sent(mail) == ["opened"]


class TestRoutes:
    def test_send_an_incident_to_the_channels_of_the_first_that_matches(
        self, route: Route, opened: Callable[[], Incident], model: Model, mail: Channel, pager: Channel
    ) -> None:
        Model.objects.filter(pk=model.pk).update(owner="ops", tags=["eu", "flights"])
        route(
            channels=["on call"],
            routes=[
                {"matchers": ["owner=ops", 'tags=~".*,eu,.*"', "severity=critical"], "channels": ["pager"]}
            ],
        )

        opened()

        assert (sent(mail), sent(pager)) == ([], ["opened"])

    def test_keep_to_the_least_severity_of_a_channel(
        self, route: Route, opened: Callable[[], Incident], rule: Rule, mail: Channel
    ) -> None:
        Channel.objects.update(min_severity="critical")
        Rule.objects.filter(pk=rule.pk).update(severity="warning")
        route(channels=["on call"])

        opened()

        assert sent() == []

    def test_of_nobody_notify_nobody(
        self, route: Route, opened: Callable[[], Incident], mail: Channel
    ) -> None:
        route(channels=[])

        assert opened().status == "open"
        assert not Delivery.objects.exists()

    def test_are_chosen_by_the_lead_alert_and_by_what_only_others_have(
        self, opened: Callable[..., Incident], model: Model, mail: Channel
    ) -> None:
        incident = opened()
        Alert.objects.create(
            **{
                field.attname: getattr(incident.alerts.get(), field.attname)
                for field in Alert._meta.concrete_fields
                if field.attname not in ("id", "rule_id", "labels")
            },
            labels={"metric": "psi", "feature": "age", "team": "risk"},
        )

        labels = labels_of(incident)

        assert (labels["metric"], labels["feature"], labels["team"]) == ("log_loss", "age", "risk")
        assert (labels["kind"], labels["model"], labels["severity"]) == (
            "performance",
            model.name,
            "critical",
        )


class TestGroupWait:
    def test_delays_the_first_message_so_that_it_has_what_joins_meanwhile(
        self, route: Route, fire: Fire, rule: Rule, model: Model, mail: Channel, at: datetime
    ) -> None:
        route(group_wait="30s")
        handling.handle_transition(fire().pk)
        second = Rule.objects.create(
            project=rule.project, model=model, name="brier", metric="brier", threshold=0.2, cooldown=DAY,
            notify_within=DAY, severity="critical",
        )  # fmt: skip
        handling.handle_transition(fire(rule=second).pk)
        before = sent()

        due_notifications.send_due_notifications(at=at + 29 * timedelta(seconds=1))
        still = sent()
        due_notifications.send_due_notifications(at=at + 30 * timedelta(seconds=1))

        assert (before, still, sent()) == ([], [], ["opened"])
        assert "Brier" in Delivery.objects.get().body

    def test_keeps_from_people_what_is_over_before_its_end(
        self, route: Route, fire: Fire, mail: Channel, at: datetime
    ) -> None:
        route(group_wait="1h")
        handling.handle_transition(fire(age=2 * HOUR).pk)
        handling.handle_transition(fire("resolved", value=0.5).pk)

        due_notifications.send_due_notifications(at=at + 2 * HOUR)

        assert sent() == []
        assert sent(state="suppressed") == ["resolved"]
        assert Delivery.objects.get().reason == "This channel was not notified of the opening either."


class TestGroupInterval:
    @pytest.mark.slow
    def test_keeps_a_distance_between_messages(
        self, route: Route, opened: Callable[[], Incident], fire: Fire, mail: Channel, at: datetime
    ) -> None:
        route(group_interval="5m")
        opened()
        fault = {"kind": "fault", "feature": "temp", "score": 0.9, "evidence": "empty"}
        handling.handle_transition(fire("still_firing", age=timedelta(), detail={"causes": [fault]}).pk)
        before = sent()

        due_notifications.send_due_notifications(at=at + 4 * MINUTE)
        still = sent()
        due_notifications.send_due_notifications(at=at + 5 * MINUTE)

        assert (before, still, sent()) == (["opened"], ["opened"], ["opened", "updated"])


class TestReminders:
    def test_come_at_the_interval_of_the_route_until_somebody_acknowledges(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime, person: User
    ) -> None:
        route(repeat_interval="4h")
        incident = opened()
        due_notifications.send_due_notifications(at=at + 4 * HOUR)

        services.acknowledge(incident=incident, actor=ADA, user=person, now=at + 5 * HOUR)
        due_notifications.send_due_notifications(at=at + 100 * HOUR)

        assert sent() == ["opened", "reminder"]

    def test_end_with_the_incident(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        route(repeat_interval="4h")
        services.resolve(incident=opened(), actor=ADA, now=at)

        due_notifications.send_due_notifications(at=at + 100 * HOUR)

        assert sent() == ["opened", "resolved"]
        assert not ChannelTimer.objects.exists()

    def test_are_withheld_while_the_model_is_silenced(
        self,
        route: Route,
        opened: Callable[[], Incident],
        project: Project,
        model: Model,
        mail: Channel,
        at: datetime,
    ) -> None:
        route(repeat_interval="4h")
        opened()
        create_silence(
            project=project, model=model, start=at - HOUR, end=at + 8 * HOUR, reason="snow", actor=ADA
        )

        due_notifications.send_due_notifications(at=at + 4 * HOUR)
        while_silenced = sent()
        due_notifications.send_due_notifications(at=at + 9 * HOUR)

        assert (while_silenced, sent()) == (["opened"], ["opened", "reminder"])

    def test_say_when_the_next_one_comes(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        route(repeat_interval="4h")

        waits = describe_waits(opened())

        assert waits == [
            f"on call: a reminder is sent at {at + 4 * HOUR:%Y-%m-%d %H:%M} UTC, unless somebody acknowledges."
        ]


class TestEscalation:
    def test_notifies_others_where_nobody_acknowledged(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, pager: Channel, at: datetime
    ) -> None:
        route(channels=["on call"], escalate_after="1h", escalate_to=["pager"])
        opened()

        due_notifications.send_due_notifications(at=at + 59 * MINUTE)
        before = sent(pager)
        due_notifications.send_due_notifications(at=at + HOUR)

        assert (before, sent(pager), sent(mail)) == ([], ["opened"], ["opened"])
        body = Delivery.objects.get(channel=pager).body
        assert "Escalated: nobody acknowledged this within 1 h 0 min of the first message." in body

    def test_does_not_happen_where_somebody_did(
        self,
        route: Route,
        opened: Callable[[], Incident],
        mail: Channel,
        pager: Channel,
        at: datetime,
        person: User,
    ) -> None:
        route(channels=["on call"], escalate_after="1h", escalate_to=["pager"])
        services.acknowledge(incident=opened(), actor=ADA, user=person, now=at)

        due_notifications.send_due_notifications(at=at + 2 * HOUR)
        services.resolve(incident=Incident.objects.get(), actor=ADA, now=at)

        assert not Delivery.objects.filter(channel=pager).exists()

    def test_counts_from_the_message_of_a_route_before(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, pager: Channel, at: datetime
    ) -> None:
        route(
            routes=[
                {"channels": ["on call"], "continue": True},
                {"channels": ["on call"], "escalate_after": "1h", "escalate_to": ["pager"]},
            ]
        )
        opened()

        due_notifications.send_due_notifications(at=at + HOUR)

        assert (sent(mail), sent(pager)) == (["opened"], ["opened"])

    def test_happens_although_the_first_channel_is_off(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, pager: Channel, at: datetime
    ) -> None:
        route(channels=["on call"], escalate_after="1h", escalate_to=["pager"])
        channel_services.update_channel(channel=mail, actor=ADA, enabled=False)
        opened()

        due_notifications.send_due_notifications(at=at + HOUR)

        assert (sent(mail), sent(pager)) == ([], ["opened"])

    @pytest.mark.slow
    def test_lets_those_who_were_notified_know_of_the_end(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, pager: Channel, at: datetime
    ) -> None:
        route(channels=["on call"], escalate_after="1h", escalate_to=["pager"])
        incident = opened()
        due_notifications.send_due_notifications(at=at + HOUR)

        services.resolve(incident=incident, actor=ADA, now=at)

        assert sent(pager) == sent(mail) == ["opened", "resolved"]


class TestMutedHours:
    def test_withhold_with_a_reason_and_send_at_their_end_what_is_still_open(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        ends = at.replace(minute=0, second=0, microsecond=0) + 2 * HOUR
        route(muted_by(at), routes=[{"mute_time_intervals": ["nights"]}])
        incident = opened()
        withheld = Delivery.objects.get()

        due_notifications.send_due_notifications(at=ends - MINUTE)
        during = sent()
        due_notifications.send_due_notifications(at=ends)

        assert (withheld.state, withheld.reason) == (
            "suppressed", f"Muted by nights until {ends:%Y-%m-%d %H:%M} UTC",
        )  # fmt: skip
        assert (during, sent()) == ([], ["opened"])
        assert describe_waits(incident) == []

    def test_never_tell_of_what_is_over_by_their_end(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        route(muted_by(at), routes=[{"mute_time_intervals": ["nights"]}])
        services.resolve(incident=opened(), actor=ADA, now=at)

        due_notifications.send_due_notifications(at=at + 5 * HOUR)

        assert sent() == []
        assert sent(state="suppressed") == ["opened", "resolved"]

    def test_keep_the_end_of_an_incident_for_the_morning(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        incident = opened()
        route(muted_by(at), routes=[{"mute_time_intervals": ["nights"]}])

        services.resolve(incident=incident, actor=ADA, now=at)

        end = Delivery.objects.get(event="incident.resolved")
        assert end.state == "pending"
        assert end.next_attempt_at == at.replace(minute=0, second=0, microsecond=0) + 2 * HOUR
        assert end.reason.startswith("Muted until ")

    def test_of_weeks_do_not_make_what_is_still_open_old_news(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, at: datetime
    ) -> None:
        day = at.date()
        holidays = {
            "time_intervals": [{"name": "holidays", "dates": [f"{day + n * DAY}" for n in range(14)]}]
        }
        route(holidays, routes=[{"mute_time_intervals": ["holidays"]}])
        opened()

        due_notifications.send_due_notifications(at=at + 14 * DAY)

        assert sent() == ["opened"]


class TestInhibition:
    @pytest.fixture
    def drift(self, project: Project, model: Model) -> Rule:
        return Rule.objects.create(
            project=project, model=model, name="age drifts", metric="psi", feature="age", threshold=0.2,
            cooldown=DAY, notify_within=DAY, severity="warning",
        )  # fmt: skip

    @pytest.fixture
    def rules(self) -> dict[str, Any]:
        """Inhibition of drift by bad performance, which are two incidents where they share no cause."""
        return {
            "inhibit_rules": [
                {
                    "source_matchers": ["kind=performance"],
                    "target_matchers": ["kind=drift"],
                    "equal": ["model"],
                }
            ]
        }

    @pytest.mark.slow
    def test_withholds_what_another_incident_explains_until_that_is_over(
        self, route: Route, rules: dict[str, Any], fire: Fire, drift: Rule, mail: Channel, at: datetime
    ) -> None:
        route(rules)
        handling.handle_transition(fire().pk)
        worse = Incident.objects.get()
        handling.handle_transition(fire(rule=drift, threshold=0.2).pk)
        moved = Incident.objects.exclude(pk=worse.pk).get()
        withheld = moved.deliveries.get()

        due_notifications.send_due_notifications(at=at + HOUR)
        during = list(moved.deliveries.filter(state="pending"))
        services.resolve(incident=worse, actor=ADA, now=at)
        due_notifications.send_due_notifications(at=at)

        assert (withheld.state, withheld.reason) == (
            "suppressed", f"Inhibited by INC-{worse.pk}, which explains it: {worse.title}",
        )  # fmt: skip
        assert during == []
        assert [one.event for one in moved.deliveries.filter(state="pending")] == ["incident.opened"]

    def test_of_another_model_changes_nothing(
        self, route: Route, rules: dict[str, Any], fire: Fire, drift: Rule, mail: Channel, project: Project
    ) -> None:
        route(rules)
        handling.handle_transition(fire().pk)
        other = Model.objects.create(project=project, name="churn", task="binary")
        Rule.objects.filter(pk=drift.pk).update(model=other)
        drift.refresh_from_db()

        handling.handle_transition(fire(rule=drift, model=other).pk)

        assert sent(mail) == ["opened", "opened"]


class TestChangingTheTree:
    def test_routes_open_incidents_anew(
        self, route: Route, opened: Callable[[], Incident], mail: Channel, pager: Channel, at: datetime
    ) -> None:
        route(channels=["on call"])
        opened()

        route(channels=["pager"])
        due_notifications.send_due_notifications(at=at)

        assert (sent(mail), sent(pager)) == (["opened"], ["opened"])

    def test_is_audited_with_both_trees(self, route: Route, project: Project, mail: Channel) -> None:
        route(channels=["on call"])

        reset_routing(project=project, actor=ADA)

        changes = AuditEntry.objects.filter(action__startswith="routing.").order_by("pk")
        assert [one.action for one in changes] == ["routing.update", "routing.reset"]
        assert changes[1].before["route"]["channels"] == ["on call"]
        assert routing_of(project).is_default

    def test_is_refused_as_a_whole(self, route: Route, project: Project, mail: Channel) -> None:
        with pytest.raises(Problem, match="This project has no channel 'chat'; it has on call"):
            route(channels=["chat"])

        assert not StoredRouting.objects.exists()
        assert not AuditEntry.objects.filter(action="routing.update").exists()

    def test_does_not_know_channels_of_other_projects(self, route: Route, mail: Channel) -> None:
        stranger = Project.objects.create(slug="other", name="Other")
        channel_services.create_channel(
            project=stranger, kind="email", name="theirs", target="x@example.com", actor=ADA
        )

        with pytest.raises(Problem, match="no channel 'theirs'"):
            route(channels=["theirs"])


class TestAChannelInTheTree:
    def test_is_followed_when_it_is_renamed(self, route: Route, project: Project, mail: Channel) -> None:
        route(
            channels=[],
            routes=[{"channels": ["on call"], "escalate_after": "1h", "escalate_to": ["on call"]}],
        )

        channel_services.update_channel(channel=mail, actor=ADA, name="night shift")

        [below] = routing_of(project).tree.root.routes
        assert below.channels == below.escalate_to == ("night shift",)

    def test_is_not_deleted(self, route: Route, mail: Channel) -> None:
        route(channels=["on call"])

        with pytest.raises(Problem, match="The routing tree sends to on call; take it out of the tree first"):
            channel_services.delete_channel(channel=mail, actor=ADA)

        assert Channel.objects.get().deleted_at is None


def test_an_incident_that_cannot_be_handled_is_tried_later_and_holds_up_no_other(
    opened: Callable[[], Incident], mail: Channel, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = opened()
    Transition.objects.all().delete()
    Alert.objects.all().update(definition={}, rule=None)

    due_notifications.send_due_notifications(at=at + DAY)

    assert incident.timers.get().due_at == at + DAY + 15 * MINUTE
