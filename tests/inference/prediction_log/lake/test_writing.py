"""Each finished day of a model is one file, which is put in its place at once and replaced when the day changes."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.base.work.leased_work import TOOK_TOO_LONG
from driftline.operations.given_up import dismiss, given_up, retry
from driftline.operations.long_work import run_next
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects import remote_store
from inference.prediction_log.lake import parts, writing
from inference.prediction_log.lake.days import note_changed_days
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.selectors import content_of_model
from inference.prediction_log.lake.services import set_lake, stop_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.folder import LakeFolder
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.deletion import delete_version
from monitors.metrics.store.models import SegmentSearch
from monitors.summaries.models import Summary
from tests.inference.prediction_log.ingest.late_rows import in_thread
from tests.inference.prediction_log.lake.conftest import (
    commit_and_die,
    die,
    let_lease_end,
    let_time_pass,
    write_due,
    write_next,
)
from tests.inference.prediction_log.lake.reading import ids, names, query
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work
from tests.worlds.vectors import rows_with_vectors

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

SECOND = DAY + timedelta(days=1)
GUIDE = Path(__file__).resolve().parents[4] / "docs/guides/lake.md"


def file_of(model: Model, number: int = 0, day: datetime = DAY) -> str:
    return f"model={model.name}/date={day:%Y-%m-%d}/part-{model.pk}-{number}.parquet"


def write_labelled_rows(model: Model) -> list[SentPrediction]:
    """Log five rows with labels, and have them written to the lake."""
    rows = rows_of_a_day(DAY, 5)
    log(model, rows)
    label(model, truths(rows))
    work(model)
    let_time_pass()
    write_due()
    return rows


def log_day(model: Model, day: datetime = DAY, n: int = 5) -> None:
    log(model, rows_of_a_day(day, n))
    work(model)


def all_ids(n: int) -> list[str]:
    return sorted(row.id for row in rows_of_a_day(DAY, n))


class TestAFinishedDay:
    def test_is_one_file_that_duckdb_reads_with_the_model_and_the_date_of_its_path(
        self, model: Model, lake: Lake, folder: Path
    ) -> None:
        log_day(model)
        log_day(model, SECOND, 7)
        let_time_pass()

        write_due()

        assert names(folder) == [file_of(model), file_of(model, day=SECOND)]
        assert query(folder, "SELECT model, date, count(*) FROM lake GROUP BY ALL ORDER BY date") == [
            ("approvals", date(2026, 1, 5), 5),
            ("approvals", date(2026, 1, 6), 7),
        ]

    def test_holds_features_predictions_and_labels(self, model: Model, lake: Lake, folder: Path) -> None:
        rows = write_labelled_rows(model)

        found = query(
            folder, "SELECT id, income, region, prediction, probability, label FROM lake ORDER BY id"
        )
        assert found == [
            (
                row.id,
                row.features["income"],
                row.features["region"],
                row.prediction,
                pytest.approx(row.probabilities),
                truth.label,
            )
            for row, truth in zip(rows, truths(rows), strict=True)
        ]

    def test_is_read_by_the_query_of_the_guide(
        self, model: Model, lake: Lake, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_labelled_rows(model)
        guide = GUIDE.read_text()
        program = guide.split("```python\n")[1].split("```")[0].replace("s3://days/credit", str(folder))

        exec(program, {})

        assert "2026-01-05" in capsys.readouterr().out

    def test_is_cast_to_numbers_where_texts_came_among_them(
        self, model: Model, lake: Lake, folder: Path
    ) -> None:
        odd = rows_of_a_day(SECOND, 5)
        log_day(model)
        log(model, [replace(odd[0], features=odd[0].features | {"income": "forty"}), *odd[1:]])
        work(model)
        let_time_pass()

        write_due()

        numbers = query(
            folder, "SELECT date, count(try_cast(income AS DOUBLE)) FROM lake GROUP BY ALL ORDER BY 1"
        )
        assert [n for _, n in numbers] == [5, 4]

    def test_holds_no_values_that_are_kept_in_summaries_alone_where_its_rows_could_not_be_summarised(
        self, project: Project, model: Model, folder: Path
    ) -> None:
        update_model(model=model, actor="test", privacy={"photo": "summary"})
        log(model, rows_with_vectors(DAY, 5))
        TouchedPeriod.objects.update(attempts=MAX_ATTEMPTS)

        set_lake(project=project, settings=LakeSettings(folder=str(folder)), actor="ada")
        write_due()

        columns = {name for name, *_ in query(folder, "DESCRIBE SELECT * FROM lake")}
        assert len(ids(folder)) == 5
        assert "income" in columns
        assert not {name for name in columns if name.startswith("photo")}

    def test_is_a_hive_partition_for_arrow(self, model: Model, lake: Lake, folder: Path) -> None:
        log_day(model)
        let_time_pass()
        write_due()

        found = pyarrow.dataset.dataset(folder, partitioning="hive").to_table(columns=["model", "id"])

        assert found.num_rows == 5
        assert set(found["model"].to_pylist()) == {"approvals"}

    def test_waits_for_its_end_and_an_hour_more(self, model: Model, lake: Lake) -> None:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

        log(model, rows_of_a_day(today, 1))
        work(model)

        assert write_due() == []
        assert LakeFile.objects.get().due_at == today + timedelta(days=1, hours=1)

    def test_waits_for_rows_that_the_summaries_do_not_count_yet(self, model: Model, lake: Lake) -> None:
        log_day(model)
        let_time_pass()
        rows = rows_of_a_day(DAY, 6)[5:]
        log(model, rows)

        assert write_due() == []

        work(model)
        assert write_due() == [file_of(model)]

    def test_that_cannot_be_read_at_all_says_how_many_rows_are_missing(
        self, model: Model, lake: Lake, folder: Path
    ) -> None:
        log_day(model)
        PredictionChunk.objects.update(payload=b"no stream of Arrow")
        let_time_pass()

        write_due()

        file = LakeFile.objects.get()
        assert (file.state, file.rows, file.unreadable_rows) == ("done", 0, 5)
        assert names(folder) == []

    def test_without_rows_that_gets_one_while_it_is_looked_at_is_written_after_all(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        note_changed_days(model, [DAY.date()])
        let_time_pass()
        real = LakeFolder.discard

        def discard(self: LakeFolder, *arguments: object) -> None:
            monkeypatch.setattr(LakeFolder, "discard", real)
            log_day(model)
            real(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(LakeFolder, "discard", discard)
        write_due()
        let_time_pass()
        write_due()

        assert len(ids(folder)) == 5

    def test_that_was_stored_before_the_lake_was_set_is_written_at_once(
        self, project: Project, model: Model, folder: Path
    ) -> None:
        log_day(model)

        set_lake(project=project, settings=LakeSettings(folder=str(folder), prefix="archive"), actor="ada")

        assert write_due() == [file_of(model)]
        assert ids(folder / "archive") == [f"20260105-{number}" for number in range(5)]

    def test_without_a_lake_makes_no_work(self, model: Model) -> None:
        log_day(model)

        assert not LakeFile.objects.exists()


class TestADayThatChanges:
    def test_is_not_written_again_while_nothing_changes(self, model: Model, lake: Lake) -> None:
        log_day(model)
        let_time_pass()
        write_due()
        let_time_pass()

        assert write_due() == []

    def test_is_replaced_once_with_labels_that_came_late(
        self, model: Model, lake: Lake, folder: Path
    ) -> None:
        rows = rows_of_a_day(DAY, 5)
        log(model, rows)
        work(model)
        let_time_pass()
        write_due()
        assert query(folder, "SELECT count(label) FROM lake") == [(0,)]

        for truth in truths(rows):
            label(model, [truth])
            work(model)

        assert write_due() == []  # it is gathered for a day
        let_time_pass()
        assert write_due() == [file_of(model)]
        assert names(folder) == [file_of(model)]
        assert query(folder, "SELECT count(label), count(*) FROM lake") == [(5, 5)]

    def test_is_written_again_when_its_labels_are_ripe(self, model: Model, lake: Lake) -> None:
        model.objectives = {"label_lag_hours": 24 * 4_000}
        model.save()
        rows = rows_of_a_day(DAY, 5)
        log(model, rows)
        work(model)
        let_time_pass()
        write_due()

        label(model, truths(rows)[:1])
        work(model)

        assert LakeFile.objects.get().due_at == SECOND + timedelta(hours=24 * 4_000)

    def test_that_gets_a_row_while_it_is_written_is_written_once_more(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        real = LakeFolder.send

        def send(self: LakeFolder, *arguments: object) -> object:
            monkeypatch.setattr(LakeFolder, "send", real)
            log(model, rows_of_a_day(DAY, 6)[5:])
            work(model)
            return real(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(LakeFolder, "send", send)
        write_due()
        assert len(ids(folder)) == 5
        let_time_pass()
        write_due()

        assert ids(folder) == [f"20260105-{number}" for number in range(6)]

    @pytest.mark.django_db(transaction=True)
    def test_is_noted_at_once_while_the_lake_is_slow_to_put_its_file_in_place(
        self, project: Project, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        real = LakeFolder.commit

        def note() -> None:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '3s'")
                note_changed_days(model, [DAY.date()])

        def move() -> None:
            set_lake(project=project, settings=LakeSettings(folder=str(folder), prefix="b"), actor="ada")

        def commit(self: LakeFolder, *arguments: object) -> None:
            with ThreadPoolExecutor(1) as threads:
                threads.submit(in_thread, note).result(60)
                with pytest.raises(Problem, match="being put in its place"):
                    threads.submit(in_thread, move).result(60)
            real(self, *arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as slow:
            slow.setattr(LakeFolder, "commit", commit)
            write_due()
        assert LakeFile.objects.get().state == "waiting"
        let_time_pass()

        assert write_due() == [file_of(model)]
        assert len(ids(folder)) == 5

    def test_loses_the_rows_of_a_version_that_is_deleted(
        self, model: Model, lake: Lake, folder: Path
    ) -> None:
        log_day(model)
        log(model, [replace(row, id=f"second-{row.id}", version="2") for row in rows_of_a_day(DAY, 3)])
        work(model)
        let_time_pass()
        write_due()

        delete_version(version=model.versions.get(version="2"), confirm="2", actor="ada")
        let_time_pass()
        write_due()

        assert query(folder, "SELECT version, count(*) FROM lake GROUP BY ALL") == [("1", 5)]

    def test_loses_the_rows_of_a_version_that_is_deleted_after_its_hours_were_added_up(
        self, model: Model, lake: Lake, folder: Path
    ) -> None:
        log_day(model)
        log(model, [replace(row, id=f"second-{row.id}", version="2") for row in rows_of_a_day(DAY, 3)])
        work(model)
        let_time_pass()
        write_due()
        Summary.objects.filter(span="hour").delete()

        delete_version(version=model.versions.get(version="2"), confirm="2", actor="ada")
        let_time_pass()
        write_due()

        assert query(folder, "SELECT version, count(*) FROM lake GROUP BY ALL") == [("1", 5)]


class TestAWriterThatIsKilled:
    @pytest.mark.parametrize("step", ["send", "commit"])
    def test_before_its_commit_leaves_nothing_that_a_reader_sees(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        log_day(model)
        let_time_pass()
        with monkeypatch.context() as killed:
            killed.setattr(LakeFolder, step, die)
            with pytest.raises(KeyboardInterrupt):
                write_due()
        assert ids(folder) == []

        let_lease_end()
        write_due()

        assert names(folder) == [file_of(model)]
        assert len(ids(folder)) == 5

    def test_behind_its_commit_leaves_each_row_once(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        with monkeypatch.context() as killed:
            killed.setattr(LakeFolder, "commit", commit_and_die)
            with pytest.raises(KeyboardInterrupt):
                write_due()
        let_lease_end()
        write_due()

        assert names(folder) == [file_of(model)]
        assert len(ids(folder)) == 5

    def test_behind_its_commit_leaves_no_row_of_a_day_that_lost_them_all(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model, SECOND)
        let_time_pass()
        write_due()
        log(model, [replace(row, version="2") for row in rows_of_a_day(DAY, 3)])
        work(model)
        let_time_pass()
        with monkeypatch.context() as killed:
            killed.setattr(LakeFolder, "commit", commit_and_die)
            with pytest.raises(KeyboardInterrupt):
                write_due()
        assert len(ids(folder)) == 8

        delete_version(version=model.versions.get(version="2"), confirm="2", actor="ada")
        let_lease_end()
        write_due()

        assert len(ids(folder)) == 5

    def test_and_comes_back_late_puts_nothing_over_what_another_wrote(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        real = LakeFolder.send

        def send_late(self: LakeFolder, *arguments: object) -> object:
            monkeypatch.setattr(LakeFolder, "send", real)
            log(model, rows_of_a_day(DAY, 6)[5:])
            work(model)
            let_lease_end()
            write_due()
            return real(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(LakeFolder, "send", send_late)
        write_due()

        assert len(ids(folder)) == 6
        assert names(folder) == [file_of(model)]

    def test_and_finds_that_the_lake_was_stopped_leaves_nothing_there(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        real = LakeFolder.send

        def send_and_stop(self: LakeFolder, *arguments: object) -> object:
            sent = real(self, *arguments)  # type: ignore[arg-type]
            stop_lake(lake=lake, confirm=str(folder), actor="ada")
            return sent

        monkeypatch.setattr(LakeFolder, "send", send_and_stop)
        write_due()

        assert names(folder) == []

    def test_three_times_is_given_up_and_says_so(
        self, project: Project, model: Model, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        monkeypatch.setattr(writing, "write_rows", _fail)

        for _ in range(3):
            LakeFile.objects.update(lease_until=None)
            write_due()

        assert [(piece.kind, piece.attempts) for piece in given_up(project)] == [("lake file", 3)]

    def test_that_takes_too_long_is_given_up_at_once_and_cannot_be_dismissed(
        self, project: Project, model: Model, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        with monkeypatch.context() as slow:
            slow.setattr(writing, "write_rows", _run_out_of_time)
            write_due()
        [piece] = given_up(project)
        assert (piece.kind, piece.attempts, piece.reason) == ("lake file", 1, TOOK_TOO_LONG)

        with pytest.raises(Problem, match="Other work waits for the lake file 2026-01-05 of approvals"):
            dismiss(kind=piece.kind, id=piece.id, actor="ada")
        retry(kind=piece.kind, id=piece.id, actor="ada")

        assert write_due() == [file_of(model)]


class TestADayThatIsTooLargeForOneFile:
    @pytest.fixture(autouse=True)
    def limit(self, model: Model, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a file hold a third of a day."""
        log_day(model, n=60)
        monkeypatch.setattr(parts, "MAX_FILE_BYTES", PredictionChunk.objects.get().payload.nbytes // 3)

    @pytest.fixture
    def written_whole(self, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A single file holds the day, and is to be written again."""
        let_time_pass()
        with monkeypatch.context() as large:
            large.setattr(parts, "MAX_FILE_BYTES", 1 << 30)
            assert len(write_due()) == 1
        note_changed_days(model, [DAY.date()])
        let_time_pass()

    def test_lies_in_files_that_hold_each_row_once(self, model: Model, folder: Path) -> None:
        let_time_pass()

        written = write_due()

        assert len(written) in (3, 4)
        assert names(folder) == sorted(file_of(model, number) for number in range(len(written)))
        assert ids(folder) == all_ids(60)

    def test_has_each_row_once_whichever_file_its_writer_is_killed_at(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        killed: set[str] = set()
        real = LakeFolder.commit

        def commit(self: LakeFolder, name: str, *arguments: Any) -> None:
            real(self, name, *arguments)
            if name not in killed:
                killed.add(name)
                raise KeyboardInterrupt

        monkeypatch.setattr(LakeFolder, "commit", commit)
        let_time_pass()
        is_written = False
        while not is_written:
            with suppress(KeyboardInterrupt):
                write_due()
                is_written = True
            let_lease_end()
            assert len(set(ids(folder))) == len(ids(folder))

        assert len(killed) >= 3
        assert ids(folder) == all_ids(60)

    def test_gets_its_late_rows_in_the_file_of_their_part(self, model: Model, folder: Path) -> None:
        let_time_pass()
        write_due()
        log(model, [replace(row, id=f"late-{row.id}") for row in rows_of_a_day(DAY, 6)])
        work(model)
        let_time_pass()

        write_due()

        assert ids(folder) == sorted([*all_ids(60), *(f"late-{id_}" for id_ in all_ids(6))])

    @pytest.mark.usefixtures("written_whole")
    def test_may_have_been_written_whole_before_it_grew(self, folder: Path) -> None:
        assert len(write_due()) >= 3
        assert ids(folder) == all_ids(60)

    @pytest.mark.usefixtures("written_whole")
    @pytest.mark.parametrize("steps", range(1, 5))
    def test_loses_no_row_of_the_lake_where_its_model_keeps_none_before_all_parts_are_written(
        self, model: Model, folder: Path, steps: int
    ) -> None:
        for _ in range(steps):
            write_next()

        update_model(model=model, actor="test", rows_kept="none")
        work(model)
        let_time_pass()
        write_due()

        assert not PredictionChunk.objects.exists()
        assert sorted(set(ids(folder))) == all_ids(60)

    @pytest.mark.usefixtures("written_whole")
    def test_never_lacks_a_row_that_the_lake_had_whichever_file_its_writer_is_killed_at(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, killed = LakeFolder.commit, set[str]()

        def commit(self: LakeFolder, name: str, *arguments: Any) -> None:
            real(self, name, *arguments)
            assert sorted(set(ids(folder))) == all_ids(60)
            if name not in killed:
                killed.add(name)
                raise KeyboardInterrupt

        monkeypatch.setattr(LakeFolder, "commit", commit)
        is_written = False
        while not is_written:
            with suppress(KeyboardInterrupt):
                write_due()
                is_written = True
            let_lease_end()

        assert len(killed) >= 3
        assert ids(folder) == all_ids(60)

    def test_counts_the_rows_of_a_damaged_chunk_once(self, model: Model) -> None:
        PredictionChunk.objects.update(payload=bytes(len(PredictionChunk.objects.get().payload)))
        let_time_pass()

        assert len(write_due()) >= 3
        assert content_of_model(model).rows_unreadable == 60

    def test_names_the_part_of_each_file(self) -> None:
        let_time_pass()
        write_due()

        first, *_, last = LakeFile.objects.order_by("start_second")
        assert str(first).startswith("2026-01-05 00:00:00 to ")
        assert str(last).endswith(" to 24:00:00 of approvals")

    def test_is_locked_in_one_order_whoever_notes_a_change(self, model: Model) -> None:
        let_time_pass()
        write_due()

        with CaptureQueriesContext(connection) as queries:
            note_changed_days(model, [DAY.date()])

        [locking] = [query["sql"] for query in queries if "FOR UPDATE" in query["sql"]]
        assert re.search(r'ORDER BY \S*"day" ASC, \S*"id" ASC FOR UPDATE', locking)


class TestTheFirstFilling:
    def test_comes_behind_all_other_long_work_of_its_project(
        self, project: Project, model: Model, folder: Path
    ) -> None:
        log_day(model)
        set_lake(project=project, settings=LakeSettings(folder=str(folder)), actor="ada")
        search = SegmentSearch.objects.create(
            model=model, start=DAY, end=SECOND, requested_by="ada", touched_at=now()
        )

        run_next()

        search.refresh_from_db()
        assert search.state != "queued"
        assert ids(folder) == []
        assert run_next()
        assert len(ids(folder)) == 5


class TestALakeThatCannotBeReached:
    def test_is_left_alone_for_a_while_and_says_why(self, model: Model, lake: Lake, folder: Path) -> None:
        log_day(model)
        let_time_pass()
        folder.rmdir()

        assert write_due() == [file_of(model)]  # one attempt; the other days wait for the lake

        lake.refresh_from_db()
        assert lake.error == f"{folder.resolve()} is not there; is it mounted?"
        assert lake.failing_since is not None

    def test_gets_every_day_once_it_is_back(self, model: Model, lake: Lake, folder: Path) -> None:
        log_day(model)
        log_day(model, SECOND)
        let_time_pass()
        folder.rmdir()
        for _ in range(4):  # more often than work is tried
            let_time_pass()
            write_due()
        folder.mkdir()

        let_time_pass()
        write_due()

        lake.refresh_from_db()
        assert (lake.error, lake.failing_since) == ("", None)
        assert len(ids(folder)) == 10

    def test_for_one_file_alone_gets_the_other_days(self, model: Model, lake: Lake, folder: Path) -> None:
        log_day(model)
        log_day(model, SECOND)
        let_time_pass()
        (folder / "model=approvals").mkdir()
        (folder / "model=approvals" / "date=2026-01-05").write_text("in its way")

        write_due()
        Lake.objects.update(retry_at=None)  # in place of a minute
        write_due()

        assert ids(folder / "model=approvals" / "date=2026-01-06") == [f"20260106-{n}" for n in range(5)]

    def test_is_not_filled_from_a_disk_that_has_no_room_for_a_day(
        self, model: Model, lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log_day(model)
        let_time_pass()
        monkeypatch.setattr(remote_store, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(remote_store, "MIN_FREE_BYTES", 1 << 60)

        write_due()

        lake.refresh_from_db()
        assert lake.error.startswith("2026-01-05 of approvals has ")
        assert lake.error.endswith("stay so; make room.")
        assert names(folder) == []


class TestTwoModels:
    def test_that_swap_their_names_never_write_over_each_others_files(
        self, project: Project, model: Model, lake: Lake, folder: Path
    ) -> None:
        other = make_model(project, "other")
        log_day(model)
        let_time_pass()
        write_due()
        Model.objects.filter(pk=other.pk).update(name="swapping")
        Model.objects.filter(pk=model.pk).update(name="other")
        Model.objects.filter(pk=other.pk).update(name="approvals")

        other.refresh_from_db()
        log_day(other, n=3)
        let_time_pass()
        write_due()

        assert len(names(folder)) == 2
        assert query(folder, "SELECT count(*) FROM lake") == [(8,)]


def test_a_folder_refuses_to_follow_a_link_out_of_the_lake(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "model=x").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConnectorFailed, match="leads out of the lake"):
        LakeFolder(LakeSettings(folder=str(folder))).begin("model=x/date=2026-01-05/part-1-0.parquet")


def _run_out_of_time(*_: object, **__: object) -> None:
    raise SoftTimeLimitExceeded


def _fail(*_: object, **__: object) -> None:
    raise ValueError("no such column")
