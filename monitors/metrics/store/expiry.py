"""Deletes summaries and points that are older than they are kept, by the model's own event clock.

Hours go once their day stands for them, and days once their month does; points stay as long as their model says.
What a reference in use is made of stays as long as it is in use.
"""

from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Min, Q, QuerySet

from driftline.base.periods import floor
from inference.prediction_log.models import PredictionRole, RequestCount, RequestWait
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.selectors import oldest_row
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind, Reference
from monitors.metrics.store.models import (
    ChangePoint,
    DetectorState,
    ExpectedErrors,
    JointNullDraws,
    NullDraws,
    PackedPoints,
    SegmentSearch,
)
from monitors.metrics.store.storing import forget_points, forget_unused_limits
from monitors.summaries.models import Summary
from monitors.summaries.rollups import drop_parts
from monitors.summaries.stored import SHORTER
from monitors.summaries.uploads.models import SummaryBatch

BATCHES_KEPT = timedelta(days=400)  # after which nobody sends a batch of summaries again
NULL_DRAWS_KEPT = timedelta(days=30)  # of a reference or a size of window that nobody asks for any more


def first_kept(model: Model, now: datetime, rows_since: date = date.min) -> datetime | None:
    """Return from which day on a model's summaries are kept; None where they are kept for ever.

    What rows are still there, of those from the day `rows_since` on, is kept as well: whatever comes late to their
    hour has it summarised again.
    """
    days = model.summary_retention_days
    days = settings.SUMMARY_RETENTION_DAYS if days is None else days
    if not days:
        return None
    kept = floor(event_now(model=model, now=now), "day") - timedelta(days=days)
    oldest = oldest_row(model, rows_since)
    return min(kept, floor(oldest.astimezone(UTC), "day")) if oldest else kept


def expire_summaries(model: Model, now: datetime) -> tuple[int, int]:
    """Delete what a model no longer keeps, changes of its error, found segments and counts of its requests too; returns
    how many summaries and rows of points."""
    SummaryBatch.objects.filter(model=model, added_at__lt=now - BATCHES_KEPT).delete()
    kept = first_kept(model, now)
    with transaction.atomic():
        points = forget_points(model.pk, Q(start__lt=kept)) if kept else 0
        forget_unused_limits(model.pk)
    if kept is None:
        return 0, 0
    DetectorState.objects.filter(model=model, until__lt=kept).delete()
    ChangePoint.objects.filter(model=model, at__lt=kept).delete()
    SegmentSearch.objects.filter(model=model, start__lt=kept).delete()
    for counted in (RequestCount, RequestWait):
        counted._base_manager.filter(model=model, hour__lt=kept).delete()
    ExpectedErrors.objects.filter(model=model, start__lt=kept).delete()
    deleted, _ = summaries_before(model, kept).delete()
    return deleted, points


def summaries_before(model: Model, kept: datetime) -> QuerySet[Summary]:
    """Return the summaries that are deleted where a model keeps them from `kept` on."""
    summaries = Summary.objects.filter(model=model)
    for reference in _of_log(model, Reference.Kind.PERIOD):
        summaries = summaries.exclude(span="day", start__gte=reference.start, start__lt=reference.end)
    months = Q(span="month", start__lt=floor(kept, "month"))
    return summaries.filter(months | ~Q(span="month") & Q(start__lt=kept))


def expire_null_draws(model: Model, now: datetime) -> int:
    """Delete draws of long ago, which are made anew where they are still asked for; returns how many went."""
    old = {"reference__model": model, "made_at__lt": now - NULL_DRAWS_KEPT}
    return sum(draws._base_manager.filter(**old).delete()[0] for draws in (NullDraws, JointNullDraws))


def roll_up(model: Model, now: datetime) -> int:
    """Drop hours that are older than they are kept into their days, then days into months; returns how many went.

    Days stay as long as rows of their month are there, which late data may have summarised again.
    """
    today, oldest = floor(event_now(model=model, now=now), "day"), oldest_row(model)
    kept = {"day": settings.HOURLY_SUMMARY_DAYS, "month": settings.DAILY_SUMMARY_DAYS}
    weeks = max((reference.length or 0 for reference in _of_log(model, Reference.Kind.SAME_HOURS)), default=0)
    hours = today - timedelta(weeks=weeks, days=1) if weeks else None
    first_days = [reference.start for reference in _of_log(model, Reference.Kind.PERIOD) if reference.start]
    needed = {"day": [hours], "month": [oldest, *first_days]}
    return sum(
        drop_parts(
            model=model,
            span=span,
            before=min(
                moment
                for moment in (
                    today - timedelta(days=days),
                    *needed[span],
                    _oldest_unripe(model, SHORTER[span]),
                )
                if moment is not None
            ),
        )
        for span, days in kept.items()
        if days
    )


def _of_log(model: Model, kind: str) -> QuerySet[Reference]:
    return Reference.objects.filter(model=model, kind=kind, is_active=True)


def _oldest_unripe(model: Model, span: str) -> datetime | None:
    """Return the first window with labels still due, which is measured again when they have come.

    Windows longer than a day wait like days: they are measured from these.

    None where performance is not watched: nobody would measure it again, and its hours would wait for ever.
    """
    if not model.monitors.filter(kind=MonitorKind.PERFORMANCE, enabled=True).exists():
        return None
    unripe = PackedPoints.objects.filter(
        model=model, role=PredictionRole.CHAMPION, version="", segment="", ripe_at__isnull=False
    )
    unripe = unripe.filter(span=span) if span == "hour" else unripe.exclude(span="hour")
    return unripe.aggregate(oldest=Min("start"))["oldest"]
