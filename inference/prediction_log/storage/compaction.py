"""Packs fresh chunks of one version, role and day into large ones.

Chunks are taken under row locks and replaced in one commit: whoever is killed or stalls leaves them as they were, and
a reader's statement sees the parts or the whole. Large enough ones are packed at once; what is left over is packed
when it is old or many, together with the small chunks that were packed before.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
from django.db import connection, transaction
from django.db.models import Count, Min, Q, QuerySet, Sum
from django.db.models.functions import Now

from driftline.base.work.work_rows import finish
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged, sealer
from inference.prediction_log.models import (
    DayOfRows,
    PackedDay,
    PredictionChunk,
    PredictionRow,
    UnpackedDay,
    UnsentChunk,
    size_of,
)
from inference.prediction_log.storage import hooks, partitions
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.damaged_chunks import MAX_REASON
from inference.prediction_log.storage.id_hashes import write_hashes
from inference.prediction_log.storage.packing import Shape, pack, shape_of

CHUNK_ROWS = 10_000
CHUNK_BYTES = 64 << 20  # or as many rows as take so much: PostgreSQL keeps no value of a gigabyte
MANY_CHUNKS = 500  # a reader opens each of them
MAX_FRESH_AGE = timedelta(hours=1)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    """A chunk with its rows."""

    chunk: PredictionChunk
    batch: pa.RecordBatch


# -- what is to be done ------------------------------------------------------------------------------------------------
def find_unpacked() -> int:
    """Make a work row for each day with fresh chunks that can be packed now; returns how many there are."""
    groups = (
        PredictionChunk.objects.filter(is_packed=False)
        .values("model_id", "version_id", "role", "day")
        .annotate(chunks=Count("*"), stored=Sum("rows"), oldest=Min("created_at"))
        .filter(Q(stored__gte=CHUNK_ROWS) | Q(chunks__gte=MANY_CHUNKS) | Q(oldest__lt=Now() - MAX_FRESH_AGE))
        .values_list("model_id", "version_id", "role", "day")
    )
    found = [
        UnpackedDay(model_id=model_id, version_id=version_id, role=role, day=day)
        for model_id, version_id, role, day in groups
    ]
    UnpackedDay.objects.bulk_create(found, ignore_conflicts=True)
    return len(found)


def pack_next() -> bool:
    """Claim one day's fresh chunks and pack what can be packed now; False where nothing is due."""
    with transaction.atomic():
        claimed = UnpackedDay.objects.claim(limit=1)
    for unpacked in claimed:
        partitions.DAYS.make([unpacked.day])
        while _pack_some(unpacked):
            pass
        finish([unpacked])
    return bool(claimed)


# -- one commit --------------------------------------------------------------------------------------------------------
@transaction.atomic
def _pack_some(unpacked: UnpackedDay) -> bool:
    """Replace the oldest fresh chunks, up to one large chunk's worth; False where none may be packed yet."""
    parts = _take_parts(unpacked)
    alike: dict[Shape, list[_Part]] = {}
    for chunk in parts:
        try:
            batch = read_rows(chunk.payload)
        except ChunkDamaged as error:
            _set_aside(chunk, error.reason)
            continue
        alike.setdefault(shape_of(batch), []).append(_Part(chunk, batch))
    for group in alike.values():
        if not all(part.chunk.is_packed for part in group):
            _replace(group)
    return bool(parts)


def _set_aside(chunk: PredictionChunk, reason: str) -> None:
    """Put a damaged chunk among the packed ones as it is: the rest of its day is packed without it.

    Its ids are those of its narrow rows, so that they are known when these go.
    """
    own = PredictionChunk.objects.filter(pk=chunk.pk, day=chunk.day, is_packed=chunk.is_packed)
    if chunk.is_packed:
        own.update(damage=reason[:MAX_REASON])
        return
    narrow = PredictionRow.objects.filter(
        model_id=chunk.model_id,
        version_id=chunk.version_id,
        role=chunk.role,
        week=chunk.week,
        event_time__gte=chunk.start,
        event_time__lte=chunk.end,
    )
    ids = {id_ for both in narrow.values_list("prediction_id", "client_id") for id_ in both if id_}
    own.update(is_packed=True, is_sent=chunk.is_sent, damage=reason[:MAX_REASON], id_hashes=write_hashes(ids))
    _note_unsent(chunk)
    add_to_day(PackedDay, chunk, rows=chunk.rows)
    log.error("a chunk of the log is damaged", extra={"chunk": chunk.pk, "reason": reason})


