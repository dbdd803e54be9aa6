"""Every row of a bucket, and of a folder, is in the log once, though the consumer is killed again and again."""

import gzip
import os
import random
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from django.db.models import Sum

from driftline.common.clock import now
from driftline.common.periods import rfc3339
from inference.prediction_log.models import PredictionChunk, PredictionRow
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source, SourceObject
from inference.prediction_log.sources.objects.progress import ALL_OBJECTS
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.streams.consumers import Consumers, consumers_of
from tests.streams.object_store import BUCKET, object_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

ROWS = int(os.environ.get("DRIFTLINE_TEST_STREAM_ROWS", 100_000))
OBJECTS, KILLS = 30, 5
PATIENCE_SECONDS = 900.0
COLUMNS = 10


def make_source(model: Model, secret: str = "", **where: Any) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name="files",
        what="predictions",
        settings=ObjectsSettings(**where),
        mapping=SourceMapping(default_version="1"),
        secret=secret,
    )


def table_of(start: int, count: int) -> pa.Table:
    numbers = range(start, start + count)
    columns = {f"x{column}": [(n * 7 + column) % 1000 / 10 for n in numbers] for column in range(COLUMNS)}
    return pa.table(
        {
            "id": [f"row-{n}" for n in numbers],
            "timestamp": [rfc3339(now())] * count,
            "prediction": [n % 2 for n in numbers],
            **columns,
        }
    )


def write_objects(folder: Path, rows: int) -> None:
    """Write a third as Parquet of several row groups, a third as CSV and a third as packed NDJSON."""
    size = -(-rows // OBJECTS)
    folder.mkdir()
    for number in range(OBJECTS):
        table = table_of(number * size, min(size, rows - number * size))
        path = folder / f"{number:03}"
        if number % 3 == 0:
            pq.write_table(table, path.with_suffix(".parquet"), row_group_size=1_000)
        elif number % 3 == 1:
            pa.csv.write_csv(table, path.with_suffix(".csv"))
        else:
            lines = b"\n".join(orjson.dumps(row) for row in table.to_pylist())
            path.with_suffix(".ndjson.gz").write_bytes(gzip.compress(lines))


def stored(source: Source) -> int:
    return source.positions.aggregate(n=Sum("messages", default=0))["n"]


def read_with_kills(source: Source, consumers: Consumers, kills: int) -> float:
    """Have one consumer read while another stands by, and kill one of them again and again; returns seconds."""
    began = time.monotonic()
    for number in range(2):
        consumers.start(number)
    for kill in range(kills):
        goal = ROWS * (kill + random.random()) / (kills + 1)
        wait_for(source, consumers, goal)
        victim = random.randrange(2)
        consumers.kill(victim)
        consumers.start(victim)
    wait_for(source, consumers, ROWS)
    return time.monotonic() - began


def wait_for(source: Source, consumers: Consumers, count: float) -> None:
    def is_stored() -> bool:
        consumers.check()
        return stored(source) >= count

    wait_until(is_stored, seconds=PATIENCE_SECONDS, what=f"{count:,.0f} rows")


def assert_each_row_once(model: Model) -> None:
    ids = PredictionRow.objects.filter(model=model).values_list("prediction_id", flat=True)
    assert (ids.count(), ids.distinct().count()) == (ROWS, ROWS)
    assert PredictionChunk.objects.filter(model=model).aggregate(n=Sum("rows"))["n"] == ROWS
    assert not DeadLetter.objects.exists()


def say(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n  {text} ", end="", flush=True)


def test_a_bucket_that_checks_signatures(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_objects(tmp_path / "bucket", ROWS)
    with object_server(tmp_path) as server, consumers_of("files", tmp_path) as consumers:
        key_id, secret = server.fill(tmp_path / "bucket")
        where = {"bucket": BUCKET, "endpoint": server.url, "access_key_id": key_id, "interval_seconds": 5}
        source = make_source(model, secret, **where)
        seconds = read_with_kills(source, consumers, KILLS)
        wait_until(
            lambda: dict(source.positions.values_list("partition", "next_offset")) == {ALL_OBJECTS: OBJECTS},
            what="the end of the last object",
        )
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    say(
        f"{ROWS:,} rows of {OBJECTS} objects, {KILLS} kills: {seconds:.0f} s, {ROWS / seconds:,.0f} rows/s",
        capsys,
    )
    assert_each_row_once(model)
    assert stored(source) == ROWS
    assert SourceObject.objects.filter(is_whole=True).count() == OBJECTS
    assert statuses_of([source])[source.pk].lag_objects == 0


def test_a_wrong_secret_is_said(model: Model, tmp_path: Path) -> None:
    write_objects(tmp_path / "bucket", OBJECTS)
    with object_server(tmp_path) as server, consumers_of("files", tmp_path) as consumers:
        key_id, _ = server.fill(tmp_path / "bucket")
        source = make_source(model, "another", bucket=BUCKET, endpoint=server.url, access_key_id=key_id)
        consumers.start(0)
        wait_until(lambda: statuses_of([source])[source.pk].error, seconds=60, what="the refusal")
        said = statuses_of([source])[source.pk].error
        assert consumers.stop(0) == 0

    assert "403 SignatureDoesNotMatch" in said


def test_one_large_file_of_a_folder(
    model: Model, tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.SOURCE_FOLDERS = [str(tmp_path)]
    folder = tmp_path / "folder"
    folder.mkdir()
    pa.csv.write_csv(table_of(0, ROWS), folder / "all.csv")
    os.utime(folder / "all.csv", (1, 1))
    source = make_source(model, folder=str(folder), interval_seconds=5)

    with consumers_of("files", tmp_path, DRIFTLINE_SOURCE_FOLDERS=str(tmp_path)) as consumers:
        seconds = read_with_kills(source, consumers, KILLS)
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    say(f"{ROWS:,} rows of one CSV, {KILLS} kills: {seconds:.0f} s, {ROWS / seconds:,.0f} rows/s", capsys)
    assert_each_row_once(model)
