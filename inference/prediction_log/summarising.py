"""Hands rows to whoever summarises them, each exactly once, and lets go of what is kept in summaries alone.

The life of a row: it is stored in a chunk that no summary counts; `take_rows` locks and reads some such chunks;
`keep` marks them in the commit that changes the summaries, or lets go of them. Of a model that keeps no rows there then
stay the narrow row of each, which refuses its id as long as anybody's, and what the rows of a day were together. Of the
values of a feature that is kept in summaries alone there stays an empty column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from django.db.models import QuerySet

from driftline.common.work import touch
from inference.prediction_log import labels
from inference.prediction_log.chunk_rows import read_rows
from inference.prediction_log.chunk_schemas import schemas_of
from inference.prediction_log.compaction import add_to_day, recount_day
from inference.prediction_log.damaged_chunks import mark_damaged, mark_read
from inference.prediction_log.label_reads import labels_in_chunks, labels_in_rows
from inference.prediction_log.models import Label, PackedDay, PredictionChunk, SummedDay, TouchedPeriod
from inference.prediction_log.packing import without_values, write
from inference.prediction_log.privacy import SUMMARY
from inference.prediction_log.relabelled import as_counted
from inference.prediction_log.sealed_chunks import ChunkDamaged, sealer
from inference.prediction_log.selectors import LogFrame, describe_damaged, frame_from, read_parts
from inference.prediction_log.signals import periods_touched
from inference.registry.models import Model, RowsKept

ROWS_AT_ONCE = 100_000  # of one commit
_CHUNKS_AT_ONCE = 500

type StoredDay = tuple[int, str, date]
"""Version, role and event day of rows."""


@dataclass(frozen=True)
class Taken:
    """Chunks of one version, role and event day, locked until the caller's transaction ends, and their rows."""

    model: Model
    version_id: int
    role: str
    day: date
    chunks: Sequence[PredictionChunk]  # without what is in them
    parts: Sequence[Any]
    frame: LogFrame


# -- rows that no summary counts yet -----------------------------------------------------------------------------------
def take_rows(model: Model, stored: StoredDay) -> Taken | None:
    """Lock and read some of a day's rows that no summary counts, with the labels that are counted; None where none are.

    Chunks that cannot be read are marked, and left.
    """
    fresh = _of_day(model, stored).filter(is_summarised=False, damage="")
    while fresh.exists():  # asked again: what was locked may have been packed meanwhile
        chunks = _lock_some(fresh)
        if chunks and (taken := _read(model, stored, chunks)) is not None:
            return taken
    return None


def keep(taken: Taken) -> None:
    """Mark rows as counted, in the caller's transaction, or let go of them or of some values as their model wants."""
    if taken.model.rows_kept == RowsKept.NONE:
        _let_go(taken)
        return
    own = _of_day(taken.model, (taken.version_id, taken.role, taken.day))
    own.filter(pk__in=[chunk.pk for chunk in taken.chunks]).update(is_summarised=True)
    if features := features_let_go(taken.model):
        _let_go_of_values(taken.chunks, features)


def look_again(model: Model, stored: StoredDay) -> bool:
    """Try a day's damaged chunks once more; tells whether one opens again that summaries count."""
    damaged = _of_day(model, stored).exclude(damage="")
    before = dict(damaged.values_list("pk", "is_summarised"))
    if not before:
        return False
    _, reasons = read_parts(damaged)
    mark_read(damaged, list(describe_damaged(damaged, reasons)))
    return any(is_summarised for pk, is_summarised in before.items() if pk not in reasons)


def _of_day(model: Model, stored: StoredDay) -> QuerySet[PredictionChunk]:
    version_id, role, day = stored
    return PredictionChunk.objects.filter(model=model, version_id=version_id, role=role, day=day)


def _lock_some(chunks: QuerySet[PredictionChunk]) -> list[PredictionChunk]:
    locked = chunks.order_by("pk").defer("payload", "id_hashes", "labels").select_for_update()
    taken, rows = [], 0
    for chunk in locked[:_CHUNKS_AT_ONCE]:
        if rows >= ROWS_AT_ONCE:
            break
        taken.append(chunk)
        rows += chunk.rows
    return taken


def _read(model: Model, stored: StoredDay, chunks: Sequence[PredictionChunk]) -> Taken | None:
    """Read chunks; None where none of them opens."""
    start = min(chunk.start for chunk in chunks)
    end = max(chunk.end for chunk in chunks) + timedelta(microseconds=1)
    told = labels_in_rows(model, start, end)
    if stored[1] == "shadow":
        told = labels_in_chunks(model, start, end) | told
    counted = as_counted(model, told, start, end)
    picked = _of_day(model, stored).filter(pk__in=[chunk.pk for chunk in chunks]).order_by("pk")
    parts, damaged = read_parts(picked)
    mark_damaged(describe_damaged(picked, damaged))
    whole = [chunk for chunk in chunks if chunk.pk not in damaged]
    return Taken(model, *stored, whole, parts, frame_from(parts, counted)) if whole else None


