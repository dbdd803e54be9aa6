"""Summaries of any period, added up from what is stored."""

from datetime import datetime

from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.registry.models import Model
from monitors.stats.window_summary import WindowSummary, merge_windows
from monitors.summaries.models import Summary


def merged_summary(
    *, model: Model, start: datetime, end: datetime, segment: str = "", role: str = "champion"
) -> WindowSummary | None:
    """Add up the stored summaries of `[start, end)`: whole days from daily ones, the rest from hours."""
    whole_days = (
        start == start.replace(hour=0, minute=0, second=0, microsecond=0) and (end - start).seconds == 0
    )
    payloads = Summary.objects.filter(
        model=model,
        role__in=ANSWERING_ROLES if role == PredictionRole.CHAMPION else [role],
        span="day" if whole_days else "hour",
        segment=segment,
        start__gte=start,
        start__lt=end,
    ).values_list("payload", flat=True)
    parts = [WindowSummary.decode(bytes(payload)) for payload in payloads]
    return merge_windows(parts) if parts else None
