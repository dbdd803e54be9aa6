"""An encrypted log reads like a plain one, shows nothing without its keys, and says which of them are missing."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command
from django.db import connection

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.keys.home_keys import key_of_home
from driftline.operations.invariants import check_all
from driftline.operations.services.diagnosis import diagnose
from driftline.operations.services.paths import home_paths
from inference.prediction_log.encryption import sealed_chunks
from inference.prediction_log.encryption.sealed_chunks import (
    LogUnreadable,
    UnableToSeal,
    forget_unused_keys,
    is_sealed,
)
from inference.prediction_log.ingest import arrival
from inference.prediction_log.ingest.drain import drain_once
from inference.prediction_log.models import LogKey, PredictionChunk, SpoolCursor
from inference.prediction_log.queries.exploring import explore
from inference.prediction_log.queries.filters import filter_of
from inference.prediction_log.queries.selectors import frame_of
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.prediction_log.spool.record import FeatureColumn, LoggedBatch, encode_record
from inference.prediction_log.spool.sealing import KEY_FILE, master_keys
from inference.prediction_log.spool.segments import FRAME, SpoolWriter, frame
from inference.registry.models import Model
from inference.serving.jobs.store import JobStore, OpenJob
from tests.flows.canary import places_of
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.inference.serving.jobs.made_jobs import a_job
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = pytest.mark.django_db

CANARY = "canary-of-the-log"
END = DAY + timedelta(days=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME, settings.ENCRYPT_LOG = tmp_path, True
    key_of_home(tmp_path, "log_key")
    return tmp_path


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def rows(n: int = 10, *, start: int = 0) -> list[SentPrediction]:
    """Make predictions with the canary as one of their features."""
    return [
        msgspec.structs.replace(row, id=f"{start}-{row.id}", features={**row.features, "note": CANARY})
        for row in rows_of_a_day(DAY, n)
    ]


def spooled(model: Model, *ids: str) -> list[bytes]:
    """Encode what a serving process logs, a record a prediction."""
    at = round((DAY + timedelta(hours=5)).timestamp() * 1e6)
    version_id = model.versions.get(version="1").pk
    return [
        encode_record(
            LoggedBatch(
                model_id=model.pk,
                version_id=version_id,
                role="champion",
                generation=1,
                ids=[id_],
                client_ids=None,
                keyed=False,
                event_time_us=[at],
                received_us=at,
                latency_us=[900],
                features=[FeatureColumn("note", "s", [CANARY])],
                prediction=["1"],
                probabilities=None,
                subjects=None,
                tags=None,
            )
        )
        for id_ in ids
    ]


def restart() -> None:
    """Forget the keys that this process has seen, as a new one has not."""
    sealed_chunks._key_of.cache_clear()
    sealed_chunks._unwrapped.cache_clear()


def stored() -> list[bytes]:
    """Read payloads and labels as the database has them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload, labels FROM inference_predictionchunk ORDER BY id")
        return [bytes(field) for row in cursor.fetchall() for field in row if field is not None]


def notes(model: Model) -> list[str]:
    return frame_of(model=model, start=DAY, end=END).features["note"].tolist()


def finding(home: Path) -> Any:
    return next(found for found in diagnose(home_paths(home)) if found.subject == "log keys")


def broken() -> list[str]:
    return [result.statement for result in check_all() if not result.holds]


