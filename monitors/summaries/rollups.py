"""Makes a day stand for its hours and a month for its days, where these are old enough to be dropped."""

from datetime import datetime

from django.db import transaction

from driftline.base.periods import floor, following
from inference.prediction_log.labels.services import lock_summaries
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.summaries.models import StaleWindow, Summary
from monitors.summaries.stored import SHORTER, SourceFields, change_blocks, merged_parts, parts_of, save


def drop_parts(*, model: Model, span: str, before: datetime) -> int:
    """Drop the hours of days (or the days of months, as `span` says) that ended by `before`; returns how many went.

    What waits to be summarised or measured keeps its hours or days until it has been.
    """
    parts = Summary.objects.filter(model=model, span=SHORTER[span], segment="", start__lt=before)
    windows = {
        (role, version_id, floor(start, span))
        for role, version_id, start in parts.values_list("role", "version_id", "start")
    }
    return sum(
        _drop({"model_id": model.pk, "version_id": version_id, "role": role}, span, start)
        for role, version_id, start in sorted(windows)
        if following(start, span) <= before
    )


def _drop(source: SourceFields, span: str, start: datetime) -> int:
    """Write what a window's parts come to and delete them, in one commit."""
    with transaction.atomic():
        lock_summaries(source["model_id"])
        if _is_changing(source, span, start):
            return 0
        parts = parts_of(source, span, start)
        if span == "month":  # a day is the sum of its hours all the time
            save(merged_parts(source, span, start))
        payloads = parts.filter(segment="").values_list("start", "payload")
        summaries = [(begin, WindowSummary.decode(bytes(payload))) for begin, payload in payloads]
        blocks = change_blocks(None, span, summaries)
        Summary.objects.filter(**source, span=span, start=start, segment="").update(blocks=blocks)
        return parts.delete()[0]


def _is_changing(source: SourceFields, span: str, start: datetime) -> bool:
    end = following(start, span)
    touched = TouchedPeriod.objects.filter(**source, hour__gte=start, hour__lt=end)
    stale = StaleWindow.objects.filter(model_id=source["model_id"], start__gte=start, start__lt=end)
    hours = Summary.objects.filter(**source, span="hour", start__gte=start, start__lt=end)
    return touched.exists() or stale.exists() or (span == "month" and hours.exists())
