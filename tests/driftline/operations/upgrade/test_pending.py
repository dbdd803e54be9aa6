"""What is to be known of pending migrations before they are applied."""

from importlib import import_module
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from driftline.operations.upgrade import pending
from tests.worlds.next_release import MIGRATIONS

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("field", "is_named"),
    [
        (models.ForeignKey("monitors.Channel", models.CASCADE, null=True), True),
        (models.TextField(null=True, db_index=True), True),
        (models.TextField(null=True, unique=True), True),
        (models.TextField(null=True), False),
    ],
)
def test_a_new_field_of_a_large_table_is_named_where_it_brings_an_index_or_a_key(
    field: Any, is_named: bool, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.MIGRATION_MODULES = MIGRATIONS
    [*_, (_, last)] = names = sorted(
        name for name in MigrationLoader(connection).graph.nodes if name[0] == "inference"
    )
    for name in names[1:-1]:
        MigrationRecorder(connection).record_applied(*name)
    adding = [migrations.AddField("version", "added", field)]
    monkeypatch.setattr(import_module(f"{MIGRATIONS['inference']}.{last}").Migration, "operations", adding)
    monkeypatch.setattr(pending, "LARGE_BYTES", 1)

    found = pending.read_pending()

    assert found.names == (f"inference.{last}",)
    assert any("may read or rewrite inference_version (" in remark for remark in found.remarks) == is_named
