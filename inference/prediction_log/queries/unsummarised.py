"""Rows that the summaries do not count yet: locked and read for the summariser, exactly once each.

The life of a row: it is stored in a chunk with `is_summarised = false`, and the hour it belongs to is touched. The
summariser calls `lock_unsummarised_rows`, adds the rows to the summaries and calls `drop_rows.mark_summarised`, all in
one transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db.models import Q, QuerySet, Sum

from driftline.base.work.work_rows import touch
from inference.prediction_log.labels.changes import summarised_labels
from inference.prediction_log.labels.services import TOUCHED_FIELDS
from inference.prediction_log.models import PredictionChunk, TouchedPeriod
from inference.prediction_log.queries.frames import ChunkRows, LogFrame, frame_from
from inference.prediction_log.queries.selectors import read_parts
from inference.prediction_log.signals import periods_touched
from inference.prediction_log.storage.damaged_chunks import describe_damaged, mark_damaged, mark_read
from inference.registry.models import Model

MAX_ROWS = 100_000  # of one transaction
MAX_CHUNKS = 500
ROWS_OF_SEVERAL_DAYS = 2_000  # days with more rows are locked one by one


class StoredDays(NamedTuple):
    """Version, role and event days of rows; the days follow each other closely, as their labels are read at once."""

    version_id: int
    role: str
    days: tuple[date, ...]


@dataclass(frozen=True)
class LockedRows:
    """Chunks of one version and role, locked until the transaction ends, with their rows."""

    model: Model
    stored: StoredDays
    chunks: Sequence[PredictionChunk]  # without payloads
    parts: Sequence[ChunkRows]

    def as_summarised(self) -> LogFrame:
        """Return the rows with the labels that the summaries count for them."""
        start = min(chunk.start for chunk in self.chunks)
        end = max(chunk.end for chunk in self.chunks) + timedelta(microseconds=1)
        return frame_from(self.parts, summarised_labels(self.model, [self.stored.role], start, end))


def lock_unsummarised_rows(model: Model, stored: StoredDays) -> LockedRows | None:
    """Lock and read some rows of these days that the summaries do not count; None if there are none.

    Chunks that cannot be read are marked as damaged and skipped.
    """
    unsummarised = chunks_of_days(model, stored).filter(is_summarised=False, damage="")
    while days := _first_days(
        unsummarised
    ):  # again: a locked chunk may have been packed into another meanwhile
        locked = lock_rows(model, stored, unsummarised.filter(day__in=days))
        if locked is not None and locked.chunks:
            return locked
    return None


def may_have_unsummarised_rows(model_id: int, stored: StoredDays) -> bool:
    """Return whether these days have rows that the summaries do not count, or rows that could not be read.

    One query that locks nothing.
    """
    unread = Q(is_summarised=False) | ~Q(damage="")
    return chunks_of_days(model_id, stored).filter(unread).exists()


def _first_days(chunks: QuerySet[PredictionChunk]) -> list[date]:
    """List the first day that has chunks, and those after it as long as all have few rows."""
    first: list[date] = []
    for day, rows in chunks.order_by("day").values_list("day").annotate(rows=Sum("rows")):
        if first and rows > ROWS_OF_SEVERAL_DAYS:
            break
        first.append(day)
        if rows > ROWS_OF_SEVERAL_DAYS:
            break
    return first


def lock_rows(model: Model, stored: StoredDays, chunks: QuerySet[PredictionChunk]) -> LockedRows | None:
    """Lock and read some of these chunks; None if there are none. Those that cannot be read are marked as damaged."""
    locked = lock_chunks(chunks)
    if not locked:
        return None
    same = chunks_of_days(model, stored).filter(pk__in=[chunk.pk for chunk in locked]).order_by("pk")
    parts, reasons = read_parts(same)
    mark_damaged(describe_damaged(same, reasons))
    return LockedRows(model, stored, [chunk for chunk in locked if chunk.pk not in reasons], parts)


def lock_chunks(chunks: QuerySet[PredictionChunk]) -> list[PredictionChunk]:
    """Lock some of these chunks, oldest first, without reading their payloads."""
    ordered = chunks.order_by("pk").defer("payload", "id_hashes", "labels").select_for_update()
    locked: list[PredictionChunk] = []
    rows = 0
    for chunk in ordered[:MAX_CHUNKS]:
        if rows >= MAX_ROWS:
            break
        locked.append(chunk)
        rows += chunk.rows
    return locked


def recheck_damaged(model: Model, stored: StoredDays) -> list[date]:
    """Read the damaged chunks of these days again; return the days with one that is whole now and that the summaries
    count.
    """
    damaged = chunks_of_days(model, stored).exclude(damage="")
    known = list(damaged.values_list("pk", "day", "is_summarised"))
    if not known:
        return []
    _, reasons = read_parts(damaged)
    mark_read(damaged, list(describe_damaged(damaged, reasons)))
    return sorted({day for pk, day, is_summarised in known if is_summarised and pk not in reasons})


def chunks_of_days(model: Model | int, stored: StoredDays) -> QuerySet[PredictionChunk]:
    """Select the chunks of a version and role on these event days."""
    return PredictionChunk.objects.filter(
        model=model, version_id=stored.version_id, role=stored.role, day__in=stored.days
    )


def request_rebuild(model_id: int, hours: Iterable[tuple[int, str, datetime]]) -> None:
    """Request that the summaries of hours (version, role, start) are rebuilt from rows, in the caller's transaction."""
    by_source: dict[tuple[int, str], list[datetime]] = {}
    for version_id, role, hour in hours:
        by_source.setdefault((version_id, role), []).append(hour)
    if not by_source:
        return
    rows = [(model_id, *source, hour) for source, starts in by_source.items() for hour in starts]
    touch(TouchedPeriod, rows, fields=TOUCHED_FIELDS)
    for (version_id, role), starts in by_source.items():
        TouchedPeriod.objects.filter(
            model_id=model_id, version_id=version_id, role=role, hour__in=starts
        ).update(rebuild=True)
    periods_touched.send(sender=TouchedPeriod, model_id=model_id)
