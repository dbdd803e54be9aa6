"""Lets go of summaries and points that are older than their model keeps them, by the model's own event clock."""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from driftline.common.periods import floor
from inference.prediction_log.event_clock import event_now
from inference.prediction_log.selectors import oldest_row
from inference.registry.models import Model
from monitors.metrics.models import ChangePoint, DetectorState, MetricPoint
from monitors.summaries.models import Summary


def first_kept(model: Model, now: datetime) -> datetime | None:
    """Tell from which day on a model's summaries are kept; None where they are kept for ever.

    What rows are still there is kept as well: whatever comes late to their hour has it summarised again.
    """
    days = model.summary_retention_days
    days = settings.SUMMARY_RETENTION_DAYS if days is None else days
    if not days:
        return None
    kept = floor(event_now(model=model, now=now), "day") - timedelta(days=days)
    oldest = oldest_row(model)
    return min(kept, floor(oldest.astimezone(UTC), "day")) if oldest else kept


def expire_summaries(model: Model, now: datetime) -> tuple[int, int]:
    """Delete what a model no longer keeps, changes of its error too; returns how many summaries and points."""
    kept = first_kept(model, now)
    if kept is None:
        return 0, 0
    points, _ = MetricPoint.objects.filter(model=model, start__lt=kept).delete()
    DetectorState.objects.filter(model=model, until__lt=kept).delete()
    ChangePoint.objects.filter(model=model, at__lt=kept).delete()
    summaries, _ = Summary.objects.filter(model=model, start__lt=kept).delete()
    return summaries, points
