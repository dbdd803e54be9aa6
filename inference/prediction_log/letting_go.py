"""Takes out of the log what is kept in summaries alone, for whoever adds it to them in the same commit.

Of rows of a model that keeps none there stay the narrow row of each, which refuses its id as long as anybody's, and
what the rows of a day were together. Shadows' copies go first: their labels are those of the answers. Of the values of
a single feature there stays an empty column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any

import pyarrow as pa
from django.db.models import QuerySet

from driftline.common.work import touch
from inference.prediction_log import labels
from inference.prediction_log.chunk_rows import read_rows
from inference.prediction_log.chunk_schemas import schemas_of
from inference.prediction_log.compaction import add_to_day, recount_day
from inference.prediction_log.damaged_chunks import mark_damaged
from inference.prediction_log.label_reads import labels_in_chunks, labels_in_rows
from inference.prediction_log.models import Label, PackedDay, PredictionChunk, SummedDay, TouchedPeriod
from inference.prediction_log.packing import without_values, write
from inference.prediction_log.sealed_chunks import ChunkDamaged, sealer
from inference.prediction_log.selectors import LogFrame, describe_damaged, frame_from, read_parts
from inference.prediction_log.signals import periods_touched
from inference.registry.models import Model

ROWS_AT_ONCE = 100_000  # of one commit
_CHUNKS_AT_ONCE = 500


# -- when a model stops keeping rows -----------------------------------------------------------------------------------
def begin(model: Model) -> None:
    """Have what is stored of a model summarised and let go, in the transaction that says so.

    Under the lock of its labels: whoever writes some later finds that the model takes none. Those that wait for
    their prediction could never join one.
    """
    labels.lock(model.pk, exclusive=True)
    Label.objects.filter(model=model, prediction_time=None).delete()
    touch_stored(model)


def touch_stored(model: Model) -> None:
    """Have each day that has rows looked at, in the caller's transaction."""
    stored = {
        (model.pk, version_id, role, start.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
        for rows in _stored(model)
        for version_id, role, start in rows.values_list("version_id", "role", "start")
    }
    touch(TouchedPeriod, stored, fields=labels.TOUCHED_FIELDS)
    periods_touched.send(sender=TouchedPeriod, model_id=model.pk)


def _stored(model: Model) -> list[QuerySet[Any]]:
    """Give the fresh chunks and the packed days, the shadows' first; no day's partition is opened."""
    fresh, packed = (
        PredictionChunk.objects.filter(model=model, is_packed=False),
        PackedDay.objects.filter(model=model),
    )
    copies: list[QuerySet[Any]] = [fresh.filter(role="shadow"), packed.filter(role="shadow")]
    return [*copies, fresh.exclude(role="shadow"), packed.exclude(role="shadow")]


# -- rows that go ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Taken:
    """Chunks of one version, role and event day, locked until the caller's transaction ends, and their rows."""

    model: Model
    version_id: int
    role: str
    day: date
    chunks: Sequence[PredictionChunk]  # without what is in them
    frame: LogFrame
    ids: Sequence[tuple[str, int, str | None]]  # id, event time in microseconds, client id


type StoredDay = tuple[int, str, date]
"""Version, role and event day of rows."""


def take_rows(model: Model, only: StoredDay | None = None) -> Taken | None:
    """Lock and read some rows that are still stored, of one day where it is named; None where there are none."""
    while (found := _next_day(model, only)) is not None:
        version_id, role, day = found
        same = PredictionChunk.objects.filter(model=model, version_id=version_id, role=role, day=day)
        if chunks := _lock_some(same):  # else they were packed meanwhile
            return _read(model, same, chunks)
    return None


def take_values(
    model: Model, *, version_id: int, role: str, day: date, features: Sequence[str]
) -> Taken | None:
    """Lock and read some rows of a day of which a chunk still holds values of these features; None where none does."""
    same = PredictionChunk.objects.filter(model=model, version_id=version_id, role=role, day=day, damage="")
    columns = {f"f:{name}" for name in features}
    while holding := [pk for pk, schema in schemas_of(same) if _holds_any(schema, columns)]:
        if chunks := _lock_some(same.filter(pk__in=holding)):
            return _read(model, same, chunks)
    return None


def _holds_any(schema: pa.Schema, columns: set[str]) -> bool:
    return any(field.name in columns and not pa.types.is_null(field.type) for field in schema)


def _next_day(model: Model, only: StoredDay | None) -> StoredDay | None:
    for rows in _stored(model):
        if only is not None:
            rows = rows.filter(version_id=only[0], role=only[1], day=only[2])
        if (found := rows.order_by("day", "pk").values_list("version_id", "role", "day").first()) is not None:
            return found
    return None


def _lock_some(chunks: QuerySet[PredictionChunk]) -> list[PredictionChunk]:
    locked = chunks.order_by("pk").defer("payload", "id_hashes", "labels").select_for_update()
    taken, rows = [], 0
    for chunk in locked[:_CHUNKS_AT_ONCE]:
        if rows >= ROWS_AT_ONCE:
            break
        taken.append(chunk)
        rows += chunk.rows
    return taken


def _read(model: Model, same: QuerySet[PredictionChunk], chunks: Sequence[PredictionChunk]) -> Taken:
    start = min(chunk.start for chunk in chunks)
    end = max(chunk.end for chunk in chunks) + timedelta(microseconds=1)
    told = labels_in_rows(model, start, end)
    if chunks[0].role == "shadow":
        told = labels_in_chunks(model, start, end) | told
    picked = same.filter(pk__in=[chunk.pk for chunk in chunks]).order_by("pk")
    parts, damaged = read_parts(picked)
    mark_damaged(describe_damaged(picked, damaged))
    ids = [row for part in parts for row in _ids_of(part.rows)]
    first = chunks[0]
    return Taken(model, first.version_id, first.role, first.day, chunks, frame_from(parts, told), ids)


def _ids_of(rows: pa.RecordBatch) -> Iterator[tuple[str, int, str | None]]:
    columns = rows.column("id"), rows.column("time").cast(pa.int64()), rows.column("client_id")
    return zip(*(column.to_pylist() for column in columns), strict=True)


def let_go(taken: Taken) -> None:
    """Delete the chunks with the labels of their rows, and count the rows among those that were."""
    if taken.role != "shadow" and Label.objects.filter(model=taken.model).exists():
        labels.forget(taken.model.pk, taken.ids)  # nobody writes one any more: see begin
    for is_packed in (False, True):
        keys = [chunk.pk for chunk in taken.chunks if chunk.is_packed is is_packed]
        PredictionChunk.objects.filter(day=taken.day, is_packed=is_packed, pk__in=keys).delete()
    for chunk in taken.chunks:
        add_to_day(SummedDay, chunk, rows=chunk.rows)
    by_week = {chunk.week: chunk for chunk in taken.chunks if chunk.is_packed}
    for chunk in by_week.values():
        recount_day(chunk)


def let_go_of_values(taken: Taken, features: Sequence[str]) -> None:
    """Write the chunks anew without the values of these features."""
    columns = {f"{kind}:{name}" for name in features for kind in "fn"}
    for chunk in taken.chunks:
        own = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
        try:
            batch = read_rows(own.values_list("payload", flat=True).get())
        except ChunkDamaged:
            continue
        own.update(payload=sealer()(write(without_values(batch, columns))))
