"""A project with a lake in a folder, a model with days that have ended, and a worker that writes what is due."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from inference.prediction_log.ingest import arrival
from inference.prediction_log.lake.days import files_to_write
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.services import set_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.folder import LakeFolder
from inference.prediction_log.lake.writing import write_lake_file
from inference.registry.models import Model
from tests.worlds.approvals import make_model


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rows arrive in a week of which the ids need not be refused any more."""
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="p", name="P")


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    """A folder that the operator allows."""
    made = tmp_path / "lakes" / "p"
    made.mkdir(parents=True)
    settings.LAKE_FOLDERS = [str(tmp_path / "lakes")]
    return made


@pytest.fixture
def lake(project: Project, folder: Path) -> Lake:
    return set_lake(project=project, settings=LakeSettings(folder=str(folder)), actor="ada")


def write_due() -> list[str]:
    """Write what is due, as a worker does; returns the files."""
    written: list[str] = []
    while path := write_next():
        written.append(path)
    return written


def write_next() -> str:
    """Work on the file that is next, as a worker does; returns its path, empty where none is due."""
    file = files_to_write().order_by("due_at", "pk").first()
    if file is None:
        return ""
    write_lake_file(file.pk)
    return file.path


def let_time_pass() -> None:
    """Make everything due that waits for its time."""
    LakeFile.objects.filter(state=LakeFile.State.WAITING).update(due_at=now())
    Lake.objects.update(retry_at=None)


_commit = LakeFolder.commit


def commit_and_die(*arguments: Any) -> None:
    """Put a file in its place, as a worker does that is killed at that moment."""
    _commit(*arguments)
    raise KeyboardInterrupt


def die(*_: object) -> None:
    """Be killed."""
    raise KeyboardInterrupt


def let_lease_end() -> None:
    """Let the lease of a worker that was killed end."""
    LakeFile.objects.update(lease_until=datetime(2026, 1, 1, tzinfo=UTC))