# -- what is kept in summaries alone -----------------------------------------------------------------------------------
def begin(model: Model) -> None:
    """Have what is stored of a model summarised and let go, in the transaction that says so.

    Under the lock of its labels: whoever writes some later finds that the model takes none. Those that wait for
    their prediction could never join one.
    """
    labels.lock(model.pk, exclusive=True)
    Label.objects.filter(model=model, prediction_time=None).delete()
    touch_stored(model)


def touch_stored(model: Model) -> None:
    """Have each day that has rows looked at, in the caller's transaction; no day's partition is opened."""
    fresh = PredictionChunk.objects.filter(model=model, is_packed=False)
    stored = {
        (model.pk, version_id, role, start.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
        for rows in (fresh, PackedDay.objects.filter(model=model))
        for version_id, role, start in rows.values_list("version_id", "role", "start")
    }
    touch_again(stored)
    periods_touched.send(sender=TouchedPeriod, model_id=model.pk)


def touch_again(hours: set[tuple[int, int, str, datetime]]) -> None:
    """Have the summaries of these hours made anew, by model, version, role and start, in the caller's transaction."""
    touch(TouchedPeriod, hours, fields=labels.TOUCHED_FIELDS)
    days: dict[tuple[int, int, str], list[datetime]] = {}
    for *source, hour in hours:
        days.setdefault(tuple(source), []).append(hour)  # type: ignore[arg-type]
    for (model_id, version_id, role), some in days.items():
        TouchedPeriod.objects.filter(
            model_id=model_id, version_id=version_id, role=role, hour__in=some
        ).update(rebuild=True)


def let_go_of_counted(model: Model, stored: StoredDay) -> bool:
    """Let go of some of a day's rows, or of their values, that summaries counted before their model wanted this."""
    counted = _of_day(model, stored).filter(is_summarised=True, damage="")
    if model.rows_kept == RowsKept.NONE:
        chunks = _lock_some(counted)
        if not chunks:
            return False
        if (taken := _read(model, stored, chunks)) is not None:
            _let_go(taken)
        return True  # those that did not open are marked
    features = features_let_go(model)
    columns = {f"f:{name}" for name in features}
    holding = [pk for pk, schema in schemas_of(counted) if _holds_any(schema, columns)] if columns else []
    chunks = _lock_some(counted.filter(pk__in=holding)) if holding else []
    _let_go_of_values(chunks, features)
    return bool(chunks)


def features_let_go(model: Model) -> list[str]:
    """Name the features whose values are kept in summaries alone."""
    return [name for name, policy in model.privacy.items() if policy == SUMMARY]


def _holds_any(schema: pa.Schema, columns: set[str]) -> bool:
    return any(field.name in columns and not pa.types.is_null(field.type) for field in schema)


def _let_go(taken: Taken) -> None:
    """Delete chunks with the labels of their rows, and count the rows among those that were."""
    if taken.role != "shadow" and Label.objects.filter(model=taken.model).exists():
        ids = [row for part in taken.parts for row in _ids_of(part.rows)]
        labels.forget(taken.model.pk, ids)  # nobody writes one any more: see begin
    for is_packed in (False, True):
        keys = [chunk.pk for chunk in taken.chunks if chunk.is_packed is is_packed]
        PredictionChunk.objects.filter(day=taken.day, is_packed=is_packed, pk__in=keys).delete()
    for chunk in taken.chunks:
        add_to_day(SummedDay, chunk, rows=chunk.rows)
    by_week = {chunk.week: chunk for chunk in taken.chunks if chunk.is_packed}
    for chunk in by_week.values():
        recount_day(chunk)


def _ids_of(rows: pa.RecordBatch) -> Iterator[tuple[str, int, str | None]]:
    columns = rows.column("id"), rows.column("time").cast(pa.int64()), rows.column("client_id")
    return zip(*(column.to_pylist() for column in columns), strict=True)


def _let_go_of_values(chunks: Sequence[PredictionChunk], features: Sequence[str]) -> None:
    """Write chunks anew without the values of these features."""
    columns = {f"{kind}:{name}" for name in features for kind in "fn"}
    for chunk in chunks:
        own = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
        try:
            batch = read_rows(own.values_list("payload", flat=True).get())
        except ChunkDamaged as error:
            mark_damaged(describe_damaged(own, {chunk.pk: error.reason}))
            continue
        own.update(payload=sealer()(write(without_values(batch, columns))))
