"""Channels are changed by people: what is refused, what is audited, and what other projects see."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from driftline.accounts.models import Project
from driftline.common.errors import Problem
from monitors.alerts import selectors, services
from monitors.alerts.channels import KINDS
from monitors.alerts.models import Channel, Delivery, Incident, Silence
from monitors.rules.models import Rule
from tests.monitors.alerts.conftest import DAY, Fire

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
            services.create_channel(project=project, actor=ADA, **fields)

        assert (refused.value.status, refused.value.errors[0].pointer) == (422, f"/{field}")
        assert not Channel.objects.exists()

    @pytest.mark.parametrize(
        "changes", [{"kind": "webhook"}, {"secret": b"x"}, {"name": ""}, {"min_severity": "fatal"}]
    )
    def test_refuses_a_wrong_change(self, email: Channel, changes: dict[str, Any]) -> None:
        with pytest.raises(Problem) as refused:
            services.update_channel(channel=email, actor=ADA, **changes)

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

        services.create_channel(project=stranger, **fields)
        with pytest.raises(Problem) as refused:
            services.create_channel(project=project, **fields)

        assert (refused.value.status, refused.value.code) == (409, "channel_exists")

    def test_leaves_an_audit_row_each_time(self, email: Channel, project: Project) -> None:
        services.update_channel(channel=email, actor=ADA, min_severity="critical")
        services.delete_channel(channel=email, actor=ADA)

        rows = project.audit.order_by("pk")
        assert [row.action for row in rows] == ["channel.create", "channel.update", "channel.delete"]
        assert (rows[1].before["min_severity"], rows[1].after["min_severity"]) == ("warning", "critical")

    def test_every_kind_of_the_model_is_registered(self) -> None:
        assert set(KINDS) == set(Channel.Kind.values)


class TestSilencing:
    @pytest.mark.parametrize(
        ("start", "end", "reason", "pointer"),
        [(0, 0, "snow", "/end"), (1, 0, "snow", "/end"), (0, 400, "snow", "/end"), (0, 1, " ", "/reason")],
    )
    def test_refuses_what_makes_no_sense(
        self, project: Project, now: datetime, start: int, end: int, reason: str, pointer: str
    ) -> None:
        with pytest.raises(Problem) as refused:
            services.create_silence(
                project=project,
                model=None,
                start=now + start * DAY,
                end=now + end * DAY,
                reason=reason,
                actor=ADA,
            )

        assert refused.value.errors[0].pointer == pointer

    def test_can_be_ended(self, project: Project, now: datetime) -> None:
        silence = services.create_silence(
            project=project, model=None, start=now, end=now + DAY, reason="snow", actor=ADA
        )

        services.delete_silence(silence=silence, actor=ADA)

        assert not Silence.objects.exists()


class TestReading:
    def test_lists_by_status_model_and_severity(self, fire: Fire, project: Project, now: datetime) -> None:
        services.handle_transition(fire(age=timedelta(hours=3)).pk)
        services.resolve(incident=Incident.objects.get(), actor=ADA, now=now)
        services.handle_transition(fire().pk)

        assert [i.status for i in selectors.incidents(project=project)] == ["open", "resolved"]
        assert selectors.open_incidents(project=project).count() == 1
        assert selectors.incidents(project=project, status="resolved", model="flight-delay").count() == 1
        assert not selectors.incidents(project=project, severity="notice").exists()

    def test_gives_an_incident_with_its_timeline_deliveries_and_attempts(
        self, fire: Fire, email: Channel, project: Project
    ) -> None:
        services.handle_transition(fire().pk)
        services.send_due_deliveries()

        detail = selectors.incident_detail(project=project, incident_id=Incident.objects.get().pk)

        assert [event.kind for event in detail.timeline] == ["opened"]
        [delivery] = detail.deliveries
        assert [tried.succeeded for tried in delivery.attempts.all()] == [True]

    def test_shows_how_a_channels_newest_delivery_fared(
        self, webhook: Channel, receiver: Any, project: Project
    ) -> None:
        receiver.answers = [type(receiver.answers[0])(500)]
        services.send_test(channel=webhook, actor=ADA)
        services.send_due_deliveries()

        [channel] = selectors.channels(project=project)

        assert (channel.last_state, channel.last_reason) == ("failed", "The receiver answered 500: taken")

    def test_hides_everything_from_another_project(
        self, fire: Fire, email: Channel, project: Project, stranger: Project, now: datetime
    ) -> None:
        services.handle_transition(fire().pk)
        silence = services.create_silence(
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

    def test_a_rule_can_be_deleted_with_its_incidents(self, fire: Fire, rule: Rule, email: Channel) -> None:
        services.handle_transition(fire().pk)

        rule.delete()

        assert not Incident.objects.exists()
