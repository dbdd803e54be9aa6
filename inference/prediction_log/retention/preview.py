"""Reports which rows a change of what a model keeps deletes, from the sizes of its chunks: no row is read."""

from dataclasses import dataclass, replace
from datetime import date, datetime

from django.db.models import Count, Q, QuerySet, Sum

from inference.prediction_log.models import PredictionChunk, size_of
from inference.prediction_log.retention.expiry import first_kept_day
from inference.prediction_log.storage.partitions import oldest_week
from inference.registry.models import Model, RowsKept


@dataclass(frozen=True)
class RowsToDelete:
    """The rows that go, with the bytes of their chunks and folded labels."""

    rows: int = 0
    bytes: int = 0
    days: int = 0
    before: date | None = None
    """The first event day that is kept; None where none goes, or all do."""
    later: int = 0
    """How many of the rows go later, once their narrow rows do: until then their ids are refused."""
    lake_first: bool = False
    """Whether all of them go once they are in the project's lake."""


def preview_rows(*, model: Model, changed: Model, now: datetime, has_lake: bool) -> RowsToDelete:
    """Count what goes when a model is kept as `changed` is; what is due to go anyway is not counted.

    A model that keeps no rows any more waits for no lake.
    """
    chunks = PredictionChunk.objects.filter(model=model, day__gte=first_kept_day(model, now))
    if (model.rows_kept, changed.rows_kept) == (RowsKept.ALL, RowsKept.NONE):
        return _count(chunks, None, Q(pk=None))
    before = first_kept_day(changed, now)
    chunks, later = chunks.filter(day__lt=before), Q(week__gte=oldest_week())
    if has_lake:  # the rows of a day go together
        later = Q(day__in=set(chunks.filter(later).values_list("day", flat=True)))
    return replace(_count(chunks, before, later), lake_first=has_lake)


def _count(chunks: QuerySet[PredictionChunk], before: date | None, goes_later: Q) -> RowsToDelete:
    found = chunks.aggregate(
        total=Sum("rows"),
        size=Sum(size_of("payload", "id_hashes", "labels")),
        days=Count("day", distinct=True),
        later=Sum("rows", filter=goes_later),
    )
    if not found["total"]:
        return RowsToDelete()
    return RowsToDelete(found["total"], found["size"], found["days"], before, found["later"] or 0)
