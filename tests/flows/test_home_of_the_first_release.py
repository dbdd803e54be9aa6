"""A database that the first release wrote migrates in place, and keeps its rows."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from pytest_django import DjangoDbBlocker

from driftline.accounts.audit_chain import FIRST_HASH
from driftline.accounts.models import AuditEntry
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow
from monitors.alerts.models import Channel
from monitors.alerts.selectors import channels
from tests.worlds.first_release import AT, FIRST, store_rows
from tests.worlds.migrating import database_of_its_own

NAME = "driftline_of_the_first_release"


@pytest.fixture
def empty_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Connect to a database without tables: not every migration can be undone."""
    with django_db_blocker.unblock(), database_of_its_own(NAME):
        yield


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