def _take_parts(unpacked: UnpackedDay) -> list[PredictionChunk]:
    """Lock the chunks to be merged, in the order in which they came; one that is locked is in other hands."""
    same = PredictionChunk.objects.filter(
        model_id=unpacked.model_id, version_id=unpacked.version_id, role=unpacked.role, day=unpacked.day
    ).order_by("pk")
    fresh = same.filter(is_packed=False).order_by("-is_summarised", "-is_sent", "pk")
    locked = list(
        fresh.select_for_update(skip_locked=True).values_list(
            "pk", "rows", size_of("payload"), "week", "is_summarised", "is_sent"
        )[:MANY_CHUNKS]
    )
    # Asked once they are locked: see `UnsentChunk`.
    if not hooks.is_sent_by_sink(unpacked.model_id, "predictions"):
        locked = [(*one[:-1], True) for one in locked]
    # Narrow rows go by the week, and summaries count a chunk as a whole, as sinks send it.
    alike = locked[0][3:] if locked else None
    taken, rows, size = [], 0, 0
    for pk, count, length, *kind in locked:
        if rows < CHUNK_ROWS and size < CHUNK_BYTES and tuple(kind) == alike:
            taken.append(pk)
            rows, size = rows + count, size + length
    if alike is None:
        return []
    week, is_summarised, is_sent = alike
    is_full = rows >= CHUNK_ROWS or size >= CHUNK_BYTES
    is_many = len(locked) == MANY_CHUNKS
    # What a sink is about to send would be sent twice, so that it waits until there are many.
    if is_full and (is_sent or is_many):
        return _sent_as(is_sent, fresh.filter(pk__in=taken))
    if not is_many and not _are_old(fresh.filter(pk__in=taken)):
        return []
    small = same.filter(
        is_packed=True,
        week=week,
        is_summarised=is_summarised,
        is_sent=is_sent,
        rows__lt=CHUNK_ROWS // 2,
        labels=None,
        damage="",
    )
    merged = [] if is_full else _up_to_size(small, CHUNK_BYTES - size)
    return _sent_as(is_sent, [*merged, *fresh.filter(pk__in=taken)])


def _sent_as(is_sent: bool, chunks: Iterable[PredictionChunk]) -> list[PredictionChunk]:
    """Return the chunks, marked as sent or not: without a sink, what was never sent need not be."""
    found = list(chunks)
    for chunk in found:
        chunk.is_sent = is_sent
    return found


def _up_to_size(chunks: QuerySet[PredictionChunk], room: int) -> list[PredictionChunk]:
    """Lock the first of these chunks, together no larger than `room`."""
    locked = chunks.select_for_update(skip_locked=True).values_list("pk", size_of("payload"))[:MANY_CHUNKS]
    taken = []
    for pk, length in locked:
        room -= length
        if room < 0:
            break
        taken.append(pk)
    return list(chunks.filter(pk__in=taken))


def _are_old(chunks: QuerySet[PredictionChunk]) -> bool:
    return chunks.filter(created_at__lt=Now() - MAX_FRESH_AGE).exists()


