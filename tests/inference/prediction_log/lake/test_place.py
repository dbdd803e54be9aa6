"""A lake writes and reads where its own files are, and nowhere else: a marker beside them names their lake."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from driftline.base.accounts.models import Project
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.services import set_lake, stop_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.folder import LakeFolder
from inference.prediction_log.lake.stores.marker import MARKER
from inference.prediction_log.tasks import expire
from inference.registry.models import Model
from inference.registry.services import update_model
from tests.inference.prediction_log.lake.conftest import let_time_pass, write_due
from tests.inference.prediction_log.lake.reading import ids, names
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, rows_of_a_day, work

pytestmark = pytest.mark.django_db

LAST = DAY + timedelta(days=40)


@pytest.fixture
def due(model: Model, lake: Lake) -> Model:
    """A model with two days that are to be written."""
    for day in (DAY, LAST):
        log(model, rows_of_a_day(day, 5))
        work(model)
    let_time_pass()
    return model


@pytest.fixture
def expired(due: Model) -> Model:
    """A model of which only the lake has the first day."""
    grow_old()
    pack_all()
    connection.check_constraints()
    let_time_pass()
    write_due()
    update_model(model=due, actor="test", retention_days=7)
    expire()
    update_model(model=due, actor="test", retention_days=0)
    return due


def again(project: Project, folder: Path, prefix: str = "") -> Lake:
    """Set a lake where one was stopped."""
    stop_lake(lake=Lake.objects.get(), confirm=str(folder), actor="ada")
    return set_lake(project=project, settings=LakeSettings(folder=str(folder), prefix=prefix), actor="ada")


def test_a_marker_names_the_lake_beside_its_files(due: Model, lake: Lake, folder: Path) -> None:
    write_due()

    lake.refresh_from_db()
    assert json.loads((folder / MARKER).read_text()) == {"lake": str(lake.token)}


def test_a_lake_that_is_set_again_never_replaces_the_files_of_the_one_that_was_stopped(
    project: Project, expired: Model, folder: Path
) -> None:
    before = ids(folder)
    lake = again(project, folder)
    late = rows_of_a_day(DAY, 6)[5:]
    log(expired, late)
    work(expired)
    let_time_pass()

    write_due()

    lake.refresh_from_db()
    assert ids(folder) == before
    assert lake.error.startswith(f"The files of another lake are in {folder}")
    assert "name another prefix" in lake.error


@pytest.mark.slow
def test_another_prefix_takes_what_the_log_holds(project: Project, expired: Model, folder: Path) -> None:
    again(project, folder, "second")
    let_time_pass()

    write_due()

    assert ids(folder / "second") == [f"20260214-{number}" for number in range(5)]


@pytest.mark.slow
def test_a_mount_point_without_its_disk_is_neither_written_to_nor_taken_for_an_empty_lake(
    project: Project, expired: Model, lake: Lake, folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    settings.HOME = folder.parent
    folder.rename(folder.with_name("away"))
    folder.mkdir()

    erasure = request_erasure(project=project, key="zoe@example.com", actor="ada")
    services.resume_erasure(erasure.pk)
    log(expired, rows_of_a_day(LAST, 6)[5:])
    work(expired)
    let_time_pass()
    write_due()

    erasure.refresh_from_db()
    lake.refresh_from_db()
    assert erasure.state == Erasure.State.WAITING
    assert lake.error == f"{folder} has no {MARKER}, so its files are elsewhere; is it mounted?"
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_a_lake_that_moves_takes_the_lease_of_a_worker_that_opened_the_old_place(
    project: Project, due: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LakeFolder.send

    def send_and_move(self: LakeFolder, *arguments: Any) -> object:
        monkeypatch.setattr(LakeFolder, "send", real)
        set_lake(project=project, settings=LakeSettings(folder=str(folder), prefix="second"), actor="ada")
        return real(self, *arguments)

    monkeypatch.setattr(LakeFolder, "send", send_and_move)
    write_due()
    let_time_pass()
    write_due()

    assert {name.partition("/")[0] for name in names(folder) if name.endswith(".parquet")} == {"second"}
    assert len(ids(folder)) == 10
    assert not LakeFile.objects.filter(written_at=None).exists()
