"""What a connection may be, over the API: secrets are kept, and never shown or sent elsewhere."""

import json
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import create_token
from driftline.base.keys.secrets_at_rest import decrypt
from inference.registry.models import Model
from monitors.workflows.mlflow.models import MlflowConnection
from tests.monitors.workflows.mlflow.conftest import SECRET

pytestmark = pytest.mark.slow

SENT = {"url": "http://127.0.0.1:8900/", "registered_model": "flights", "secret": SECRET}


@pytest.fixture
def api(model: Model) -> Any:
    _, token = create_token(project=model.project, name="t", scopes=["read", "deploy"], actor="ada")
    client = Client(headers={"Authorization": f"Bearer {token}"})

    def call(method: str, path: str = "", body: Any = None) -> tuple[int, Any]:
        content = "" if body is None else json.dumps(body)
        kind = "application/json" if content else ""
        answer = client.generic(method, f"/api/v1/models/{model.name}/mlflow{path}", content, kind)
        return answer.status_code, answer.json() if answer.content else None

    return call


def test_shows_the_webhooks_secret_once(api: Any) -> None:
    status, made = api("PUT", body=SENT)
    _, read = api("GET")
    _, changed = api("PUT", body=SENT)

    assert status == 200
    assert made["webhook_secret"]
    assert "/api/v1/integrations/mlflow/" in made["webhook_url"]
    assert read == made | {"webhook_secret": None} == changed
    assert (read["url"], read["has_secret"], read["alias"]) == ("http://127.0.0.1:8900", True, "challenger")
    assert decrypt(MlflowConnection.objects.get().webhook_secret) == made["webhook_secret"]


def test_keeps_the_secret_for_the_same_address_alone(api: Any) -> None:
    api("PUT", body=SENT)
    without = {name: value for name, value in SENT.items() if name != "secret"}

    _, kept = api("PUT", body=without | {"alias": "candidate"})
    _, moved = api("PUT", body=without | {"url": "http://127.0.0.1:8901"})

    assert kept["has_secret"]
    assert not moved["has_secret"]
    audited = AuditEntry.objects.filter(action="mlflow.connect").values_list("after", flat=True)
    assert SECRET not in str(list(audited))


def test_makes_the_webhooks_secret_anew(api: Any) -> None:
    _, made = api("PUT", body=SENT)

    status, rotated = api("POST", "/rotate-secret")

    assert status == 200
    assert rotated["webhook_secret"] not in (None, made["webhook_secret"])
    assert rotated["webhook_url"] == made["webhook_url"]


def test_is_ended(api: Any) -> None:
    api("PUT", body=SENT)

    assert api("DELETE")[0] == 204
    assert api("GET")[0] == api("DELETE")[0] == api("POST", "/retry")[0] == 404
    assert api("GET", "/versions") == (200, {"items": [], "next": None})


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "https://mlflow.example.com/?token=1"}, "/url"),
        ({"url": "http://10.0.0.1"}, "/url"),
        ({"url": "https://user:password@mlflow.example.com"}, "/url"),
        ({"url": "https://mlflow.example.com/" + "a" * 200}, "/url"),
        ({"registered_model": " "}, "/registered_model"),
        ({"registered_model": "a/b"}, "/registered_model"),
        ({"registered_model": "ü" * 60}, "/registered_model"),
        ({"alias": "champion"}, "/alias"),
        ({"alias": "latest"}, "/alias"),
        ({"alias": "v3"}, "/alias"),
        ({"alias": "a b"}, "/alias"),
        ({"secret": "pass\nword"}, "/secret"),
        ({"secret": "a" * 5_000}, "/secret"),
    ],
)
def test_refuses_what_could_never_work(api: Any, changes: dict[str, str], pointer: str) -> None:
    status, answer = api("PUT", body=SENT | changes)

    assert status == 422
    assert [error["pointer"] for error in answer["errors"]] == [pointer]
    assert not MlflowConnection.objects.exists()
