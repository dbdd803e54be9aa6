"""Remembers which chunks could not be opened, so that upkeep goes around them and the operator hears of them.

Whoever reads the log for somebody tries each chunk again: one that is put back from a backup is read as before.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from django.db import models

from driftline.base.periods import day_of, following
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged, LogUnreadable
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.prediction_log.storage.chunk_rows import UnreadableChunk, read_rows
from inference.prediction_log.storage.folded_labels import FoldedLabels

MAX_REASON = 200  # characters
log = logging.getLogger(__name__)


def mark_read(read: models.QuerySet[PredictionChunk], damaged: Sequence[UnreadableChunk]) -> None:
    """Note which of the chunks that were `read` are damaged, and that the others are whole, perhaps again."""
    read.exclude(damage="").exclude(pk__in=[chunk.pk for chunk in damaged]).update(damage="")
    mark_damaged(damaged)


def mark_damaged(chunks: Iterable[UnreadableChunk]) -> None:
    """Note at these chunks why they did not open, in the caller's transaction."""
    for chunk in chunks:
        unmarked = PredictionChunk.objects.filter(pk=chunk.pk, day=day_of(chunk.start), damage="")
        if unmarked.update(damage=chunk.reason[:MAX_REASON]):
            log.error("a chunk of the log is damaged", extra={"chunk": chunk.pk, "reason": chunk.reason})


def describe_damaged(
    chunks: models.QuerySet[PredictionChunk], reasons: Mapping[int, str]
) -> Iterator[UnreadableChunk]:
    """Yield what the chunks of these keys hold, without opening them; `reasons` are what is wrong with each."""
    if not reasons:
        return
    found = chunks.filter(pk__in=list(reasons))
    for row in found.values_list("pk", "version_id", "role", "start", "end", "rows"):
        yield UnreadableChunk(*row, reasons[row[0]])


def chunks_of(version_id: int, role: str, start: datetime, end: datetime) -> models.QuerySet[PredictionChunk]:
    """Select the chunks that may hold rows of a version in a role within `[start, end)`."""
    return PredictionChunk.objects.filter(
        version_id=version_id,
        role=role,
        day__gte=day_of(start),
        day__lte=day_of(end),
        start__lt=end,
        end__gte=start,
    )


def damage_within(period: TouchedPeriod) -> str:
    """Return why rows of an hour cannot be read, by the chunks that were found damaged; empty where all can be."""
    end = following(period.hour, "hour")
    marked = chunks_of(period.version_id, period.role, period.hour, end).exclude(damage="")
    found = marked.values_list("pk", "rows", "damage").first()
    return (
        ""
        if found is None
        else "{1:,} rows cannot be read: chunk {0} of the log is damaged ({2})".format(*found)
    )


def describe_marked() -> list[str]:
    """Name the chunks that were found damaged."""
    marked = (
        PredictionChunk.objects.exclude(damage="").select_related("model", "version").order_by("day", "pk")
    )
    return [_name(chunk) for chunk in marked.defer("payload", "labels", "id_hashes")]


def find_damaged() -> Iterator[str | None]:
    """Open every chunk, rows and labels; give the name of each damaged one, and None for each other.

    One without its key is no damage: see `key_health`.
    """
    for chunk in PredictionChunk.objects.select_related("model", "version").iterator(chunk_size=10):
        try:
            is_whole = read_rows(chunk.payload).num_rows == chunk.rows
            FoldedLabels.read(chunk.labels)
        except ChunkDamaged:
            is_whole = False
        except LogUnreadable:
            is_whole = True
        yield None if is_whole else _name(chunk)


def _name(chunk: PredictionChunk) -> str:
    version = f"{chunk.model.name} {chunk.version.version}"
    return f"{chunk.pk} ({version}, {chunk.rows:,} {chunk.role} rows of {chunk.day})"
