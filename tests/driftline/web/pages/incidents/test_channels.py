"""Channels on pages: what is seen of them, and how they are changed, rotated, tested and deleted."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.channel_services import create_channel
from monitors.alerts.sending.outbox import send_due_deliveries
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.monitors.alerts.receiver import Answer, Receiver

PAGE = "/settings/channels"
SECRET_PATH = "/services/T0A1B2C3D/9876"


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def channel(project: Project, receiver: Receiver, db: None) -> Channel:
    url = receiver.url.removesuffix("/hook") + SECRET_PATH
    channel, receiver.secret = create_channel(
        project=project, kind="webhook", name="pager", target=url, actor="test"
    )
    return channel


class TestTargets:
    def test_are_masked_for_those_who_may_change_channels(self, client: Client, channel: Channel) -> None:
        for address in (PAGE, f"{PAGE}/{channel.pk}", f"{PAGE}/{channel.pk}/delete"):
            shown = markup(client.get(address))
            assert SECRET_PATH not in shown
        assert "/…9876" in markup(client.get(PAGE))

    def test_are_not_shown_to_viewers_nor_is_a_form(self, project: Project, channel: Channel) -> None:
        viewer = viewer_of(project)

        for address in (PAGE, f"{PAGE}/{channel.pk}"):
            shown = markup(viewer.get(address))
            assert "pager" in shown
            assert "9876" not in shown
            assert "<form" not in shown.split("<main")[1]


class TestEvents:
    def test_are_chosen_when_a_channel_is_added(self, client: Client, db: None) -> None:
        values = {
            "do": "create",
            "kind": "email",
            "name": "mail",
            "target": "a@example.com",
            "min_severity": "notice",
        }

        client.post(PAGE, values | {"events": ["run.failed", "version.created"]})

        assert Channel.objects.get().events == ["run.failed", "version.created"]
        assert "no incidents" in markup(client.get(PAGE))

    def test_are_shown_as_they_were_chosen_and_changed(self, client: Client, channel: Channel) -> None:
        shown = markup(client.get(f"{PAGE}/{channel.pk}"))
        values = {"do": "save", "name": "pager", "target": "", "min_severity": "warning", "enabled": "on"}

        client.post(f"{PAGE}/{channel.pk}", values | {"events": ["incidents"]})

        assert shown.count("checked") == len(channel.events) + 1
        channel.refresh_from_db()
        assert channel.events == ["incidents"]

    def test_are_refused_in_words_where_there_is_no_such_event(
        self, client: Client, channel: Channel
    ) -> None:
        values = {"do": "save", "name": "pager", "target": "", "min_severity": "warning", "events": ["x"]}

        answer = client.post(f"{PAGE}/{channel.pk}", values)

        assert answer.status_code == 422


class TestChanging:
    def test_keeps_the_target_where_none_is_written(self, client: Client, channel: Channel) -> None:
        values = {"do": "save", "name": "night shift", "target": "", "min_severity": "critical"}

        client.post(f"{PAGE}/{channel.pk}", values)

        stored = Channel.objects.get()
        assert (stored.name, stored.target, stored.min_severity) == (
            "night shift",
            channel.target,
            "critical",
        )
        assert not stored.enabled
        assert stored.disabled_reason == "Disabled by owner@bank.example"

    def test_takes_a_new_target(self, client: Client, channel: Channel, receiver: Receiver) -> None:
        values = {"do": "save", "name": "pager", "min_severity": "warning", "enabled": "on"}

        client.post(f"{PAGE}/{channel.pk}", values | {"target": receiver.url})

        assert Channel.objects.get().target == receiver.url

    def test_explains_a_refused_target(self, client: Client, channel: Channel) -> None:
        values = {"do": "save", "name": "pager", "target": "ftp://x.example", "min_severity": "warning"}

        refused = client.post(f"{PAGE}/{channel.pk}", values)

        assert refused.status_code == 422
        assert 'class="error"' in markup(refused)
        assert Channel.objects.get().target == channel.target


class TestSecret:
    def test_is_rotated_and_shown_once_with_the_truth_about_it(
        self, client: Client, channel: Channel
    ) -> None:
        shown = markup(client.post(f"{PAGE}/{channel.pk}", {"do": "rotate"}))
        again = markup(client.get(f"{PAGE}/{channel.pk}"))

        assert "whsec_" in shown
        assert "kept encrypted, because each message is signed with it" in shown
        assert "The old secret is valid until" in again
        assert "whsec_" not in again

    def test_is_not_offered_where_there_is_none(self, client: Client, project: Project) -> None:
        email, _ = create_channel(
            project=project, kind="email", name="mail", target="a@bank.example", actor="test"
        )

        assert "Signing secret" not in markup(client.get(f"{PAGE}/{email.pk}"))


class TestTest:
    @pytest.mark.parametrize("has_own_page", [True, False])
    def test_shows_the_receivers_status_and_words(
        self,
        client: Client,
        channel: Channel,
        receiver: Receiver,
        monkeypatch: pytest.MonkeyPatch,
        has_own_page: bool,
    ) -> None:
        receiver.answers = [Answer(403, body=b"invalid_token: the app was removed")]
        monkeypatch.setattr(
            "driftline.web.pages.incidents.channels.time.sleep", lambda _: send_due_deliveries()
        )
        address = f"{PAGE}/{channel.pk}" if has_own_page else PAGE

        shown = markup(client.post(address, {"do": "test", "channel": channel.pk}))

        assert "was not taken. Status 403," in shown
        assert "invalid_token: the app was removed" in shown


class TestDeleting:
    def test_asks_first_and_keeps_the_messages(
        self, client: Client, channel: Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("driftline.web.pages.incidents.channels.TEST_PATIENCE_SECONDS", 0.0)
        client.post(PAGE, {"do": "test", "channel": channel.pk})
        asked = markup(client.get(f"{PAGE}/{channel.pk}/delete"))
        assert Channel.objects.get().deleted_at is None

        shown = markup(client.post(f"{PAGE}/{channel.pk}", {"do": "delete"}, follow=True))

        assert "Delete the channel pager?" in asked
        assert "1 that waits to be sent will not be." in asked
        assert Delivery.objects.get().event == "test"
        assert "pager <small>deleted</small>" in shown
        assert client.get(f"{PAGE}/{channel.pk}").status_code == 404
