"""The sink over HTTP: set, tried and stopped by admins, with a secret that nobody reads again."""

from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.services import create_model
from monitors.feed.services import record_event
from monitors.sinks.models import Sink
from tests.driftline.api.conftest import Api
from tests.ports import free_port

SETTINGS = {"brokers": ["203.0.113.7:9093"], "security": "sasl_tls", "user": "ada", "prefix": "bank."}


@pytest.fixture(autouse=True)
def _networks(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["203.0.113.0/24", "127.0.0.1/32"]


@pytest.fixture
def sink(api: Api) -> Sink:
    answer = api.send("PUT", "/sink", {"settings": SETTINGS, "secret": "pw-of-ada"})
    assert answer.status_code == 200, answer.json()
    return Sink.objects.get()


def test_there_is_none_at_first(api: Api) -> None:
    assert api.get("/sink").json() == {
        "settings": None, "has_secret": False, "error": None, "failing_since": None, "streams": [],
        "created_at": None,
    }  # fmt: skip


def test_shows_where_it_is_and_never_its_secret(api: Api, sink: Sink) -> None:
    shown = api.get("/sink").json()

    assert (shown["settings"]["brokers"], shown["has_secret"]) == (["203.0.113.7:9093"], True)
    assert "pw-of-ada" not in api.get("/sink").content.decode()
    assert not AuditEntry.objects.filter(after__icontains="pw-of-ada").exists()
    assert decrypt(sink.secret) == "pw-of-ada"
    assert [one["topic"] for one in shown["streams"]] == [
        "bank.predictions", "bank.labels", "bank.metrics", "bank.events",
    ]  # fmt: skip


def test_says_what_waits_and_for_how_long(api: Api, sink: Sink) -> None:
    create_model(project=api.project, name="flights", task="binary", actor="test")
    for n in range(3):
        record_event(project=api.project, kind="run.failed", subject=f"run-{n}", text="Failed.")

    [events] = [one for one in api.get("/sink").json()["streams"] if one["kind"] == "events"]

    assert events["waiting"] >= 3
    assert events["behind_seconds"] > 0
    assert (events["sent"], events["lost"], events["sent_at"]) == (0, 0, None)


def test_a_secret_stays_for_the_same_brokers_and_user_alone(api: Api, sink: Sink) -> None:
    api.send("PUT", "/sink", {"settings": SETTINGS | {"prefix": "other."}})
    assert api.get("/sink").json()["has_secret"] is True

    api.send("PUT", "/sink", {"settings": SETTINGS | {"user": "bob"}})

    assert api.get("/sink").json()["has_secret"] is False


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"brokers": []}, "/settings/brokers"),
        ({"brokers": ["nobody"]}, "/settings/brokers/0"),
        ({"brokers": ["10.0.0.1:9092"]}, "/settings/brokers/0"),
        ({"prefix": "a b"}, "/settings/prefix"),
        ({"streams": ["rows"]}, "/settings/streams/0"),
        ({"streams": []}, "/settings/streams"),
        ({"streams": ["labels", "labels"]}, "/settings/streams"),
        ({"user": ""}, "/settings/user"),
    ],
)
def test_refuses_what_could_never_work(api: Api, changed: dict[str, Any], pointer: str) -> None:
    answer = api.send("PUT", "/sink", {"settings": SETTINGS | changed})

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not Sink.objects.exists()


@pytest.mark.slow
def test_trying_it_stores_nothing_and_says_why_brokers_cannot_be_reached(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.sinks.producer.ANSWER_SECONDS", 0.2)
    nobody = {"brokers": [f"127.0.0.1:{free_port()}"]}

    answer = api.send("POST", "/sink/test", {"settings": nobody})

    assert (answer.status_code, answer.json()["code"]) == (502, "sink_unreachable")
    assert not Sink.objects.exists()


def test_stopping_it_asks_first_and_is_audited(api: Api, sink: Sink) -> None:
    asked = api.send("DELETE", "/sink")
    assert (asked.status_code, asked.json()["code"]) == (409, "confirmation_needed")

    stopped = api.send("DELETE", f"/sink?confirm={api.project.slug}")

    assert stopped.status_code == 204
    assert not Sink.objects.exists()
    assert AuditEntry.objects.filter(action="sink.stop").exists()
