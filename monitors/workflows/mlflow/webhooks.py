"""MLflow's webhooks: verified by their signature, taken once, and then MLflow itself is asked what is true."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import transaction
from django.utils.crypto import constant_time_compare

from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import SecretUnreadable, decrypt
from driftline.base.strict_json import read_json
from monitors.workflows.mlflow.following import ask_now
from monitors.workflows.mlflow.models import MlflowConnection, MlflowDelivery

MAX_BYTES = 64 << 10
TOLERANCE = timedelta(minutes=5)
_KEPT = 4 * TOLERANCE  # longer than a delivery could be repeated with a good timestamp
_DELIVERY = re.compile(r"[\x21-\x7e]{1,100}")
EVENT = ("model_version_alias", "created")


class WebhookOutcome(StrEnum):
    """What a webhook led to."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    IGNORED = "ignored"


def receive_webhook(
    *, token: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> tuple[WebhookOutcome, str]:
    """Schedule a question to MLflow where a webhook says that the followed alias was set; returns that, and why.

    Raises Problem `invalid_signature` (401) for one that this connection's MLflow did not sign within five minutes.
    """
    connection = MlflowConnection.objects.filter(webhook_token=token, model__archived_at=None).first()
    delivery_id = headers.get("X-MLflow-Delivery-Id", "")
    if connection is None or not _is_signed(connection, delivery_id, headers, body, now):
        raise Problem(
            401,
            "invalid_signature",
            "The signature, its time or the address is wrong; send what MLflow signs with this connection's secret.",
        )
    with transaction.atomic():
        _, is_new = MlflowDelivery.objects.get_or_create(connection=connection, delivery_id=delivery_id)
        if not is_new:
            return WebhookOutcome.REPEATED, "This delivery was taken before."
        MlflowDelivery.objects.filter(connection=connection, at__lt=now - _KEPT).delete()
        MlflowConnection.objects.filter(pk=connection.pk).update(webhook_at=now)
        if reason := _other_subject(connection, body):
            return WebhookOutcome.IGNORED, reason
        ask_now(connection)
    return WebhookOutcome.ACCEPTED, f"MLflow is asked where {connection.alias} points."


def _is_signed(
    connection: MlflowConnection, delivery_id: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> bool:
    sent = headers.get("X-MLflow-Timestamp", "")
    if not (_DELIVERY.fullmatch(delivery_id) and sent.isascii() and sent.isdecimal() and len(sent) < 12):
        return False
    if abs(now - datetime.fromtimestamp(int(sent), UTC)) > TOLERANCE:
        return False
    signature = headers.get("X-MLflow-Signature", "")
    return any(
        constant_time_compare(signature, signature_of_webhook(secret, delivery_id, sent, body))
        for secret in _secrets_of(connection, now)
    )


def _secrets_of(connection: MlflowConnection, now: datetime) -> list[str]:
    """Return the secrets that MLflow may sign with: the one before a rotation for a while too."""
    try:
        secrets = [decrypt(connection.webhook_secret)]
    except SecretUnreadable as error:
        raise Problem(503, "secret_unreadable", str(error)) from error
    until = connection.previous_webhook_secret_until
    if until is not None and now < until:
        with suppress(SecretUnreadable):
            secrets.append(decrypt(connection.previous_webhook_secret))
    return secrets


def signature_of_webhook(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """Sign as MLflow does: HMAC-SHA256 over delivery id, timestamp and body, joined by dots."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()}"


def _other_subject(connection: MlflowConnection, body: bytes) -> str:
    """Return why a webhook is about something else; empty where the followed alias was set."""
    event = _object(read_json(body))
    if (event.get("entity"), event.get("action")) != EVENT:
        return "Only model_version_alias.created counts."
    data = _object(event.get("data"))
    if data.get("name") != connection.registered_model:
        return f"This connection follows {connection.registered_model}."
    if data.get("alias") != connection.alias:
        return f"This connection follows the alias {connection.alias}."
    return ""


def _object(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
