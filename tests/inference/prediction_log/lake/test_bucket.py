"""A lake in a bucket: a file is there as a whole or not at all."""

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects import remote_store
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import spool
from inference.prediction_log.erasure.services import request_erasure, resume_erasure
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.services import set_lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores import bucket as lake_bucket
from inference.prediction_log.lake.stores.bucket import LakeBucket
from inference.prediction_log.lake.stores.marker import MARKER
from inference.registry.models import Model
from tests.inference.prediction_log.lake.conftest import let_time_pass, write_due
from tests.inference.prediction_log.sources.objects.bucket_server import BucketServer, bucket_server
from tests.worlds.approvals import DAY, log, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def server(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    settings.OUTBOUND_ALLOW, settings.HOME = ["127.0.0.1/32"], tmp_path
    monkeypatch.setattr(lake_bucket, "PAUSES_SECONDS", (0, 0))
    with bucket_server() as one:
        yield one


@pytest.fixture
def in_bucket(project: Project, server: BucketServer) -> Lake:
    where = LakeSettings(bucket="scores", endpoint=server.address, access_key_id="key", prefix="archive/")
    return set_lake(project=project, settings=where, actor="ada", secret="s3cret")


@pytest.fixture
def due_day(model: Model, in_bucket: Lake) -> str:
    """A day that is to be written; its name in the bucket."""
    log(model, rows_of_a_day(DAY, 5))
    work(model)
    let_time_pass()
    return f"archive/model=approvals/date=2026-01-05/part-{model.pk}-0.parquet"


def days_in(server: BucketServer) -> list[str]:
    return [name for name in server.objects if name != f"archive/{MARKER}"]


def test_a_day_is_one_object(due_day: str, server: BucketServer) -> None:
    write_due()

    assert days_in(server) == [due_day]
    assert pq.read_table(io.BytesIO(server.objects[due_day])).num_rows == 5
    assert not server.uploads


def test_a_large_file_is_uploaded_in_parts(server: BucketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_bucket, "PART_BYTES", 4)
    store = LakeBucket(LakeSettings(bucket="scores", endpoint=server.address), "")

    draft = store.begin("a")
    store.commit("a", draft, store.send("a", draft, io.BytesIO(b"0123456789")))

    assert server.objects == {"a": b"0123456789"}
    store.close()


def test_what_a_killed_writer_uploaded_is_aborted_by_the_next(
    due_day: str, server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(LakeBucket, "commit", _die)
        with pytest.raises(KeyboardInterrupt):
            write_due()
    assert len(server.uploads) == 1
    assert not days_in(server)

    LakeFile.objects.update(lease_until=None)
    write_due()

    assert days_in(server) == [due_day]
    assert not server.uploads


def test_a_refused_key_is_said_without_the_secret(
    due_day: str, in_bucket: Lake, server: BucketServer
) -> None:
    server.answers[due_day] = 403, b"<Error><Code>AccessDenied</Code><Message>s3cret</Message></Error>"

    write_due()

    in_bucket.refresh_from_db()
    assert in_bucket.error == "The bucket refused a request: it answered 403 AccessDenied."


def test_a_completion_that_fails_behind_its_status_is_a_failure(server: BucketServer) -> None:
    store = LakeBucket(LakeSettings(bucket="scores", endpoint=server.address), "")
    server.answers["a"] = 200, b"<Error><Code>InternalError</Code></Error>"

    with pytest.raises(ConnectorFailed, match="did not complete"):
        store.commit("a", "upload-1", [])
    store.close()


def test_an_address_that_the_outbound_rules_forbid_is_never_written_to(
    due_day: str, in_bucket: Lake, server: BucketServer, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = []

    write_due()

    in_bucket.refresh_from_db()
    assert "blocked_address" in in_bucket.error
    assert not server.objects


def test_an_erasure_replaces_the_object(
    project: Project, due_day: str, server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    model = project.models.get()
    log(model, [replace(row, subject="zoe@example.com") for row in rows_of_a_day(DAY, 7)[5:]])
    work(model)
    write_due()

    erasure = request_erasure(project=project, key="zoe@example.com", actor="ada")
    resume_erasure(erasure.pk)

    erasure.refresh_from_db()
    assert erasure.counts["lake_rows"] == 2
    assert pq.read_table(io.BytesIO(server.objects[due_day])).num_rows == 5
    assert not server.uploads


def test_a_bucket_that_was_made_anew_is_not_taken_for_the_lake(
    project: Project, due_day: str, server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    write_due()
    server.objects.clear()

    erasure = request_erasure(project=project, key="zoe@example.com", actor="ada")
    resume_erasure(erasure.pk)

    erasure.refresh_from_db()
    assert erasure.state == Erasure.State.WAITING
    assert f"s3://scores/archive has no {MARKER}" in erasure.waiting_for


def test_an_erasure_downloads_little_of_a_large_file_without_the_person(
    project: Project, due_day: str, server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    monkeypatch.setattr(remote_store, "READ_AHEAD_BYTES", 1_000)
    monkeypatch.setattr(remote_store, "MAX_OBJECT_BYTES", 100)  # which an object of a source may have
    model = project.models.get()
    log(model, rows_of_a_day(DAY + timedelta(days=1), 10_000))
    work(model)
    let_time_pass()
    write_due()
    [large] = [name for name in days_in(server) if "date=2026-01-06" in name]
    server.requests.clear()

    erasure = request_erasure(project=project, key="zoe@example.com", actor="ada")
    resume_erasure(erasure.pk)

    erasure.refresh_from_db()
    ranges = [headers["range"].removeprefix("bytes=") for key, headers in server.requests if key == large]
    received = sum(int(last) + 1 - int(first) for first, _, last in (one.partition("-") for one in ranges))
    assert (erasure.state, erasure.waiting_for) == (Erasure.State.DONE, "")
    assert 0 < received < len(server.objects[large]) / 2


def test_an_erasure_reads_a_day_without_the_person_once(
    project: Project, due_day: str, server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SETTLED_AFTER", timedelta(0))
    model = project.models.get()
    log(model, [replace(row, subject="zoe@example.com") for row in rows_of_a_day(DAY, 7)[5:]])
    log(model, rows_of_a_day(DAY + timedelta(days=1), 5))
    work(model)
    let_time_pass()
    write_due()
    server.requests.clear()

    erasure = request_erasure(project=project, key="zoe@example.com", actor="ada")
    resume_erasure(erasure.pk)

    erasure.refresh_from_db()
    assert erasure.counts["lake_rows"] == 2
    of_others = [key for key, _ in server.requests if "date=2026-01-06" in key]
    assert len(of_others) == 2  # its end and its columns


def _die(*_: object) -> None:
    raise KeyboardInterrupt
