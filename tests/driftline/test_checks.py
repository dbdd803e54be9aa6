"""Settings that would break a promise stop the start."""

from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import LazySettings

from driftline import checks
from driftline.checks import check_connections, check_wal_archive
from inference.prediction_log.sources.feature import FEATURE as SOURCES


def test_the_shipped_settings_leave_the_database_connections(settings: LazySettings) -> None:
    settings.DATABASE_URL = ""
    settings.WEB_WORKERS = 2

    assert check_connections(None) == []


def test_the_sources_that_may_be_read_are_counted(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATABASE_URL, settings.WEB_WORKERS = "", 2
    sources = replace(SOURCES, consumers=[replace(SOURCES.consumers[0], max_threads=100)])
    monkeypatch.setattr(checks, "features", lambda: [sources])

    [error] = check_connections(None)

    assert error.id == "driftline.E002"


def test_more_processes_than_the_embedded_database_has_connections_for_are_refused(
    settings: LazySettings,
) -> None:
    """Eight processes would have taken its 120 connections, and each request beyond was answered 500."""
    settings.DATABASE_URL, settings.WEB_WORKERS = "", 8

    [error] = check_connections(None)

    assert error.id == "driftline.E002"
    assert "DRIFTLINE_WEB_WORKERS" in (error.hint or "")


def test_how_many_connections_a_database_of_ones_own_has_is_its_operators_matter(
    settings: LazySettings,
) -> None:
    settings.DATABASE_URL, settings.WEB_WORKERS = "postgresql://db/driftline", 8

    assert check_connections(None) == []


def test_an_archive_of_the_embedded_databases_log_is_no_use_to_another_database(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.DATABASE_URL, settings.WAL_ARCHIVE = "postgresql://db/driftline", tmp_path

    [warning] = check_wal_archive(None)

    assert warning.id == "driftline.W003"
    assert "its own archive_command" in (warning.hint or "")
