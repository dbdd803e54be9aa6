"""The tables of the first release, and rows in them."""

from datetime import UTC, datetime, timedelta
from typing import Any

FIRST = [(app, "0001_first") for app in ("accounts", "inference", "monitors")]
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def store_rows(apps: Any) -> None:
    """Write with the tables of the first release: two predictions, one of them shadowed, and their labels."""
    project = apps.get_model("accounts", "Project").objects.create(slug="airport", name="Airport")
    apps.get_model("accounts", "AuditEntry").objects.create(
        project=project, actor="ada@example.com", action="model.create", subject="delay"
    )
    model = apps.get_model("inference", "Model").objects.create(project=project, name="delay", task="binary")
    champion, shadow = (
        apps.get_model("inference", "Version").objects.create(model=model, version=name) for name in "12"
    )
    apps.get_model("inference", "PredictionChunk").objects.create(
        model=model, version=champion, role="champion", day=AT.date(), rows=2, start=AT,
        end=AT + timedelta(minutes=1), payload=b"arrow",
    )  # fmt: skip
    row = apps.get_model("inference", "PredictionRow").objects.create
    row(model=model, version=champion, role="champion", prediction_id="flight-1", client_id="mine",
        event_time=AT, body_hash=11)  # fmt: skip
    row(model=model, version=shadow, role="shadow", prediction_id="flight-1", event_time=AT, body_hash=12)
    row(model=model, version=champion, role="champion", prediction_id="flight-2",
        event_time=AT + timedelta(minutes=1), body_hash=13)  # fmt: skip
    label = apps.get_model("inference", "Label").objects.create
    known = {"model": model, "given_id": "flight-1", "prediction_id": "flight-1", "prediction_time": AT}
    label(**known, revision=1, is_current=False, value="0")
    label(**known, revision=2, is_current=True, value="1")
    label(model=model, given_id="flight-9", value="1")
    apps.get_model("monitors", "Channel").objects.create(
        project=project, kind="email", name="on call", target="oncall@example.com"
    )
