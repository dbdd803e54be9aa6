"""The parts of a snapshot in a shared folder: written before the start, and removed once nobody needs them."""

import hashlib
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from django.db.models.functions import Now

from driftline import tasks
from driftline.base.accounts.models import AuditEntry
from inference.prediction_log.erasure.work import Blocked
from monitors.deletion import delete_model
from monitors.erasure import erase_from_runs
from monitors.workflows import services
from monitors.workflows.ending.finishing import finish
from monitors.workflows.engine import advance
from monitors.workflows.models import RemoteTraining, Run, RunState
from monitors.workflows.remote import snapshot_file, snapshot_store
from monitors.workflows.remote.snapshot_store import remove_due_parts
from monitors.workflows.starting import starts
from tests.monitors.workflows.remote.conftest import (
    Pipeline,
    configure,
    erasing,
    error_of,
    let_pass,
    looked_at,
    train,
    verified,
)
from tests.monitors.workflows.remote.service import Service
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def store(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared folder as the snapshot store, and parts of 400 rows."""
    folder = tmp_path / "shared"
    folder.mkdir()
    settings.SNAPSHOT_STORE = f"file://{folder}"
    monkeypatch.setattr(snapshot_file, "PART_ROWS", 400)
    return folder


def files_in(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def paths_of(pipeline: Pipeline) -> list[Path]:
    return [Path(part["url"].removeprefix("file://")) for part in pipeline.order["snapshot"]["parts"]]


def remove(run: Run) -> RemoteTraining:
    """Let a worker remove what is due, and return the training as it is then."""
    training = RemoteTraining.objects.get(run=run)
    remove_due_parts(training.pk)
    training.refresh_from_db()
    return training


class TestStored:
    def test_before_the_start_as_the_order_says(
        self, turned_world: World, service: Service, store: Path
    ) -> None:
        found: list[list[Path]] = []
        service.rules = lambda asked: (found.append(files_in(store)) or 202, None)
        configure(turned_world.model, service)

        looked_at(starts.start_run(model=turned_world.model, trigger="ada", actor="ada"))

        ordered = verified(service.asked[0])["snapshot"]
        paths = [Path(part["url"].removeprefix("file://")) for part in ordered["parts"]]
        assert found == [paths]
        assert len(paths) > 2
        for path, part in zip(paths, ordered["parts"], strict=True):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
            assert pq.read_metadata(path).num_rows == part["rows"] <= 400
        assert sum(part["rows"] for part in ordered["parts"]) == ordered["rows"]

    def test_in_a_folder_of_their_project_that_cannot_be_guessed(self, run: Run, pipeline: Pipeline) -> None:
        folder = paths_of(pipeline)[0].parent

        assert folder.parent.name == run.model.project.slug
        name, nonce = folder.name.rsplit("-", 1)
        assert name == f"run-{run.pk}"
        assert len(nonce) == 12
        training = RemoteTraining.objects.get(run=run)
        assert nonce not in (training.token_nonce[:12], training.token_digest[:12])

    def test_with_an_audit_entry_and_read_here_too(self, run: Run, pipeline: Pipeline) -> None:
        entry = AuditEntry.objects.get(action="run.parts_stored")
        assert entry.after["url"] == f"file://{paths_of(pipeline)[0].parent}"
        assert entry.after["parts"] == len(paths_of(pipeline))
        assert b"".join(pipeline.part(0).streaming_content) == paths_of(pipeline)[0].read_bytes()

    def test_once_for_all_tries_of_a_start(
        self, turned_world: World, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service.rules = lambda asked: (503, None)
        configure(turned_world.model, service)
        run = looked_at(starts.start_run(model=turned_world.model, trigger="ada", actor="ada"))
        monkeypatch.setattr(snapshot_store, "copy_files", refuse)
        service.rules = lambda asked: (202, None)
        let_pass(run, next_start_at=timedelta(seconds=1))

        looked_at(run)

        first, second = service.asked
        assert verified(first) == verified(second)
        assert RemoteTraining.objects.get(run=run).started_at is not None

    def test_not_by_a_store_that_is_away_which_fails_the_run_by_name_in_the_end(
        self, turned_world: World, service: Service, settings: Any, store: Path
    ) -> None:
        (store.parent / "blocked").write_text("a file where the folder should be")
        settings.SNAPSHOT_STORE = f"file://{store.parent}/blocked"
        configure(turned_world.model, service)
        run = looked_at(starts.start_run(model=turned_world.model, trigger="ada", actor="ada"))
        assert "tried again" in run.waiting_for
        for _ in range(4):
            let_pass(run, next_start_at=timedelta(seconds=1))
            run = looked_at(run)

        assert (run.state, service.asked) == ("failed", [])
        assert "DRIFTLINE_SNAPSHOT_STORE" in error_of(run)


class TestRemoved:
    @pytest.fixture
    def ended(self, run: Run) -> Callable[[], None]:
        return lambda: finish(run, state=RunState.CANCELLED, actor="ada", reason="test")

    def test_when_the_run_ends(self, run: Run, store: Path, ended: Callable[[], None]) -> None:
        assert files_in(store) != []

        ended()
        training = remove(run)

        assert files_in(store) == []
        assert (training.parts_url, training.remove_parts_at) == ("", None)

    def test_when_the_model_is_there(self, run: Run, pipeline: Pipeline, store: Path) -> None:
        assert pipeline.artifact(train(pipeline.rows()))[0] == 201

        remove(run)

        assert files_in(store) == []

    def test_when_the_token_expires_and_not_before(self, run: Run, store: Path) -> None:
        training = remove(run)
        assert files_in(store) != []
        assert training.remove_parts_at == training.deadline

        RemoteTraining.objects.filter(run=run).update(remove_parts_at=Now())
        remove(run)

        assert files_in(store) == []

    def test_some_minutes_later_where_the_store_was_away(
        self, run: Run, store: Path, ended: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended()
        with monkeypatch.context() as patch:
            patch.setattr(snapshot_store, "FileSystem", Away)
            training = remove(run)
        assert files_in(store) != []
        assert list(RemoteTraining.objects.with_parts_to_remove()) == []

        RemoteTraining.objects.filter(pk=training.pk).update(remove_parts_at=Now())
        remove(run)

        assert files_in(store) == []

    def test_by_the_sweep_where_no_message_came(
        self, run: Run, ended: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enqueued: list[tuple[str, int]] = []
        monkeypatch.setattr(
            tasks, "enqueue", lambda task, **what: enqueued.append((task, what.get("training_id", 0)))
        )
        training = RemoteTraining.objects.get(run=run)

        tasks.sweep()
        ended()
        tasks.sweep()
        remove(run)
        tasks.sweep()

        assert enqueued.count(("monitors.remove_parts", training.pk)) == 1

    def test_where_somebody_has_removed_them_already(
        self, run: Run, store: Path, ended: Callable[[], None]
    ) -> None:
        for folder in store.iterdir():
            shutil.rmtree(folder)
        ended()

        assert remove(run).parts_url == ""

    def test_once_the_shared_folder_is_there_again(
        self, run: Run, store: Path, ended: Callable[[], None]
    ) -> None:
        away = store.rename(store.with_name("unmounted"))
        ended()
        assert remove(run).parts_url != ""

        away.rename(store)
        RemoteTraining.objects.filter(run=run).update(remove_parts_at=Now())
        remove(run)

        assert files_in(store) == []

    def test_where_the_run_ended_while_they_were_written(
        self, turned_world: World, service: Service, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(turned_world.model, service)
        run = starts.start_run(model=turned_world.model, trigger="ada", actor="ada")

        def copy_late(source: str, destination: str, **kwargs: Any) -> None:
            """Write what was read before the run ended and its parts were removed."""
            content = Path(source).read_bytes()
            services.cancel(run=run, actor="ada")
            remove(run)
            Path(destination).parent.mkdir(parents=True)
            Path(destination).write_bytes(content)

        monkeypatch.setattr(snapshot_store, "copy_files", copy_late)

        looked_at(run)
        assert (service.asked, len(files_in(store))) == ([], 1)
        remove(run)

        assert files_in(store) == []

    def test_with_a_model_that_is_deleted_before_that(
        self, run: Run, store: Path, ended: Callable[[], None]
    ) -> None:
        ended()

        delete_model(model=run.model, confirm=run.model.name, actor="ada")

        assert files_in(store) == []


class TestErasure:
    def test_takes_the_row_out_of_its_part_alone(self, run: Run, pipeline: Pipeline) -> None:
        rows, paths = pipeline.rows(), paths_of(pipeline)
        before = [path.read_bytes() for path in paths]

        erase_from_runs(erasing(run, rows["time"].iloc[0]))

        after = [path.read_bytes() for path in paths]
        known = RemoteTraining.objects.get(run=run).snapshot
        assert [one == other for one, other in zip(before, after, strict=True)].count(False) == 1
        assert [hashlib.sha256(one).hexdigest() for one in after] == [
            part["sha256"] for part in known["parts"]
        ]
        remaining = pd.concat([pd.read_parquet(path) for path in paths])
        assert len(remaining) == known["rows"] == len(rows) - 1
        assert rows["time"].iloc[0] not in set(remaining["time"])

    def test_is_not_over_while_the_store_keeps_the_row(
        self, run: Run, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        time = pipeline.rows()["time"].iloc[0]
        work = erasing(run, time)
        with monkeypatch.context() as patch:
            patch.setattr(snapshot_store, "copy_files", refuse)
            with pytest.raises(Blocked, match="snapshot store"):
                erase_from_runs(work)

        erase_from_runs(work)

        assert time not in set(pd.concat([pd.read_parquet(path) for path in paths_of(pipeline)])["time"])

    def test_waits_for_parts_of_a_run_that_has_ended(self, run: Run, pipeline: Pipeline) -> None:
        work = erasing(run, pipeline.rows()["time"].iloc[0])
        finish(run, state=RunState.CANCELLED, actor="ada", reason="test")

        with pytest.raises(Blocked, match="the removal of"):
            erase_from_runs(work)
        remove(run)

        erase_from_runs(work)

    def test_waits_for_them_while_the_store_is_away(
        self, run: Run, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = erasing(run, pipeline.rows()["time"].iloc[0])
        finish(run, state=RunState.CANCELLED, actor="ada", reason="test")
        monkeypatch.setattr(snapshot_store, "FileSystem", Away)
        remove(run)

        with pytest.raises(Blocked, match="the removal of"):
            erase_from_runs(work)

    def test_leaves_no_part_of_a_run_that_ends_meanwhile(
        self, run: Run, pipeline: Pipeline, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = erasing(run, pipeline.rows()["time"].iloc[0])

        def copy_late(source: str, destination: str, **kwargs: Any) -> None:
            content = Path(source).read_bytes()
            services.cancel(run=Run.objects.get(pk=run.pk), actor="ada")
            remove(run)
            Path(destination).parent.mkdir(parents=True)
            Path(destination).write_bytes(content)

        monkeypatch.setattr(snapshot_store, "copy_files", copy_late)
        with pytest.raises(Blocked, match="the removal of"):
            erase_from_runs(work)
        remove(run)

        assert files_in(store) == []

    def test_lets_no_step_begin_meanwhile(
        self, run: Run, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = erasing(run, pipeline.rows()["time"].iloc[0])
        copy, begun = snapshot_store.copy_files, list[bool]()

        def look(*args: Any, **kwargs: Any) -> None:
            begun.append(advance(run_id=run.pk))
            copy(*args, **kwargs)

        monkeypatch.setattr(snapshot_store, "copy_files", look)
        erase_from_runs(work)

        assert begun == [False]
        assert advance(run_id=run.pk)


def refuse(*args: object, **kwargs: object) -> None:
    raise OSError("the store is away")


class Away:
    """A store that answers nothing."""

    @staticmethod
    def from_uri(url: str) -> Any:
        raise OSError("the store is away")
