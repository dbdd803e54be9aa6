"""One day of the log: written, packed, weighed and read, as `storage_bench` asks."""

import io
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.csv
from django.db import connection, transaction
from numpy.typing import NDArray

from driftline.base.accounts.models import Project
from driftline.base.ids import new_id
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.items import LabelItem, as_objects
from inference.prediction_log.labels.folding import fold_labels
from inference.prediction_log.labels.services import log_labels
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.selectors import frame_of, prediction
from inference.prediction_log.retention.expiry import drop_week
from inference.prediction_log.rows.sent_columns import PredictionBatch, SentColumns
from inference.prediction_log.storage import partitions
from inference.prediction_log.storage.compaction import find_unpacked, pack_next
from inference.registry.models import Model
from inference.registry.services import create_model

DAY = datetime(2026, 1, 5, tzinfo=UTC)
DAY_US = 86_400_000_000
BATCH = 500
FEATURES = [f"feature_{place:02}" for place in range(30)]
PACK_EVERY = 100  # batches: workers pack what is enough for large chunks every half a minute
LABELS_A_REQUEST = 500

type Table = NDArray[np.float64]


def measure(*, rows: int, rounds: int) -> dict[str, Any]:
    """Log, pack, label, weigh and read a day of so many rows, and check what is read."""
    model = create_model(
        project=Project.objects.create(slug="bench", name="Bench"), name="m", task="binary", actor="bench"
    )
    sent = np.random.default_rng(20260105).normal(size=(rows, len(FEATURES))).round(6)
    ids = sorted(new_id() for _ in range(rows))  # as a day's are, of which few share a millisecond
    pack_cpu = _log_day(model, sent, ids)
    label_us = _label(model, ids)
    sizes = _bytes()
    batch_cpu = {
        "ids made in order": _batch_cpu(model, new_id),
        "random ids": _batch_cpu(model, lambda: str(uuid4())),
        "random ids, the week before as full": _batch_cpu_beside_last_week(model),
    }
    _forget_batches(model)
    for week in partitions.WEEKS.starts():
        drop_week(week)
    fold_cpu = _fold()
    folded = _bytes()["packed"] - sizes["packed"]
    lookup = _timed(lambda: _look_up(model, random.Random(1).choice(ids)))
    began = time.process_time()
    read = [_timed(lambda: _read(model, sent)) for _ in range(rounds)]
    read_cpu = (time.process_time() - began) / rounds
    _fill_wide(sent, ids)
    wide = [_timed(lambda: _read_wide(sent)) for _ in range(rounds)]
    weight = {
        "packed": sizes["packed"] / rows,
        "narrow": sizes["narrow"] / rows,
        "label": sizes["label"] / rows,
        "folded": folded / rows,
    }
    weight["inside"] = weight["packed"] + weight["narrow"] + weight["label"]
    weight["after"] = weight["packed"] + weight["folded"]
    return {
        "rows": rows,
        "bytes_a_row": weight,
        "wide_bytes_a_row": _size("wide") / rows,
        "fresh_mb": sizes["fresh"] / 1e6,
        "read_s": _spread(read),
        "wide_read_s": _spread(wide),
        "read_ratio": _spread([other / own for own, other in zip(read, wide, strict=True)]),
        "lookup_ms": lookup * 1e3,
        "pack_us": pack_cpu * 1e6 / rows,
        "label_us": label_us,
        "fold_us": fold_cpu * 1e6 / rows,
        "read_cpu_s": read_cpu,
        "batch_cpu_ms": batch_cpu,
    }


# -- writing -----------------------------------------------------------------------------------------------------------
def _log_day(model: Model, sent: Table, ids: list[str]) -> float:
    """Log the rows in batches, packing now and then; returns the processor time that packing took here."""
    packing = 0.0
    times = np.sort(np.random.default_rng(1).integers(0, DAY_US, len(sent)))
    for number, start in enumerate(range(0, len(sent), BATCH), 1):
        part = slice(start, start + BATCH)
        _send(model, sent[part], ids[part], times[part])
        if number % PACK_EVERY == 0:
            packing += _pack()
            _vacuum("inference_predictionchunk_fresh")  # as autovacuum does
    PredictionChunk.objects.filter(is_packed=False).update(created_at=datetime.now(UTC) - timedelta(hours=2))
    return packing + _pack()


def _send(model: Model, values: Table, ids: list[str], times: NDArray[np.int64]) -> None:
    n = len(ids)
    nothing = np.full(n, None, object)
    columns = SentColumns(
        places=np.arange(n),
        ids=as_objects(ids),
        times_us=round(DAY.timestamp() * 1e6) + times,
        versions=np.full(n, "1", object),
        roles=np.full(n, "champion", object),
        predictions=as_objects(np.where(values[:, 0] > 0, "1", "0").tolist()),
        probabilities=None,
        latency_ms=np.abs(values[:, 1]).round(3),
        subjects=nothing,
        tags=nothing,
        features=dict(zip(FEATURES, np.ascontiguousarray(values.T), strict=True)),
        body_hash=np.arange(n),
    )
    result = log_predictions(model=model, batch=PredictionBatch(columns), now=datetime.now(UTC))
    if result.accepted != n:
        raise AssertionError(f"{result.accepted} of {n} rows were accepted.")


def _pack() -> float:
    began = time.process_time()
    find_unpacked()
    while pack_next():
        pass
    return time.process_time() - began


