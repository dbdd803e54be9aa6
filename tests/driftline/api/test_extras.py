"""What needs packages that are not installed is refused with the command that adds them."""

from typing import Any

import pytest

from driftline.base.extras import APPRISE, KAFKA, MQTT, NATS, SQL, Extra
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.absent_extras import hide
from tests.driftline.api.conftest import Api

SERVER = {"user": "ada", "security": "sasl_tls"}
KAFKA_SETTINGS = {"brokers": ["203.0.113.7:9093"], "topics": ["scores"], **SERVER}
SOURCES: dict[Extra, dict[str, Any]] = {
    KAFKA: KAFKA_SETTINGS,
    NATS: {"kind": "nats", "server": "203.0.113.7:4222", "stream": "scores"},
    MQTT: {"kind": "mqtt", "server": "203.0.113.7:8883", "topics": ["scores"]},
    SQL: {
        "kind": "sql", "engine": "mysql", "host": "203.0.113.7", "database": "shop", "user": "ada",
        "table": "scores", "watermark": "at", "keys": ["id"],
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _networks(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["203.0.113.0/24"]


@pytest.fixture
def model(api: Api) -> Model:
    return create_model(project=api.project, name="flights", task="binary", actor="test")


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("extra", SOURCES, ids=lambda extra: extra.name)
@pytest.mark.parametrize("path", ["/sources", "/sources/preview"])
def test_a_source(api: Api, model: Model, monkeypatch: pytest.MonkeyPatch, extra: Extra, path: str) -> None:
    hide(monkeypatch, extra)
    body = {"model": model.name, "what": "predictions", "settings": SOURCES[extra]}

    answer = api.post(path, body | ({"name": "scores"} if path == "/sources" else {}))

    assert refusal(answer) == (501, "extra_missing"), answer.json()
    assert f"run make extra ADD={extra.name} where Driftline is installed" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [("PUT", "/sink"), ("POST", "/sink/test")])
def test_the_sink(api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    hide(monkeypatch, KAFKA)

    answer = api.send(method, path, {"settings": {"brokers": ["203.0.113.7:9093"], **SERVER}})

    assert refusal(answer) == (501, "extra_missing"), answer.json()


def test_a_channel_of_apprise(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, APPRISE)

    answer = api.post("/channels", {"name": "phones", "kind": "apprise", "target": "ntfys://ntfy.sh/drift"})

    assert refusal(answer) == (501, "extra_missing"), answer.json()
