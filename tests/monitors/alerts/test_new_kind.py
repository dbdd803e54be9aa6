"""A new kind of channel is a class and an entry of `KINDS`: everything else takes it from there."""

import json
from datetime import datetime

import pytest
from django.core.management import call_command
from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from driftline.base.accounts.services import create_token
from driftline.base.outbound.targets import check_target
from driftline.management.reference import channels_table
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.base import Message, Receipt
from monitors.alerts.channels.masking import mask_target
from monitors.alerts.channels.webhook.transport import post
from monitors.alerts.incidents import handling
from monitors.alerts.models import Channel, Delivery, Incident
from monitors.alerts.sending import channel_services, outbox
from monitors.alerts.story import Story
from tests.monitors.alerts.conftest import Fire
from tests.monitors.alerts.receiver import Receiver
from tests.pages_client import PagesClient

ADA = "ada@example.com"


class ChatChannel:
    """A line of text to a chat room."""

    title = "Chat room"
    target = "the URL of a room"

    def check_target(self, target: str) -> None:
        check_target(target, "/target")

    def new_secret(self) -> str | None:
        return None

    def compose(self, story: Story, channel: Channel) -> Message:
        return Message(story.headline, json.dumps({"text": story.headline}))

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        return Message("Test", json.dumps({"text": "Test"}))

    def send(self, delivery: Delivery) -> Receipt:
        headers = {"Content-Type": "application/json"}
        return post(delivery.channel.target, body=delivery.body.encode(), headers=headers)


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kind that is registered for one test."""
    monkeypatch.setitem(KINDS, "chat", ChatChannel())
    return "chat"


@pytest.fixture
def room(kind: str, project: Project, receiver: Receiver) -> Channel:
    channel, _ = channel_services.create_channel(
        project=project, kind=kind, name="ops", target=receiver.url, actor=ADA
    )
    return channel


@pytest.fixture
def page(project: Project, person: User) -> Client:
    """A browser in which an editor of the project is signed in."""
    Membership.objects.create(project=project, user=person, role=Role.EDITOR)
    client = PagesClient()
    client.force_login(person)
    return client


def test_brings_an_incident_to_its_receiver(room: Channel, fire: Fire, receiver: Receiver) -> None:
    handling.handle_transition(fire().pk)
    outbox.send_due_deliveries()

    [received] = receiver.received
    assert json.loads(received.body)["text"].startswith("Log loss of flight-delay is 0.61")
    assert Delivery.objects.get().state == "sent"


def test_is_made_and_listed_over_the_api(kind: str, project: Project, receiver: Receiver) -> None:
    _, token = create_token(project=project, name="t", scopes=["read", "write"], actor=ADA)
    headers = {"Authorization": f"Bearer {token}"}
    channel = {"name": "ops", "kind": kind, "target": receiver.url}

    made = Client().post("/api/v1/channels", channel, content_type="application/json", headers=headers)
    listed = Client().get("/api/v1/channels", headers=headers)

    assert (made.status_code, made.json()["secret"]) == (201, None)
    assert made.json()["target"] == receiver.url
    assert [(one["kind"], one["target"]) for one in listed.json()["items"]] == [
        (kind, mask_target(receiver.url))
    ]


def test_is_offered_and_shown_on_the_page(kind: str, page: Client, room: Channel) -> None:
    text = page.get("/settings/channels").content.decode()

    assert f'<option value="{kind}">Chat room</option>' in text
    assert "ops <small>Chat room</small>" in " ".join(text.split())


def test_is_in_the_reference(kind: str) -> None:
    assert "| `chat` | Chat room | the URL of a room |" in channels_table()


def test_needs_no_migration(kind: str, db: None) -> None:
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)


def test_stops_no_other_channel_once_it_is_removed(
    room: Channel,
    webhook: Channel,
    page: Client,
    fire: Fire,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(KINDS, room.kind)

    handling.handle_transition(fire().pk)
    outbox.send_due_deliveries()

    assert Incident.objects.get().status == "open"
    assert [delivery.channel for delivery in Delivery.objects.all()] == [webhook]
    assert "ops <small>chat</small>" in " ".join(page.get("/settings/channels").content.decode().split())


def test_every_kind_is_in_the_description_of_the_api() -> None:
    schemas = Client().get("/api/v1/openapi.json").json()["components"]["schemas"]

    for body in ("NewChannel", "ChannelOut"):
        assert schemas[body]["properties"]["kind"]["enum"] == list(KINDS)
