"""What a restore says where it fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from driftline.backup.database import DatabaseFailed
from driftline.backup.manifest import NoBackup
from driftline.backup.restoring import _describe
from tests.small_disk import mounted_disk

pytestmark = pytest.mark.slow

CLOSED = "pg_restore failed: server closed the connection unexpectedly"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk without room for a segment of PostgreSQL's log."""
    with mounted_disk(tmp_path, "8m") as disk:
        yield disk


@override_settings(DATABASE_URL="")
def test_a_server_that_ended_as_its_disk_was_full_is_said_to_need_room(small_disk: Path) -> None:
    said = _describe(DatabaseFailed(CLOSED), small_disk)

    assert (
        said
        == f"There is no room for the restore in {small_disk}; free some, and run the same command again."
    )


def test_what_else_is_wrong_is_said_also_where_the_disk_is_full(small_disk: Path) -> None:
    assert _describe(NoBackup("It was cut or changed."), small_disk) == "It was cut or changed."


def test_a_server_that_ended_for_another_reason_says_what_it_said(tmp_path: Path) -> None:
    assert _describe(DatabaseFailed(CLOSED), tmp_path) == CLOSED


@override_settings(DATABASE_URL="postgresql://database.example.com/driftline")
def test_an_external_server_without_room_says_so_itself(tmp_path: Path) -> None:
    full = "pg_restore failed: could not extend file: No space left on device"

    assert _describe(DatabaseFailed(full), tmp_path) == full
