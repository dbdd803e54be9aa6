"""Drops rows, or the values of some features, that a model keeps in summaries alone.

Dropping happens in the transaction that adds the rows to the summaries. Of dropped rows there remain the narrow row of
each, which refuses its id as long as any other, and a SummedDay with their number and times. Of the dropped values of
a feature there remains an empty column.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import NamedTuple

import pyarrow as pa

from driftline.base.periods import floor
from inference.image_names import image_parts, whole_by_name
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged, sealer
from inference.prediction_log.labels import services as labels
from inference.prediction_log.models import Label, PackedDay, PredictionChunk, SummedDay
from inference.prediction_log.queries.unsummarised import (
    LockedRows,
    StoredDays,
    chunks_of_days,
    lock_chunks,
    lock_rows,
    request_rebuild,
)
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.signals import days_changed, days_dropped
from inference.prediction_log.spool.privacy import SUMMARY
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.chunk_schemas import schemas_of
from inference.prediction_log.storage.compaction import add_to_day, recount_day
from inference.prediction_log.storage.damaged_chunks import describe_damaged, mark_damaged
from inference.prediction_log.storage.packing import without_values, write
from inference.registry.models import Model, RowsKept, Version
from inference.registry.selectors import signature_of


class _Hidden(NamedTuple):
    """What is kept of rows in summaries alone: some features, and perhaps thumbnails."""

    features: Collection[str]
    thumbnails: bool


# -- a model begins to keep less ---------------------------------------------------------------------------------------
def start_dropping(model: Model) -> None:
    """Request that all rows of a model are summarised and dropped, in the transaction that changes its policy.

    The exclusive lock makes label writers see the new policy. Labels without a prediction are deleted, because none can
    join them any more.
    """
    labels.lock(model.pk, exclusive=True)
    Label.objects.filter(model=model, prediction_time=None).delete()
    request_look_at_stored_days(model)


def request_look_at_stored_days(model: Model) -> None:
    """Request a pass over each day that has rows, in the caller's transaction; no partition of a day is opened."""
    fresh = PredictionChunk.objects.filter(model=model, is_packed=False)
    hours = {
        (version_id, role, floor(start, "hour"))
        for rows in (fresh, PackedDay.objects.filter(model=model))
        for version_id, role, start in rows.values_list("version_id", "role", "start")
    }
    request_rebuild(model.pk, hours)


def summary_only_features(model: Model) -> list[str]:
    """Return the features with values that are kept in summaries alone."""
    return [name for name, policy in model.privacy.items() if policy == SUMMARY]


# -- rows that have been summarised ------------------------------------------------------------------------------------
def mark_summarised(locked: LockedRows) -> None:
    """Mark rows as summarised, or drop them or some of their values, as their model's policy says."""
    if locked.model.rows_kept == RowsKept.NONE:
        _drop_rows(locked)
        return
    same = chunks_of_days(locked.model, locked.stored)
    same.filter(pk__in=[chunk.pk for chunk in locked.chunks]).update(is_summarised=True)
    _announce_change(locked.model, locked.chunks)
    if hidden := _hidden(locked.model, locked.stored):
        _drop_values(locked.chunks, hidden)


def drop_summarised(model: Model, stored: StoredDays) -> bool:
    """Drop some rows or values of these days that were summarised under an earlier policy; False if none remain."""
    summarised = chunks_of_days(model, stored).filter(is_summarised=True, damage="")
    if model.rows_kept == RowsKept.NONE:
        locked = lock_rows(model, stored, summarised)
        if locked is not None and locked.chunks:
            _drop_rows(locked)
        return locked is not None  # chunks that cannot be read are marked as damaged now
    hidden = _hidden(model, stored)
    if not hidden:
        return False
    with_values = [pk for pk, schema in schemas_of(summarised) if _has_values(schema, hidden)]
    chunks = lock_chunks(summarised.filter(pk__in=with_values))
    _drop_values(chunks, hidden)
    _announce_change(model, chunks)
    return bool(chunks)


def _hidden(model: Model, stored: StoredDays) -> _Hidden | None:
    """Return what is dropped of a version's rows; an image's thumbnail is, where anything of the image is."""
    features = frozenset(summary_only_features(model))
    if not features:
        return None
    version = Version.objects.select_related("model").get(pk=stored.version_id)
    image = signature_of(version).image_input
    return _Hidden(features, image is not None and not features.isdisjoint([image, *image_parts(image)]))


def _announce_change(model: Model, chunks: Sequence[PredictionChunk]) -> None:
    days_changed.send(sender=PredictionChunk, model=model, days={chunk.day for chunk in chunks})


def _has_values(schema: pa.Schema, hidden: _Hidden) -> bool:
    columns = _columns_of(schema, hidden)
    return any(field.name in columns and not pa.types.is_null(field.type) for field in schema)


def _columns_of(schema: pa.Schema, hidden: _Hidden) -> set[str]:
    """Name the columns of what is hidden, with those of the numbers that are made of vectors and images."""
    names = hidden.features
    return {
        column
        for column in schema.names
        if (column[:2] in ("f:", "n:") and (column[2:] in names or whole_by_name(column[2:]) in names))
        or (column == THUMBNAIL and hidden.thumbnails)
    }


def _drop_rows(locked: LockedRows) -> None:
    """Delete chunks with the labels of their rows, and add the rows to their SummedDay."""
    if locked.stored.role != "shadow" and Label.objects.filter(model=locked.model).exists():
        ids = [row for part in locked.parts for row in _ids_of(part.rows)]
        labels.forget(locked.model.pk, ids)  # no writer adds one any more: see start_dropping
    partitions: dict[tuple[date, bool], list[int]] = {}
    for chunk in locked.chunks:
        partitions.setdefault((chunk.day, chunk.is_packed), []).append(chunk.pk)
    for (day, is_packed), keys in partitions.items():
        PredictionChunk.objects.filter(day=day, is_packed=is_packed, pk__in=keys).delete()
    for chunk in locked.chunks:
        add_to_day(SummedDay, chunk, rows=chunk.rows)
    days_dropped.send(sender=PredictionChunk, model=locked.model, days={chunk.day for chunk in locked.chunks})
    packed_days = {(chunk.day, chunk.week): chunk for chunk in locked.chunks if chunk.is_packed}
    for chunk in packed_days.values():
        recount_day(chunk)


def _ids_of(rows: pa.RecordBatch) -> Iterator[tuple[str, int, str | None]]:
    columns = rows.column("id"), rows.column("time").cast(pa.int64()), rows.column("client_id")
    return zip(*(column.to_pylist() for column in columns), strict=True)


def _drop_values(chunks: Sequence[PredictionChunk], hidden: _Hidden) -> None:
    """Rewrite chunks without the values that are hidden."""
    for chunk in chunks:
        same = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
        try:
            batch = read_rows(same.values_list("payload", flat=True).get())
        except ChunkDamaged as error:
            mark_damaged(describe_damaged(same, {chunk.pk: error.reason}))
            continue
        same.update(payload=sealer()(write(without_values(batch, _columns_of(batch.schema, hidden)))))
