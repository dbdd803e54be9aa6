"""The page Sink: an admin sets, tries and stops it, everybody sees how its streams stand and why it fails."""

from typing import Any

import pytest
from django.test import Client

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.models import Model
from monitors.feed.services import record_event
from monitors.sinks.models import Sink
from monitors.sinks.services import set_sink
from monitors.sinks.settings import SinkSettings
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.ports import free_port

PATH = "/settings/sink"
FORM = {
    "brokers": "203.0.113.7:9093, 203.0.113.8:9093",
    "security": "sasl_tls",
    "mechanism": "PLAIN",
    "user": "ada",
    "prefix": "bank.",
    "streams": ["predictions", "events"],
}


@pytest.fixture(autouse=True)
def _networks(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["203.0.113.0/24", "127.0.0.1/32"]


@pytest.fixture
def sink(model: Model) -> Sink:
    settings = SinkSettings(brokers=["203.0.113.7:9093"], security="tls")
    return set_sink(project=model.project, settings=settings, actor="ada")


def test_an_admin_sets_it_with_a_secret_that_is_never_shown(client: Client, model: Model) -> None:
    shown = markup(client.post(PATH, FORM | {"do": "save", "secret": "pw-of-ada"}, follow=True))

    assert "The sink is set" in shown
    assert "bank.predictions" in shown
    assert "bank.labels" not in shown
    assert "pw-of-ada" not in shown
    assert "••••••••" in shown
    one = Sink.objects.get()
    assert decrypt(one.secret) == "pw-of-ada"
    assert one.settings["brokers"] == ["203.0.113.7:9093", "203.0.113.8:9093"]


def test_what_is_refused_stands_at_its_field(client: Client, model: Model) -> None:
    answer = client.post(PATH, FORM | {"do": "save", "brokers": "10.0.0.1:9092"})

    assert answer.status_code == 422
    assert "must not be reached" in markup(answer)
    assert not Sink.objects.exists()


@pytest.mark.slow
def test_the_connection_can_be_tried_before_it_is_saved(
    client: Client, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.sinks.producer.ANSWER_SECONDS", 0.2)
    nobody = {"brokers": f"127.0.0.1:{free_port()}", "security": "plaintext", "user": ""}

    answer = client.post(PATH, FORM | nobody | {"do": "test"})

    assert answer.status_code == 422
    assert "broker" in markup(answer)
    assert not Sink.objects.exists()


def test_everybody_sees_what_waits_and_why_it_fails(client: Client, model: Model, sink: Sink) -> None:
    record_event(project=model.project, kind="run.failed", subject="run-1", text="Failed.")
    Sink.objects.update(failing_since=now(), error="The brokers do not answer.")

    shown = markup(viewer_of(model.project).get(PATH))

    assert "The brokers do not answer." in shown
    assert "driftline.events" in shown
    assert "Only admins" in shown
    assert '<form method="post" class="narrow"' not in shown


def test_stopping_it_is_asked_before(client: Client, model: Model, sink: Sink) -> None:
    assert "rows and events that wait" in markup(client.get(f"{PATH}/stop"))

    shown = markup(client.post(PATH, {"do": "stop"}, follow=True))

    assert "Nothing is sent any more" in shown
    assert not Sink.objects.exists()