def _label(model: Model, ids: list[str]) -> dict[str, float]:
    """Label every row in the order of arrival, half an hour or so later; returns the processor time a label."""
    dice = np.random.default_rng(4)
    lags_ms, values = (
        dice.gamma(2.0, 900_000, len(ids)).astype(int).tolist(),
        dice.choice(["0", "1"], len(ids)),
    )
    pid = _backend()
    ours, database = time.process_time(), _cpu_ns(pid)
    for start in range(0, len(ids), LABELS_A_REQUEST):
        items = [
            LabelItem(
                id=ids[place], label=values[place], timestamp=DAY + timedelta(milliseconds=lags_ms[place])
            )
            for place in range(start, min(start + LABELS_A_REQUEST, len(ids)))
        ]
        log_labels(model=model, items=items, source="dl_bench", now=datetime.now(UTC))
    return {
        "server": (time.process_time() - ours) * 1e6 / len(ids),
        "database": (_cpu_ns(pid) - database) / 1e3 / len(ids),
    }


def _fold() -> float:
    began = time.process_time()
    fold_labels()
    return time.process_time() - began


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


# -- the database's processor time -------------------------------------------------------------------------------------
def _batch_cpu(model: Model, make_id: Callable[[], str], batches: int = 60) -> float:
    pid = _backend()
    values, times = np.random.default_rng(2).normal(size=(BATCH, len(FEATURES))).round(6), np.arange(BATCH)
    used = []
    for _ in range(batches):
        ids = [make_id() for _ in range(BATCH)]
        before = _cpu_ns(pid)
        _send(model, values, ids, times)
        used.append((_cpu_ns(pid) - before) / 1e6)
    return statistics.median(used[batches // 4 :])


def _batch_cpu_beside_last_week(model: Model) -> float:
    """Have all rows have arrived a week before, among random ids: then each batch looks for its ids there."""
    this = partitions.WEEKS.starts()[0]
    partitions.WEEKS.make([this - timedelta(weeks=1)])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE inference_predictionrow SET week = week - 7, prediction_id = gen_random_uuid()::text"
        )
    _vacuum("inference_predictionrow")
    return _batch_cpu(model, lambda: str(uuid4()))


def _cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _forget_batches(model: Model) -> None:
    PredictionChunk.objects.filter(model=model, is_packed=False).delete()


# -- sizes -------------------------------------------------------------------------------------------------------------
def _bytes() -> dict[str, float]:
    tables = {
        "packed": "inference_predictionchunk_packed",
        "fresh": "inference_predictionchunk_fresh",
        "narrow": "inference_predictionrow",
        "label": "inference_label",
    }
    for table in tables.values():
        _vacuum(table)
    return {name: _size(table) for name, table in tables.items()}


def _size(table: str) -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(%s::regclass)), "
            "pg_total_relation_size(%s::regclass))",
            [table, table],
        )
        return float(cursor.fetchone()[0])


def _vacuum(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) {table}")


# -- reading -----------------------------------------------------------------------------------------------------------
def _read(model: Model, sent: Table) -> None:
    frame = frame_of(model=model, start=DAY, end=DAY + timedelta(days=1))
    if not frame.is_labelled.all():
        raise AssertionError("A label is missing.")
    total = sum(float(frame.features[name].sum()) for name in FEATURES)
    _check(total, len(frame), sent)


def _look_up(model: Model, id_: str) -> None:
    found = prediction(model=model, prediction_id=id_)
    if found is None or found["id"] != id_:
        raise AssertionError(f"{id_} was not found.")


def _check(total: float, rows: int, sent: Table) -> None:
    if rows != len(sent) or abs(total - float(sent.sum())) > 1e-3:
        raise AssertionError(
            f"{rows} rows with the sum {total} were read, not {len(sent)} with {sent.sum()}."
        )


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# -- the peer ----------------------------------------------------------------------------------------------------------
def _fill_wide(sent: Table, ids: list[str]) -> None:
    """Write the rows into one plain table with the numbers as double precision."""
    columns = ", ".join(f"{name} double precision" for name in FEATURES)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE wide (id text PRIMARY KEY, model bigint, version text, ts timestamptz, "
            f"prediction text, latency_ms double precision, {columns}); CREATE INDEX ON wide (model, ts)"
        )
        for part in _csv(sent, ids):
            cursor.copy_expert("COPY wide FROM STDIN (FORMAT csv)", part)
    _vacuum("wide")


def _csv(sent: Table, ids: list[str]) -> Iterator[io.BytesIO]:
    for start in range(0, len(ids), 50_000):
        part, count = sent[start : start + 50_000], len(ids[start : start + 50_000])
        columns: dict[str, Any] = {
            "id": ids[start : start + 50_000],
            "model": np.ones(count, np.int64),
            "version": ["1"] * count,
            "ts": pa.array(round(DAY.timestamp() * 1e6) + np.arange(count), pa.timestamp("us")),
            "prediction": np.where(part[:, 0] > 0, "1", "0").tolist(),
            "latency_ms": np.abs(part[:, 1]).round(3),
        }
        columns |= {name: np.ascontiguousarray(part[:, place]) for place, name in enumerate(FEATURES)}
        sink = io.BytesIO()
        pyarrow.csv.write_csv(pa.table(columns), sink, pyarrow.csv.WriteOptions(include_header=False))
        sink.seek(0)
        yield sink


def _read_wide(sent: Table) -> None:
    """Read the features by binary COPY: none is missing, so a row is one record."""
    sink = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY (SELECT {', '.join(FEATURES)} FROM wide) TO STDOUT (FORMAT binary)", sink)
    field = np.dtype([("length", ">i4"), ("value", ">f8")])
    record = np.dtype([("fields", ">i2"), ("values", field, (len(FEATURES),))])
    rows = np.frombuffer(sink.getbuffer()[19:-2], record)
    columns = np.ascontiguousarray(rows["values"]["value"].T, np.float64)
    _check(float(columns.sum()), len(rows), sent)


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "runs": len(values),
    }
