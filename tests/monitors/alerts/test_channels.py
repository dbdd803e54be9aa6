"""Channels are changed by people: what is refused, what is audited, and what other projects see."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from monitors.alerts import selectors, services, silences
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.rules.models import Rule
from tests.monitors.alerts.conftest import DAY, Fire
from tests.monitors.alerts.receiver import Receiver

ADA = "ada@example.com"


@pytest.fixture
def stranger(db: None) -> Project:
    return Project.objects.create(slug="other", name="Other")


class TestChanging:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("kind", "pigeon"),
            ("name", ""),
            ("name", "  "),
            ("name", "a\r\nBcc: b@example.com"),
            ("name", "x" * 101),
            ("min_severity", "fatal"),
        ],
    )
    def test_refuses_a_wrong_field_and_names_it(self, project: Project, field: str, value: str) -> None:
        fields: dict[str, Any] = {"kind": "email", "name": "on call", "target": "a@example.com", field: value}

        with pytest.raises(Problem) as refused:
            channel_services.create_channel(project=project, actor=ADA, **fields)

        assert (refused.value.status, refused.value.errors[0].pointer) == (422, f"/{field}")
        assert not Channel.objects.exists()

    @pytest.mark.parametrize(
        "changes", [{"kind": "webhook"}, {"secret": b"x"}, {"name": ""}, {"min_severity": "fatal"}]
    )
    def test_refuses_a_wrong_change(self, email: Channel, changes: dict[str, Any]) -> None:
        with pytest.raises(Problem) as refused:
            channel_services.update_channel(channel=email, actor=ADA, **changes)

        assert refused.value.errors[0].pointer == f"/{next(iter(changes))}"

    def test_keeps_names_apart_within_a_project(
        self, email: Channel, project: Project, stranger: Project
    ) -> None:
        fields: dict[str, Any] = {
            "kind": "email",
            "name": email.name,
            "target": "a@example.com",
            "actor": ADA,
        }

        channel_services.create_channel(project=stranger, **fields)
        with pytest.raises(Problem) as refused:
            channel_services.create_channel(project=project, **fields)

        assert (refused.value.status, refused.value.code) == (409, "channel_exists")

    def test_leaves_an_audit_row_each_time(self, email: Channel, project: Project) -> None:
        channel_services.update_channel(channel=email, actor=ADA, min_severity="critical")
        channel_services.delete_channel(channel=email, actor=ADA)

        rows = project.audit.order_by("pk")
        assert [row.action for row in rows] == ["channel.create", "channel.update", "channel.delete"]
        assert (rows[1].before["min_severity"], rows[1].after["min_severity"]) == ("warning", "critical")


class TestDeleting:
    def test_keeps_the_deliveries_and_hides_the_channel(
        self, email: Channel, fire: Fire, project: Project
    ) -> None:
        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        channel_services.delete_channel(channel=email, actor=ADA)

        assert not selectors.channels(project=project).exists()
        assert [one.state for one in selectors.deliveries(project=project)] == ["sent"]

    def test_erases_the_target_and_the_secret(self, webhook: Channel) -> None:
        channel_services.delete_channel(channel=webhook, actor=ADA)

        stored = Channel.objects.get()
        assert (stored.target, bytes(stored.secret), stored.enabled) == ("", b"", False)

    def test_sends_nothing_that_waits_and_refuses_to_send_it_again(
        self, webhook: Channel, fire: Fire, receiver: Receiver
    ) -> None:
        handling.handle_transition(fire().pk)
        channel_services.delete_channel(channel=webhook, actor=ADA)

        outbox.send_due_deliveries()
        delivery = Delivery.objects.get()
        with pytest.raises(Problem) as refused:
            channel_services.replay(delivery=delivery, actor=ADA)

        assert receiver.received == []
        assert (delivery.state, delivery.reason) == ("suppressed", "The channel was deleted.")
        assert refused.value.code == "channel_deleted"

    def test_makes_its_name_free(self, email: Channel, project: Project) -> None:
        channel_services.delete_channel(channel=email, actor=ADA)

        channel_services.create_channel(
            project=project, kind="email", name=email.name, target="b@example.com", actor=ADA
        )

        assert Channel.objects.filter(name=email.name).count() == 2

    def test_gets_no_later_incident(self, email: Channel, fire: Fire) -> None:
        channel_services.delete_channel(channel=email, actor=ADA)

        handling.handle_transition(fire().pk)

        assert not Delivery.objects.exists()


class TestRotating:
    def test_signs_with_both_secrets_for_a_day_and_then_with_the_new_one_alone(
        self, webhook: Channel, receiver: Receiver, now: datetime
    ) -> None:
        old = receiver.secret
        channel, new = channel_services.rotate_secret(channel=webhook, actor=ADA, now=now)
        channel_services.send_test(channel=channel, actor=ADA)
        outbox.send_due_deliveries()

        for secret in (old, new):
            receiver.secret = secret
            assert receiver.verified()["event"] == "test"
        Channel.objects.update(previous_secret_until=now - timedelta(seconds=1))
        channel_services.send_test(channel=channel, actor=ADA)
        outbox.send_due_deliveries()

        assert receiver.verified()["event"] == "test"
        receiver.secret = old
        with pytest.raises(WebhookVerificationError):
            receiver.verified()

    def test_twice_drops_the_first_secret(self, webhook: Channel, receiver: Receiver, now: datetime) -> None:
        channel_services.rotate_secret(channel=webhook, actor=ADA, now=now)
        channel, _ = channel_services.rotate_secret(channel=webhook, actor=ADA, now=now)

        channel_services.send_test(channel=channel, actor=ADA)
        outbox.send_due_deliveries()

        with pytest.raises(WebhookVerificationError):
            receiver.verified()

    def test_leaves_an_audit_row_without_the_secret(
        self, webhook: Channel, project: Project, now: datetime
    ) -> None:
        _, secret = channel_services.rotate_secret(channel=webhook, actor=ADA, now=now)

        row = project.audit.order_by("pk").last()
        assert row is not None
        assert (row.action, row.subject) == ("channel.rotate_secret", "pager")
        assert secret not in str((row.before, row.after))

    def test_is_not_undone_by_a_change_that_was_read_before(self, webhook: Channel, now: datetime) -> None:
        read_before = Channel.objects.select_related("project").get()
        channel_services.rotate_secret(channel=webhook, actor=ADA, now=now)
        rotated = bytes(Channel.objects.get().secret)

        channel_services.update_channel(channel=read_before, actor=ADA, name="other")

        assert bytes(Channel.objects.get().secret) == rotated

    def test_is_refused_where_there_is_no_secret(self, email: Channel, now: datetime) -> None:
        with pytest.raises(Problem) as refused:
            channel_services.rotate_secret(channel=email, actor=ADA, now=now)

        assert (refused.value.status, refused.value.code) == (409, "no_secret")


class TestReading:
    def test_lists_by_status_model_and_severity(self, fire: Fire, project: Project, now: datetime) -> None:
        handling.handle_transition(fire(age=timedelta(hours=3)).pk)
        services.resolve(incident=Incident.objects.get(), actor=ADA, now=now)
        handling.handle_transition(fire().pk)

        assert [i.status for i in selectors.incidents(project=project)] == ["open", "resolved"]
        assert selectors.open_incidents(project=project).count() == 1
        assert selectors.incidents(project=project, status="resolved", model="flight-delay").count() == 1
        assert not selectors.incidents(project=project, severity="notice").exists()

    def test_gives_an_incident_with_its_timeline_deliveries_and_attempts(
        self, fire: Fire, email: Channel, project: Project
    ) -> None:
        handling.handle_transition(fire().pk)
        outbox.send_due_deliveries()

        detail = selectors.incident_detail(project=project, incident_id=Incident.objects.get().pk)

        assert [event.kind for event in detail.timeline] == ["opened"]
        [delivery] = detail.deliveries
        assert [tried.succeeded for tried in delivery.attempts.all()] == [True]

    def test_shows_how_a_channels_newest_delivery_fared(
        self, webhook: Channel, receiver: Any, project: Project
    ) -> None:
        receiver.answers = [type(receiver.answers[0])(500)]
        channel_services.send_test(channel=webhook, actor=ADA)
        outbox.send_due_deliveries()

        [channel] = selectors.channels(project=project)

        assert (channel.last_state, channel.last_reason) == ("failed", "The receiver answered 500: taken")

    def test_hides_everything_from_another_project(
        self, fire: Fire, email: Channel, project: Project, stranger: Project, now: datetime
    ) -> None:
        handling.handle_transition(fire().pk)
        silence = silences.create_silence(
            project=project, model=None, start=now, end=now + DAY, reason="snow", actor=ADA
        )

        for look in (
            lambda: selectors.get_incident(project=stranger, incident_id=Incident.objects.get().pk),
            lambda: selectors.incident_detail(project=stranger, incident_id=Incident.objects.get().pk),
            lambda: selectors.get_channel(project=stranger, channel_id=email.pk),
            lambda: selectors.get_delivery(project=stranger, delivery_id=Delivery.objects.get().pk),
            lambda: selectors.get_silence(project=stranger, silence_id=silence.pk),
        ):
            with pytest.raises(Problem) as refused:
                look()
            assert refused.value.status == 404
        for rows in (selectors.incidents, selectors.channels, selectors.deliveries, selectors.silences):
            assert not rows(project=stranger).exists()

    def test_an_incident_is_read_without_its_rule(self, fire: Fire, rule: Rule, email: Channel) -> None:
        handling.handle_transition(fire().pk)

        rule.delete()

        assert Incident.objects.get().rule.name == "log loss"