class TestSealedLog:
    @pytest.mark.slow
    def test_shows_nothing_and_is_read_in_every_way(self, model: Model, home: Path, tmp_path: Path) -> None:
        log(model, rows())
        writer = SpoolWriter(home, "serving", seals=True)
        writer.append(spooled(model, "spooled"), sync=False)
        before_the_drain = places_of(CANARY, home)

        drain_once(home)

        assert before_the_drain == places_of(CANARY, home) == set()
        for payload in stored():
            with pytest.raises(pa.ArrowInvalid):
                pa.ipc.open_stream(payload)
        assert notes(model) == [CANARY] * 11
        page = explore(wanted=filter_of(model, {"segment": f"note:{CANARY}"}, now=DAY))
        assert len(page.items) == 11
        call_command("export_predictions", str(tmp_path / "out"), model=model.name, stdout=StringIO())
        assert pq.read_table(tmp_path / "out")["note"].to_pylist() == [CANARY] * 11

    @pytest.mark.slow
    def test_is_summarised_as_a_plain_one_is(self, model: Model, settings: Any) -> None:
        from monitors.summaries.models import Summary

        settings.ENCRYPT_LOG = False
        plain = make_model(model.project, "plain")
        log(plain, rows())
        settings.ENCRYPT_LOG = True
        log(model, rows())

        work(plain)
        work(model)

        own, other = (
            [
                bytes(one.payload)
                for one in Summary.objects.filter(model=each).order_by("segment", "start", "span")
            ]
            for each in (model, plain)
        )
        assert own == other

    def test_stays_sealed_when_chunks_are_packed_and_labels_folded(self, model: Model) -> None:
        sent = rows(20)
        log(model, sent[:10])
        log(model, sent[10:])
        label(model, truths(sent))

        let_narrow_rows_go()

        assert [is_sealed(content) for content in stored()] == [True, True]  # one payload and its labels
        frame = frame_of(model=model, start=DAY, end=END)
        told = {one.id: one.label for one in truths(sent)}
        assert dict(zip(frame.ids, frame.label, strict=True)) == told
        assert broken() == []

    def test_reads_what_was_written_before_and_after_the_setting_changed(
        self, model: Model, settings: Any
    ) -> None:
        settings.ENCRYPT_LOG = False
        log(model, rows(5))
        settings.ENCRYPT_LOG = True
        log(model, rows(5, start=1))
        settings.ENCRYPT_LOG = False
        log(model, rows(5, start=2))
        restart()

        assert [is_sealed(content) for content in stored()] == [False, True, False]
        assert notes(model) == [CANARY] * 15

    def test_refuses_a_chunk_that_was_changed(self, model: Model) -> None:
        log(model, rows())
        chunk = PredictionChunk.objects.get()
        changed = bytearray(chunk.payload)
        changed[-1] ^= 1
        PredictionChunk.objects.update(payload=bytes(changed))

        frame = frame_of(model=model, start=DAY, end=END)

        assert len(frame) == 0
        assert ["changed after it had been sealed" in chunk.reason for chunk in frame.unreadable] == [True]

    def test_a_record_that_was_changed_in_the_spool_is_counted_and_the_others_stored(
        self, model: Model, home: Path
    ) -> None:
        log(model, rows(1))
        writer = SpoolWriter(home, "serving", seals=True)
        writer.append(spooled(model, "a", "b", "c"), sync=False)
        path = home / "spool" / "serving" / "00000001.log"
        content = path.read_bytes()
        size = len(content) // 3
        changed = bytearray(content[size : 2 * size])
        changed[-1] ^= 1
        path.write_bytes(content[:size] + frame(bytes(changed[FRAME.size :])) + content[2 * size :])

        drain_once(home)

        assert {"a", "c"} <= set(frame_of(model=model, start=DAY, end=END).ids)
        assert len(notes(model)) == 3
        assert SpoolCursor.objects.get().torn == 1


class TestKeys:
    def test_serve_a_day_each(self, model: Model) -> None:
        log(model, rows(2))
        log(model, rows(2, start=1))
        LogKey.objects.update(created_at=datetime.now(UTC) - timedelta(days=1, minutes=1))
        log(model, rows(2, start=2))

        first, second, third = (content[:20] for content in stored())

        assert first == second != third
        assert notes(model) == [CANARY] * 6

    def test_goes_once_the_chunks_are_gone_that_were_stored_in_its_day(self, model: Model) -> None:
        for number, age in enumerate((40, 30)):
            log(model, rows(start=number))
            aged = now() - timedelta(days=age)
            LogKey.objects.filter(created_at__gt=now() - timedelta(days=1)).update(created_at=aged)
            PredictionChunk.objects.filter(created_at__gt=aged).update(created_at=aged + timedelta(hours=20))
        kept = LogKey.objects.latest("created_at")
        assert forget_unused_keys() == 0

        PredictionChunk.objects.filter(created_at__lt=kept.created_at).delete()

        assert forget_unused_keys() == 1
        assert list(LogKey.objects.all()) == [kept]
        restart()
        assert len(frame_of(model=model, start=DAY, end=END)) == 10

    def test_nothing_is_written_in_plain_where_there_is_none(self, model: Model, home: Path) -> None:
        (home / KEY_FILE).unlink()

        with pytest.raises(UnableToSeal):
            log(model, rows())

        assert stored() == []


