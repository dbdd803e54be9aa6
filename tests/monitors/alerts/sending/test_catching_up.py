"""A channel that begins to take incidents hears of those that go on already."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, due_notifications
from monitors.alerts.sending.catching_up import catch_up
from tests.monitors.alerts.conftest import ADA, Fire

type Add = Callable[..., Channel]


@pytest.fixture
def add(project: Project) -> Add:
    """Add an e-mail channel, and do what that brings."""

    def channel(name: str = "on call", **more: Any) -> Channel:
        made, _ = channel_services.create_channel(
            project=project, kind="email", name=name, target="oncall@example.com", actor=ADA, **more
        )
        work(made)
        return made

    return channel


def work(channel: Channel) -> None:
    """Do what the workers would do after a channel was changed."""
    catch_up(channel.pk)
    due_notifications.send_due_notifications()


def heard(channel: Channel) -> list[str]:
    return list(channel.deliveries.order_by("pk").values_list("event", flat=True))


class TestTheFirstChannel:
    def test_hears_of_an_incident_that_opened_before(self, fire: Fire, add: Add) -> None:
        handling.handle_transition(fire().pk)
        assert not Delivery.objects.exists()
        channel = add()
        assert heard(channel) == ["incident.opened"]

    def test_hears_nothing_of_old_news(self, fire: Fire, add: Add) -> None:
        handling.handle_transition(fire(age=timedelta(days=9)).pk)
        assert heard(add()) == []

    def test_hears_nothing_of_what_is_over(self, fire: Fire, add: Add) -> None:
        handling.handle_transition(fire(age=timedelta(hours=3)).pk)
        handling.handle_transition(fire("resolved", value=0.4).pk)
        assert heard(add()) == []

    def test_hears_nothing_of_what_it_does_not_take(self, fire: Fire, add: Add) -> None:
        handling.handle_transition(fire().pk)
        assert heard(add(events=["run.failed"])) == []


class TestAnotherChannel:
    def test_hears_of_it_too_and_the_first_one_not_again(self, fire: Fire, add: Add) -> None:
        first = add("first")
        handling.handle_transition(fire().pk)
        second = add("second")
        assert (heard(first), heard(second)) == (["incident.opened"], ["incident.opened"])

    def test_that_is_enabled_again_hears_what_it_missed_once(self, fire: Fire, add: Add) -> None:
        channel = add()
        channel_services.update_channel(channel=channel, actor=ADA, enabled=False)
        handling.handle_transition(fire().pk)
        for _ in range(2):
            channel_services.update_channel(channel=channel, actor=ADA, enabled=True)
            work(channel)
        assert Incident.objects.count() == 1
        assert heard(channel) == ["incident.opened"]

    def test_that_was_disabled_before_the_message_left_hears_it_when_it_is_enabled(
        self, fire: Fire, add: Add
    ) -> None:
        channel = add()
        handling.handle_transition(fire().pk)
        channel_services.update_channel(channel=channel, actor=ADA, enabled=False)
        channel_services.update_channel(channel=channel, actor=ADA, enabled=True)
        work(channel)
        states = channel.deliveries.order_by("pk").values_list("event", "state")
        assert list(states) == [("incident.opened", "suppressed"), ("incident.opened", "pending")]
