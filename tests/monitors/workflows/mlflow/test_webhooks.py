"""MLflow's webhooks: what is signed counts once, and everything else does nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import decrypt
from monitors.workflows.mlflow import services
from monitors.workflows.mlflow.models import MlflowConnection, MlflowDelivery
from monitors.workflows.mlflow.webhooks import signature_of_webhook
from tests.monitors.workflows.mlflow.conftest import connect
from tests.monitors.workflows.mlflow.registry import NAME
from tests.monitors.workflows.remote.service import Service

EVENT = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-11-28T09:00:00+00:00",
    "data": {"name": NAME, "alias": "challenger", "version": "1"},
}


@pytest.fixture
def connection(model: Any, service: Service) -> MlflowConnection:
    """One that webhooks alone wake."""
    connection, _ = connect(model, service, polls=False)
    MlflowConnection.objects.update(next_poll_at=None)
    return connection


def send(
    connection: MlflowConnection,
    event: Any = EVENT,
    *,
    delivery: str = "7c0f",
    minutes: int = 0,
    body: bytes | None = None,
    **changed: str,
) -> tuple[int, Any]:
    """Send a webhook as MLflow does; `changed` headers are those of somebody who forges it."""
    content = json.dumps(event).encode()
    secret = decrypt(MlflowConnection.objects.get(pk=connection.pk).webhook_secret)
    timestamp = stamp(minutes)
    headers = {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": signature_of_webhook(secret, delivery, timestamp, content),
    }
    answer = Client().post(
        f"/api/v1/integrations/mlflow/{connection.webhook_token}",
        content if body is None else body,
        content_type="application/json",
        headers=headers | {name.replace("_", "-"): value for name, value in changed.items()},
    )
    return answer.status_code, answer.json()


def stamp(minutes: int = 0) -> str:
    return str(int((datetime.now(UTC) + timedelta(minutes=minutes)).timestamp()))


def is_due(connection: MlflowConnection) -> bool:
    return MlflowConnection.objects.due().filter(pk=connection.pk).exists()


def test_are_signed_as_mlflow_signs() -> None:
    body = b'{"entity": "model_version_alias"}'

    found = signature_of_webhook("k3y", "d-1", "1795938440", body)

    # Made with `_generate_hmac_signature` of MLflow 3.17.2.
    assert found == "v1,a8NhTbSRvGMMgFzL0QhDd0KzjIehB6zHePsPo/S/imA="


@pytest.mark.slow
def test_that_set_the_followed_alias_have_mlflow_asked_at_once(connection: MlflowConnection) -> None:
    status, answer = send(connection)

    assert (status, answer["outcome"]) == (200, "accepted")
    assert is_due(connection)
    connection.refresh_from_db()
    assert connection.webhook_at is not None


@pytest.mark.slow
def test_do_nothing_when_they_are_replayed(connection: MlflowConnection) -> None:
    send(connection)
    MlflowConnection.objects.update(next_poll_at=None)

    status, answer = send(connection)

    assert (status, answer["outcome"]) == (200, "repeated")
    assert not is_due(connection)
    assert MlflowDelivery.objects.count() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"X_MLflow_Signature": ""},
        {"X_MLflow_Signature": "v1,AAAA"},
        {"X_MLflow_Signature": "v1,\xe9"},
        {"X_MLflow_Delivery_Id": "another"},
        {"X_MLflow_Delivery_Id": ""},
        {"X_MLflow_Delivery_Id": "a" * 101},
        {"X_MLflow_Timestamp": "1795938440"},
        {"X_MLflow_Timestamp": "now"},
        {"X_MLflow_Timestamp": "9" * 40},
    ],
)
def test_that_are_forged_are_refused(connection: MlflowConnection, changed: dict[str, str]) -> None:
    status, answer = send(connection, **changed)

    assert (status, answer["code"]) == (401, "invalid_signature")
    assert not is_due(connection)
    assert not MlflowDelivery.objects.exists()


@pytest.mark.slow
def test_with_another_body_than_was_signed_are_refused(connection: MlflowConnection) -> None:
    status, _ = send(connection, body=json.dumps(EVENT | {"action": "deleted"}).encode())

    assert status == 401


@pytest.mark.parametrize("minutes", [-6, 6])
def test_of_another_time_are_refused(connection: MlflowConnection, minutes: int) -> None:
    status, _ = send(connection, minutes=minutes)

    assert status == 401


@pytest.mark.slow
@pytest.mark.parametrize(("ago", "expected"), [(timedelta(hours=23), 200), (timedelta(hours=25), 401)])
def test_with_a_secret_that_was_replaced_are_taken_for_a_day(
    connection: MlflowConnection, ago: timedelta, expected: int
) -> None:
    before = MlflowConnection.objects.get(pk=connection.pk)
    services.rotate_webhook_secret(connection=connection, actor="ada", now=now() - ago)
    timestamp = stamp()
    old = signature_of_webhook(decrypt(before.webhook_secret), "7c0f", timestamp, json.dumps(EVENT).encode())

    status, _ = send(connection, X_MLflow_Signature=old, X_MLflow_Timestamp=timestamp)

    assert status == expected


def test_are_taken_while_the_secret_before_a_rotation_cannot_be_opened(connection: MlflowConnection) -> None:
    services.rotate_webhook_secret(connection=connection, actor="ada", now=now())
    MlflowConnection.objects.update(previous_webhook_secret=b"sealed under a key that is lost")

    status, answer = send(connection)

    assert (status, answer["outcome"]) == (200, "accepted")


def test_to_an_address_that_is_none_are_refused_alike(connection: MlflowConnection) -> None:
    connection.webhook_token = "unknown"

    status, answer = send(connection)

    assert (status, answer["code"]) == (401, "invalid_signature")


@pytest.mark.slow
@pytest.mark.parametrize(
    "event",
    [
        EVENT | {"entity": "model_version", "action": "created"},
        EVENT | {"action": "deleted"},
        EVENT | {"data": {"name": "another", "alias": "challenger", "version": "1"}},
        EVENT | {"data": {"name": NAME, "alias": "shadow", "version": "1"}},
        EVENT | {"data": None},
        [],
    ],
)
def test_about_something_else_change_nothing(connection: MlflowConnection, event: Any) -> None:
    status, answer = send(connection, event)

    assert (status, answer["outcome"]) == (200, "ignored")
    assert not is_due(connection)


def test_that_are_signed_and_no_json_are_refused_and_may_come_again(connection: MlflowConnection) -> None:
    content = b"{"
    timestamp = stamp()
    secret = decrypt(MlflowConnection.objects.get(pk=connection.pk).webhook_secret)
    signed = signature_of_webhook(secret, "7c0f", timestamp, content)

    status, _ = send(connection, body=content, X_MLflow_Timestamp=timestamp, X_MLflow_Signature=signed)

    assert status == 400
    assert not MlflowDelivery.objects.exists()
