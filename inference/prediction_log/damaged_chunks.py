"""Remembers which chunks could not be opened, so that upkeep goes around them and the operator hears of them.

Whoever reads the log for somebody tries each chunk again: one that is put back from a backup is read as before.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC

from inference.prediction_log.chunk_rows import UnreadableChunk, read_rows
from inference.prediction_log.folded_labels import FoldedLabels
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.sealed_chunks import ChunkDamaged, LogUnreadable

MAX_REASON = 200  # characters
log = logging.getLogger(__name__)


def mark_damaged(chunks: Iterable[UnreadableChunk]) -> None:
    """Note at these chunks why they did not open, in the caller's transaction."""
    for chunk in chunks:
        unmarked = PredictionChunk.objects.filter(
            pk=chunk.pk, day=chunk.start.astimezone(UTC).date(), damage=""
        )
        if unmarked.update(damage=chunk.reason[:MAX_REASON]):
            log.error("a chunk of the log is damaged", extra={"chunk": chunk.pk, "reason": chunk.reason})


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
