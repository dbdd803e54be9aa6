"""A person is erased from the files of a lake too, also where the log holds nothing of them any more."""

from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from inference.prediction_log.erasure import services
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.erasure.services import request_erasure
from inference.prediction_log.erasure.work import SliceOver, Work
from inference.prediction_log.lake import parts
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.stores.folder import LakeFolder
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.tasks import expire
from inference.registry.models import Model
from inference.registry.services import update_model
from tests.inference.prediction_log.lake.conftest import (
    commit_and_die,
    die,
    let_lease_end,
    let_time_pass,
    write_due,
)
from tests.inference.prediction_log.lake.reading import ids, names, query
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

ZOE = "zoe.canary@example.com"
LAST = DAY + timedelta(days=40)


@pytest.fixture(autouse=True)
def _spool_is_settled(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    monkeypatch.setattr(services, "LOOK_AGAIN_AFTER", timedelta(0))


@pytest.fixture
def written(model: Model, lake: Lake) -> Model:
    """A model with two days in its lake, each with a row of the person."""
    log_day_of_people(model, DAY)
    log_day_of_people(model, LAST)
    write_due()
    return model


def log_day_of_people(model: Model, day: datetime) -> None:
    log(model, [of_someone(row, place) for place, row in enumerate(rows_of_a_day(day, 5))])
    work(model)
    grow_old()
    pack_all()
    connection.check_constraints()
    let_time_pass()


def of_someone(row: SentPrediction, place: int) -> SentPrediction:
    return replace(row, subject=ZOE if place == 2 else f"someone-{place}")


def erase(project: Project) -> Erasure:
    erasure = request_erasure(project=project, key=ZOE, actor="ada")
    services.resume_erasure(erasure.pk)
    erasure.refresh_from_db()
    return erasure


def of_others(day: str) -> list[str]:
    return [f"{day}-{number}" for number in (0, 1, 3, 4)]


def test_rows_of_the_person_leave_every_file(project: Project, written: Model, folder: Path) -> None:
    erasure = erase(project)

    assert erasure.state == Erasure.State.DONE
    assert erasure.counts["lake_rows"] == 2
    assert ids(folder) == of_others("20260105") + of_others("20260214")
    assert not any(ZOE.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_rows_of_the_person_leave_every_file_of_a_day_that_has_several(
    project: Project, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_FILE_BYTES", 1_000)
    rows = [
        replace(row, subject=ZOE if place % 5 else "other")
        for place, row in enumerate(rows_of_a_day(DAY, 20))
    ]
    log(model, [*rows, *(replace(row, role="shadow", version="2", subject=None) for row in rows)])
    work(model)
    let_time_pass()
    assert len(write_due()) > 2
    checks = count()

    def end_every_second_time(_: Work) -> None:
        if next(checks) % 2:
            raise SliceOver

    monkeypatch.setattr(Work, "check_deadline", end_every_second_time)

    erasure = erase(project)
    while erasure.state != Erasure.State.DONE:
        services.resume_erasure(erasure.pk)
        erasure.refresh_from_db()

    assert erasure.counts["lake_rows"] == 32
    assert len(ids(folder)) == 8


def test_rows_that_expired_in_the_log_leave_the_lake(project: Project, written: Model, folder: Path) -> None:
    update_model(model=written, actor="test", retention_days=7)
    expire()
    assert not LakeFile.objects.get(day=DAY.date()).is_open

    erasure = erase(project)

    assert erasure.counts["lake_rows"] == 2
    assert query(folder, "SELECT count(*) FROM lake WHERE date = DATE '2026-01-05'") == [(4,)]


def test_a_day_that_is_written_again_has_no_row_of_the_person(
    project: Project, written: Model, folder: Path
) -> None:
    erase(project)
    work(written)
    let_time_pass()

    assert write_due()
    assert ids(folder) == of_others("20260105") + of_others("20260214")


def test_a_copy_that_a_shadow_made_without_the_subject_goes_by_its_id(
    project: Project, written: Model, folder: Path
) -> None:
    copies = [replace(row, role="shadow", version="2") for row in rows_of_a_day(DAY, 5)]
    update_model(model=written, actor="test", retention_days=0)
    log(written, copies)
    work(written)
    let_time_pass()
    write_due()
    of_day = "date = DATE '2026-01-05'"
    assert query(folder, f"SELECT count(*) FROM lake WHERE {of_day}") == [(10,)]

    erasure = erase(project)

    assert erasure.counts["lake_rows"] == 3
    assert query(folder, f"SELECT role, count(*) FROM lake WHERE {of_day} GROUP BY role ORDER BY role") == [
        ("champion", 4),
        ("shadow", 4),
    ]


def test_a_row_of_another_person_with_the_same_id_stays(
    project: Project, written: Model, folder: Path
) -> None:
    other = make_model(project, "other")
    log(other, [replace(row, subject="somebody else") for row in rows_of_a_day(DAY, 5)])
    work(other)
    let_time_pass()
    write_due()

    erase(project)

    assert query(folder, "SELECT count(*) FROM lake WHERE model = 'other'") == [(5,)]


def test_an_erasure_waits_for_a_lake_that_cannot_be_reached_and_says_so(
    project: Project, written: Model, folder: Path
) -> None:
    away = folder.rename(folder.with_name("away"))

    waiting = erase(project)
    assert (waiting.state, waiting.waiting_for) == (
        Erasure.State.WAITING,
        f"the lake: {folder} is not there; is it mounted?",
    )

    away.rename(folder)
    assert erase(project).state == Erasure.State.DONE
    assert len(ids(folder)) == 8


def test_an_erasure_does_not_wait_for_a_lake_that_nothing_was_written_to(
    project: Project, model: Model, lake: Lake, folder: Path
) -> None:
    folder.rmdir()

    assert erase(project).state == Erasure.State.DONE


def test_an_erasure_waits_for_a_file_that_is_being_written(
    project: Project, written: Model, folder: Path
) -> None:
    held = LakeFile.objects.filter(day=DAY.date())
    held.claim(limit=1)

    waiting = erase(project)
    assert waiting.waiting_for == "the writing of 2026-01-05 of approvals to the lake"

    held.update(lease_until=None, lease_token=None)
    assert erase(project).state == Erasure.State.DONE


def test_an_erasure_waits_for_a_file_that_a_worker_began_to_write_before(
    project: Project, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_day_of_people(model, DAY)
    real, waiting = LakeFolder.send, []

    def send(self: LakeFolder, *arguments: object) -> object:
        monkeypatch.setattr(LakeFolder, "send", real)
        waiting.append(erase(project).waiting_for)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeFolder, "send", send)
    write_due()
    assert waiting == ["the writing of 2026-01-05 of approvals to the lake"]
    assert len(ids(folder)) == 5

    assert erase(project).state == Erasure.State.DONE
    assert ids(folder) == of_others("20260105")


def test_a_file_that_a_worker_put_in_its_place_before_it_was_killed_is_erased_from(
    project: Project, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_day_of_people(model, DAY)
    with monkeypatch.context() as killed:
        killed.setattr(LakeFolder, "commit", commit_and_die)
        with pytest.raises(KeyboardInterrupt):
            write_due()
    let_lease_end()

    erasure = erase(project)

    assert (erasure.state, erasure.counts["lake_rows"]) == (Erasure.State.DONE, 1)
    assert ids(folder) == of_others("20260105")


def test_what_a_worker_that_was_killed_had_sent_is_removed(
    project: Project, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_day_of_people(model, DAY)
    with monkeypatch.context() as killed:
        killed.setattr(LakeFolder, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            write_due()
    assert len(names(folder)) == 1
    let_lease_end()

    assert erase(project).state == Erasure.State.DONE
    assert names(folder) == []


def test_a_copy_that_is_written_before_the_log_loses_it_leaves_the_lake_too(
    project: Project, written: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_model(model=written, actor="test", retention_days=0)
    log(written, [replace(row, role="shadow", version="2") for row in rows_of_a_day(DAY, 5)])
    work(written)
    erase_copies = services._FIRST["copies"]

    def write_and_erase(work_: Work) -> None:
        work(written)
        let_time_pass()
        assert write_due()
        erase_copies(work_)

    monkeypatch.setitem(services._FIRST, "copies", write_and_erase)

    assert erase(project).state == Erasure.State.DONE
    assert query(
        folder, "SELECT role, count(*) FROM lake WHERE date = DATE '2026-01-05' GROUP BY ALL ORDER BY role"
    ) == [
        ("champion", 4),
        ("shadow", 4),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_file_is_sent_to_the_lake_outside_transactions(
    project: Project, written: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, inside = LakeFolder.send, []

    def send(self: LakeFolder, *arguments: object) -> object:
        inside.append(connection.in_atomic_block)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeFolder, "send", send)

    assert erase(project).state == Erasure.State.DONE
    assert inside == [False, False]


def test_files_of_other_people_are_not_touched(project: Project, written: Model, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}

    erasure = request_erasure(project=project, key="nobody.at.all@example.com", actor="ada")
    services.resume_erasure(erasure.pk)

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