def _replace(parts: Sequence[_Part]) -> None:
    """Write rows of one shape as one chunk in place of the chunks they came from."""
    chunks = [part.chunk for part in parts]
    rows, payload = pack([part.batch for part in parts])
    newest = max(chunks, key=lambda chunk: (chunk.end, chunk.pk))
    packed = PredictionChunk(
        model_id=newest.model_id,
        version_id=newest.version_id,
        role=newest.role,
        day=newest.day,
        week=newest.week,
        is_packed=True,
        is_summarised=newest.is_summarised,
        is_sent=newest.is_sent,
        rows=rows.num_rows,
        start=min(chunk.start for chunk in chunks),
        end=newest.end,
        payload=sealer()(payload),
        id_hashes=write_hashes(ids_of(rows)),
        created_at=max(chunk.created_at for chunk in chunks),
        end_stored_at=newest.end_stored_at,
    )
    same_day = PredictionChunk.objects.filter(day=newest.day)
    for is_packed in (False, True):
        keys = [chunk.pk for chunk in chunks if chunk.is_packed is is_packed]
        same_day.filter(is_packed=is_packed, pk__in=keys).delete()
    packed.save(force_insert=True)
    UnsentChunk.objects.filter(chunk__in=[chunk.pk for chunk in chunks]).delete()
    _note_unsent(packed)
    add_to_day(PackedDay, packed, rows=sum(chunk.rows for chunk in chunks if not chunk.is_packed))


def _note_unsent(packed: PredictionChunk) -> None:
    """Record a packed chunk as unsent where a sink has yet to send it, so that the sink finds it."""
    if not packed.is_sent:
        UnsentChunk.objects.create(
            chunk=packed.pk,
            model_id=packed.model_id,
            day=packed.day,
            rows=packed.rows,
            created_at=packed.created_at,
        )


def ids_of(rows: pa.RecordBatch) -> list[str]:
    """List the ids by which a packed chunk's rows are found."""
    clients = rows.column("client_id").drop_null()
    return [*rows.column("id").to_pylist(), *clients.to_pylist()]


def add_to_day(days: type[DayOfRows], chunk: PredictionChunk | DayOfRows, *, rows: int) -> None:
    """Count `rows` of a chunk, or of a part of a day, that its day has not counted yet.

    Two writers of one day wait for each other here.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _ADD_TO_DAY.format(table=connection.ops.quote_name(days._meta.db_table)),
            {
                **{name: getattr(chunk, name) for name in _DAY_FIELDS},
                "rows": rows,
            },
        )


_DAY_FIELDS = ("model_id", "version_id", "role", "day", "week", "start", "end", "created_at", "end_stored_at")
_ADD_TO_DAY = """
INSERT INTO {table} AS known
    (model_id, version_id, role, day, week, rows, start, "end", created_at, end_stored_at)
VALUES (%(model_id)s, %(version_id)s, %(role)s, %(day)s, %(week)s, %(rows)s, %(start)s, %(end)s, %(created_at)s,
    %(end_stored_at)s)
ON CONFLICT (model_id, day, version_id, role, week) DO UPDATE SET
    rows = known.rows + excluded.rows,
    start = least(known.start, excluded.start),
    "end" = greatest(known."end", excluded."end"),
    created_at = greatest(known.created_at, excluded.created_at),
    end_stored_at = CASE WHEN excluded."end" > known."end" THEN excluded.end_stored_at ELSE known.end_stored_at END
"""


def recount_day(chunk: PredictionChunk) -> None:
    """Bring what is said of a packed day in step with its chunks, after one of them lost rows or went."""
    one = {name: getattr(chunk, name) for name in ("model_id", "version_id", "role", "day", "week")}
    said = PackedDay.objects.select_for_update().filter(**one).first()
    held = list(
        PredictionChunk.objects.filter(is_packed=True, **one).values_list(
            "rows", "start", "end", "end_stored_at"
        )
    )
    if said is None or not held:
        PackedDay.objects.filter(**one).delete()
        return
    said.rows = sum(rows for rows, _, _, _ in held)
    said.start = min(start for _, start, _, _ in held)
    said.end, said.end_stored_at = max((end, stored) for _, _, end, stored in held)
    said.save(update_fields=["rows", "start", "end", "end_stored_at"])
