"""A database that the first release wrote migrates in place, and keeps its rows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from pytest_django import DjangoDbBlocker

from driftline.accounts.audit_chain import FIRST_HASH
from driftline.accounts.models import AuditEntry
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow
from monitors.alerts.models import Channel
from monitors.alerts.selectors import channels

FIRST = [(app, "0001_first") for app in ("accounts", "inference", "monitors")]
NAME = "driftline_of_the_first_release"
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def empty_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Connect to a database without tables: not every migration can be undone."""
    own, settings = connection.settings_dict["NAME"], connection.settings_dict
    name = f"{NAME}_{own}"[-63:]
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        connection.close()
        settings["NAME"] = name
        yield
        connection.close()
        settings["NAME"] = own
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{name}"')


@pytest.mark.e2e  # it applies every migration
def test_keeps_predictions_labels_channels_and_the_audit_trail(empty_database: None) -> None:
    store_rows(MigrationExecutor(connection).migrate(FIRST).apps)

    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())

    rows = PredictionRow.objects.order_by("prediction_id", "role").values_list(
        "prediction_id", "role", "client_id", "event_time", "body_hash"
    )
    assert list(rows) == [
        ("flight-1", "champion", "mine", AT, 11),
        ("flight-1", "shadow", "", AT, 12),
        ("flight-2", "champion", "", AT + timedelta(minutes=1), 13),
    ]
    chunk = PredictionChunk.objects.get()
    assert (bytes(chunk.payload), chunk.rows, chunk.start, chunk.is_packed) == (b"arrow", 2, AT, False)
    labels = Label.objects.order_by("given_id", "revision").values_list(
        "given_id", "revision", "is_current", "value", "prediction_time"
    )
    assert list(labels) == [
        ("flight-1", 1, False, "0", AT),
        ("flight-1", 2, True, "1", AT),
        ("flight-9", 1, True, "1", None),
    ]
    [channel] = channels(project=Channel.objects.get().project)
    assert (channel.kind, channel.target) == ("email", "oncall@example.com")
    entry = AuditEntry.objects.get()
    assert (entry.number, entry.project_slug, entry.action) == (1, "airport", "model.create")
    assert entry.hash not in ("", FIRST_HASH)


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
