"""One message about several incidents, where a route says `group_by`."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail as outbox_of_mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from inference.registry.models import Deployment, Model, Version
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.routing.parsing import LABELS
from monitors.alerts.sending import channel_services, outbox
from monitors.alerts.sending.recipients import labels_of
from monitors.alerts.stored_routing import save_routing
from monitors.rules.models import Rule, Transition
from tests.monitors.alerts.conftest import ADA, DAY, Make, muted_by

type FireFor = Callable[..., Incident]
MINUTE = timedelta(minutes=1)


class Down(BaseEmailBackend):
    """A mail server that is down."""

    def send_messages(self, email_messages: Any) -> int:
        raise ConnectionRefusedError("connection refused")


@pytest.fixture
def fire_for(project: Project, now: datetime) -> FireFor:
    """Have a rule of a model fire, or end, and return its incident; a model is made with its first incident."""

    def fire(name: str, *, owner: str = "risk", kind: str = "opened", severity: str = "warning") -> Incident:
        model, is_new = Model.objects.get_or_create(
            project=project, name=name, defaults={"task": "binary", "owner": owner}
        )
        if is_new:
            version = Version.objects.create(model=model, version="1")
            Deployment.objects.update_or_create(model=model, defaults={"champion": version, "generation": 1})
            Rule.objects.create(
                project=project, model=model, name=f"log loss of {name}", metric="log_loss", threshold=0.55,
                cooldown=3 * DAY, notify_within=DAY, severity=severity,
            )  # fmt: skip
        end = now - timedelta(hours=2 if kind == "opened" else 1)
        transition = Transition.objects.create(
            rule=model.rules.get(), model=model, kind=kind, window_start=end - DAY, window_end=end,
            value=0.61 if kind == "opened" else 0.4, n=812, threshold=0.55,
        )  # fmt: skip
        handling.handle_transition(transition.pk)
        return Incident.objects.get(model=model)

    return fire


@pytest.fixture
def group_by(project: Project) -> Callable[..., None]:
    """Store a tree with one route, which groups by labels."""

    def save(*labels: str, **more: Any) -> None:
        route = {"group_wait": "0s", "group_interval": "5m", "group_by": list(labels)}
        save_routing(project=project, document={"route": route} | more, actor=ADA)

    return save


def let_time_pass(length: timedelta) -> None:
    """Have everything in the outbox be as much older, as if so long had passed."""
    for row in Delivery.objects.all():
        row.next_attempt_at -= length
        row.sent_at = row.sent_at and row.sent_at - length
        row.save(update_fields=["next_attempt_at", "sent_at"])


def send() -> list[str]:
    """Send what is due, and return the subjects of the e-mails that went out."""
    before = len(outbox_of_mail.outbox)
    outbox.send_due_deliveries()
    return [str(one.subject) for one in outbox_of_mail.outbox[before:]]


def states() -> list[tuple[str, str]]:
    return list(Delivery.objects.order_by("pk").values_list("event", "state"))


class TestIncidentsOfOneMoment:
    @pytest.mark.slow
    def test_are_one_message_that_names_each(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        incidents = [fire_for(name) for name in ("churn", "fraud", "price")]
        assert send() == []
        let_time_pass(MINUTE)
        assert send() == ["[warning] 3 incidents: 3 opened"]
        text = outbox_of_mail.outbox[-1].body
        assert "They share owner=risk." in text
        assert all(f"INC-{one.pk} opened, warning: {one.title}" in text for one in incidents)
        assert all(f"/incidents/{one.pk}" in text for one in incidents)
        assert states() == [("incident.opened", "grouped")] * 3 + [("incidents.grouped", "sent")]

    @pytest.mark.slow
    def test_are_apart_where_the_labels_differ(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        for name, owner in (("churn", "risk"), ("fraud", "risk"), ("price", "sales"), ("stock", "sales")):
            fire_for(name, owner=owner)
        let_time_pass(MINUTE)
        assert send() == ["[warning] 2 incidents: 2 opened"] * 2

    @pytest.mark.slow
    def test_need_to_share_nothing_where_the_list_is_empty(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by()
        for name, owner in (("churn", "risk"), ("price", "sales")):
            fire_for(name, owner=owner)
        let_time_pass(MINUTE)
        assert send() == ["[warning] 2 incidents: 2 opened"]
        assert "They share" not in outbox_of_mail.outbox[-1].body

    def test_that_stay_alone_have_the_message_of_one_incident(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        incident = fire_for("churn")
        let_time_pass(MINUTE)
        assert send() == [f"[warning] {incident.title} (opened, INC-{incident.pk})"]

    @pytest.mark.slow
    def test_begin_with_the_worst(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        fire_for("churn", severity="notice")
        fire_for("fraud", severity="warning")
        worst = fire_for("price", severity="critical")
        let_time_pass(MINUTE)
        assert send() == ["[critical] 2 incidents: 2 opened"]  # the channel takes warnings and above
        lines = [line for line in outbox_of_mail.outbox[-1].body.splitlines() if line.startswith("- INC-")]
        assert lines[0].startswith(f"- INC-{worst.pk} opened, critical")


class TestLaterIncidents:
    @pytest.mark.slow
    def test_wait_for_the_interval_and_share_the_next_message_with_the_ends(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        first, _ = fire_for("churn"), fire_for("fraud")
        let_time_pass(MINUTE)
        send()
        fire_for("churn", kind="resolved")
        fire_for("price")
        let_time_pass(MINUTE)
        assert send() == []
        waiting = Delivery.objects.filter(state="pending").first()
        assert waiting is not None
        assert waiting.reason.startswith("Waits until")
        assert waiting.reason.endswith("for what else happens of owner=risk")
        let_time_pass(5 * MINUTE)
        assert send() == ["[warning] 2 incidents: 1 opened, 1 ended"]
        assert f"INC-{first.pk} ended" in outbox_of_mail.outbox[-1].body

    @pytest.mark.slow
    def test_that_change_before_the_first_message_are_said_as_opened(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        first, _ = fire_for("churn"), fire_for("fraud")
        change = Delivery.objects.get(incident=first)
        change.pk, change.event, change.event_id = None, "incident.updated", "evt_change"
        change.save()

        let_time_pass(MINUTE)

        assert send() == ["[warning] 2 incidents: 2 opened"]
        assert f"INC-{first.pk} opened" in outbox_of_mail.outbox[-1].body

    @pytest.mark.slow
    def test_that_end_before_the_message_are_said_once(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        incident = fire_for("churn")
        fire_for("churn", kind="resolved")
        let_time_pass(MINUTE)
        assert send() == [f"[warning] {incident.title} (resolved, INC-{incident.pk})"]
        assert states() == [("incident.opened", "grouped"), ("incident.resolved", "sent")]


class TestSending:
    @pytest.mark.slow
    def test_a_message_that_fails_is_sent_again_as_it_was(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel, settings: Any
    ) -> None:
        group_by("owner")
        fire_for("churn"), fire_for("fraud")
        let_time_pass(MINUTE)
        backend, settings.EMAIL_BACKEND = (
            settings.EMAIL_BACKEND,
            "tests.monitors.alerts.test_message_groups.Down",
        )
        send()
        joint = Delivery.objects.get(event="incidents.grouped")
        assert (joint.state, joint.attempts_made) == ("pending", 1)
        settings.EMAIL_BACKEND = backend
        later = fire_for("price")
        let_time_pass(MINUTE)
        assert send() == ["[warning] 2 incidents: 2 opened"]
        joint.refresh_from_db()
        assert joint.state == "sent"
        let_time_pass(5 * MINUTE)
        assert send() == [f"[warning] {later.title} (opened, INC-{later.pk})"]

    @pytest.mark.slow
    def test_a_message_of_a_channel_that_is_turned_off_is_not_taken_for_sent(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        fire_for("churn"), fire_for("fraud")
        let_time_pass(MINUTE)
        assert outbox.claim_delivery() is not None
        channel_services.update_channel(channel=email, actor=ADA, enabled=False)
        assert {state for _, state in states()} == {"suppressed"}

    @pytest.mark.slow
    def test_a_worker_that_dies_after_joining_leaves_one_message_to_send(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        fire_for("churn"), fire_for("fraud")
        let_time_pass(MINUTE)
        claimed = outbox.claim_delivery()
        assert claimed is not None
        assert claimed.event == "incidents.grouped"
        assert send() == []
        Delivery.objects.filter(pk=claimed.pk).update(lease_until=Now() - MINUTE)
        assert send() == ["[warning] 2 incidents: 2 opened"]
        assert send() == []

    @pytest.mark.slow
    def test_sending_one_again_by_hand_sends_the_message_about_it_alone(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("owner")
        incident, _ = fire_for("churn"), fire_for("fraud")
        let_time_pass(MINUTE)
        send()
        outbox.requeue(incident.deliveries.get())
        assert send() == [f"[warning] {incident.title} (opened, INC-{incident.pk})"]

    @pytest.mark.slow
    def test_a_change_stays_behind_the_opening_that_still_waits(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel
    ) -> None:
        group_by("severity")
        incident = fire_for("churn")
        group_by("owner")
        fire_for("churn", kind="resolved")
        assert set(incident.deliveries.values_list("group", flat=True)) == {"severity=warning"}
        let_time_pass(MINUTE)
        assert send() == [f"[warning] {incident.title} (resolved, INC-{incident.pk})"]

    @pytest.mark.slow
    def test_muted_hours_hold_for_groups_too(
        self, fire_for: FireFor, group_by: Callable[..., None], email: Channel, project: Project
    ) -> None:
        group_by("owner")
        fire_for("churn"), fire_for("fraud")
        let_time_pass(MINUTE)
        send()
        nights = muted_by(outbox.database_time())
        route = {"group_wait": "0s", "group_interval": "5m", "group_by": ["owner"], "channels": []}
        routes = [
            {"matchers": ["severity!=none"], "channels": [email.name], "mute_time_intervals": ["nights"]}
        ]
        save_routing(project=project, document={"route": route | {"routes": routes}} | nights, actor=ADA)
        fire_for("churn", kind="resolved")
        let_time_pass(10 * MINUTE)
        waiting = Delivery.objects.get(event="incident.resolved")
        assert waiting.reason.startswith("Muted until")


def test_the_labels_to_group_by_are_those_that_incidents_have(fire_for: FireFor) -> None:
    assert set(labels_of(fire_for("churn"))) == set(LABELS)


class TestProgramsAndServices:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["pagerduty", "opsgenie", "alertmanager", "webhook", "slack bot"])
    def test_get_each_incident_by_itself(
        self, kind: str, fire_for: FireFor, group_by: Callable[..., None], make: Make, project: Project
    ) -> None:
        if kind == "webhook":
            channel_services.create_channel(
                project=project, kind="webhook", name="ops", target="https://hooks.example.com/x", actor=ADA
            )
        else:
            make(kind)
        group_by("owner")
        fire_for("churn"), fire_for("fraud")
        written = Delivery.objects.filter(event="incident.opened")
        assert list(written.values_list("group", flat=True)) == ["", ""]

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["slack", "teams", "discord", "apprise"])
    def test_chats_take_the_message_about_several(
        self, kind: str, fire_for: FireFor, group_by: Callable[..., None], make: Make
    ) -> None:
        make(kind)
        group_by("owner")
        for number in range(30):
            fire_for(f"model {number} <!channel> *x*")
        let_time_pass(MINUTE)
        outbox.send_due_deliveries()
        joint = Delivery.objects.get(event="incidents.grouped")
        assert (joint.state, joint.reason) == ("sent", "")
        assert "30 incidents: 30 opened" in joint.body
        assert "and 20 more" in joint.body
