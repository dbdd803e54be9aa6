"""Turns summaries and a reference into metric points."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from driftline.common.doorbell import ring
from driftline.common.periods import following
from driftline.common.work import finish, touch
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.change_points import look_for_changes
from monitors.metrics.measuring import Context, context_of, error_rows, gap_rows, points_of, subjects_of
from monitors.metrics.models import MetricPoint, PendingEvaluation
from monitors.metrics.reliability import mark_unreliable
from monitors.summaries.models import StaleWindow, Summary

WINDOWS_A_TASK = 200


def measure(model_id: int) -> int:
    """Compute the points of stale windows of one model and ring the rules; returns the windows done."""
    with transaction.atomic():
        stale = StaleWindow.objects.filter(model_id=model_id).claim(limit=WINDOWS_A_TASK)
    if not stale:
        return 0
    with transaction.atomic():
        _lock_model(model_id)
        context = context_of(Model.objects.get(pk=model_id))
        rows = [row for window in stale for row in _window_rows(context, window.span, window.start)]
        _save([*rows, *mark_unreliable(context.model, rows)])
        look_for_changes(context, stale, rows)
        touch(PendingEvaluation, [(model_id,)], fields=("model_id",))
        finish(stale)
        ring("monitors.judge", model_id=model_id)
    return len(stale)


def _lock_model(model_id: int) -> None:
    """Let one worker at a time write the points of a model, so that an older result never lands on a newer one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7303, %s)", [model_id])


def _window_rows(context: Context, span: str, start: datetime) -> list[MetricPoint]:
    """Measure a window. Segments are measured by the day, and by the hour only as a whole."""
    stored = Summary.objects.filter(model=context.model, span=span, start=start).select_related("version")
    if span == "hour":
        stored = stored.filter(segment="")
    hours = _labelled_hours(context, start) if span == "day" else ()
    subjects = subjects_of(stored, shorter=hours)
    measured = [point for subject in subjects for point in points_of(context, subject, span, start)]
    return measured + gap_rows(context, measured, span, start) + error_rows(context, span, start)


def _labelled_hours(context: Context, day: datetime) -> Iterable[Summary]:
    """Read the hours of a day in which rows have labels: what the day's intervals are made from."""
    if MonitorKind.PERFORMANCE not in context.monitors:
        return ()
    return Summary.objects.filter(
        model=context.model,
        span="hour",
        segment="",
        labelled__gt=0,
        start__gte=day,
        start__lt=following(day, "day"),
    ).order_by("start")


_COLUMNS = (
    "model_id", "role", "version", "segment", "span", "start", "\"end\"", "metric", "feature", "value", "n", "lower",
    "upper", "threshold", "status", "detail",
)  # fmt: skip
_CHANGING = ('"end"', "value", "n", "lower", "upper", "threshold", "status", "detail")


def _save(rows: Sequence[MetricPoint]) -> None:
    """Upsert points in bulk; a value that late data changed counts as a new revision."""
    field = MetricPoint._meta.get_field("detail")
    for begin in range(0, len(rows), 2_000):
        part = rows[begin : begin + 2_000]
        places = ", ".join(["(" + ", ".join(["%s"] * len(_COLUMNS)) + ", 1, now())"] * len(part))
        values: list[Any] = []
        for row in part:
            values += [getattr(row, name.strip('"')) for name in _COLUMNS[:-1]]
            values.append(field.get_db_prep_save(row.detail, connection))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO monitors_metricpoint ({', '.join(_COLUMNS)}, revision, updated_at) VALUES {places} "
                "ON CONFLICT (model_id, span, metric, feature, segment, role, version, start) DO UPDATE SET "
                + ", ".join(f"{name} = EXCLUDED.{name}" for name in _CHANGING)
                + ", updated_at = now(), revision = monitors_metricpoint.revision"
                " + (monitors_metricpoint.value IS DISTINCT FROM EXCLUDED.value)::int",
                values,
            )
