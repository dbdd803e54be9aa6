"""Rows in objects of each format, and a source that reads them while its consumers are killed."""

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
from django.db.models import Sum

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.models import PredictionChunk, PredictionRow
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.streams.consumers import Consumers
from tests.waiting import wait_until

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