class TestRotation:
    def test_touches_no_chunk_and_seals_what_follows_under_another_key(
        self, model: Model, home: Path
    ) -> None:
        log(model, rows(5))
        before, master = stored(), master_keys(home)[0]
        output = StringIO()

        call_command("rotate_key", "log_key", stdout=output)
        restart()

        assert output.getvalue().startswith("1 key wrapped anew, 0 that no master key opens")
        assert stored() == before
        assert master_keys(home)[0] != master
        log(model, rows(5, start=1))
        assert stored()[-1][:20] != before[0][:20]
        assert notes(model) == [CANARY] * 10

    def test_lets_go_of_old_master_keys_and_still_reads_everything(self, model: Model, home: Path) -> None:
        log(model, rows(5))
        first = master_keys(home)[0]

        for _ in range(2):
            call_command("rotate_key", "log_key", stdout=StringIO())
        restart()

        assert first not in master_keys(home)
        assert len(master_keys(home)) == 2
        assert notes(model) == [CANARY] * 5

    def test_keeps_a_master_key_as_long_as_spool_and_jobs_need_it(self, model: Model, home: Path) -> None:
        log(model, rows(1))
        jobs, job = JobStore(home, sync=False, keep_seconds=60, seals=True), a_job()
        jobs.add(job, b"")
        writer = SpoolWriter(home, "serving", seals=True)
        writer.append(spooled(model, "spooled"), sync=False)

        for _ in range(3):
            call_command("rotate_key", "log_key", stdout=StringIO())
        drain_once(home)

        assert "spooled" in frame_of(model=model, start=DAY, end=END).ids
        assert jobs.find(1, job.id) == OpenJob(job, "queued")


class TestLostKey:
    @pytest.fixture
    def master(self, model: Model, home: Path) -> str:
        """Seal a chunk and a record, and lose the master key; gives its text."""
        log(model, rows())
        writer = SpoolWriter(home, "serving", seals=True)
        writer.append(spooled(model, "spooled"), sync=False)
        text = (home / KEY_FILE).read_text()
        (home / KEY_FILE).write_text("another")
        restart()
        return text

    def test_is_named_by_the_doctor_and_the_invariants(self, home: Path, master: str) -> None:
        found = finding(home)

        assert f"1 need key {LogKey.objects.get().pk.hex}, 1 files" in found.text
        assert str(home / KEY_FILE) in found.remedy
        assert broken() == ["the spool is drained into the log", "every sealed chunk names a key that opens"]

    def test_is_told_to_whoever_reads_with_what_to_do(self, model: Model, master: str) -> None:
        with pytest.raises(LogUnreadable, match=r"run manage\.py doctor") as refused:
            notes(model)

        assert (refused.value.status, refused.value.code) == (503, "log_unreadable")

    def test_does_not_stop_what_is_logged_from_then_on(self, model: Model, home: Path, master: str) -> None:
        log(model, rows(5, start=1))
        other = SpoolWriter(home, "another", seals=True)
        other.append(spooled(model, "later"), sync=False)

        drain_once(home)

        newest = PredictionChunk.objects.latest("pk")
        assert (newest.rows, sealed_chunks.is_sealed(newest.payload)) == (1, True)
        assert not SpoolCursor.objects.filter(name="serving").exists()

    def test_loses_nothing_once_it_is_back(self, model: Model, home: Path, master: str) -> None:
        drain_once(home)
        (home / KEY_FILE).write_text(f"another\n{master}")

        drain_once(home)

        assert notes(model) == [CANARY] * 11
        assert finding(home).is_fine
        assert broken() == []
