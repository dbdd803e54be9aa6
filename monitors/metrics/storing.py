"""Stores metric points."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Q

from driftline.common.advisory_locks import AdvisoryLock, lock
from monitors.metrics.catalogue import CLASS_METRICS
from monitors.metrics.models import MetricPoint
from monitors.summaries.models import Summary

_COLUMNS = (
    "model_id", "role", "version", "segment", "span", "start", "\"end\"", "metric", "feature", "value", "n", "lower",
    "upper", "threshold", "status", "detail",
)  # fmt: skip
_CHANGING = ('"end"', "value", "n", "lower", "upper", "threshold", "status", "detail")


def lock_points(model_id: int) -> None:
    """Let one worker at a time write the points of a model, so that an older result never lands on a newer one."""
    lock(AdvisoryLock.METRIC_POINTS, model_id)


def save_points(rows: Sequence[MetricPoint]) -> None:
    """Upsert points in bulk, in the caller's transaction; a value that late data changed counts as a new revision."""
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


def forget_classes(
    model_id: int, rows: Iterable[MetricPoint], windows: Sequence[tuple[str, datetime]]
) -> None:
    """Delete the points of classes that a metric does not have in these windows (span, start) any more.

    `rows` are what was measured there now. A class goes where its last label is corrected, or more frequent ones come
    late. A metric that was not measured of a subject keeps its points.
    """
    fresh = {(*_subject(row), row.feature) for row in rows if row.metric in CLASS_METRICS}
    if not fresh:
        return
    measured = {key[:-1] for key in fresh}
    of_windows = Q()
    for span in {span for span, _ in windows}:
        of_windows |= Q(span=span, start__in=[start for one, start in windows if one == span])
    stored = MetricPoint.objects.filter(of_windows, model_id=model_id, metric__in=CLASS_METRICS)
    outdated = [
        point.pk
        for point in stored.only("metric", "span", "start", "role", "version", "segment", "feature")
        if _subject(point) in measured and (*_subject(point), point.feature) not in fresh
    ]
    if outdated:
        MetricPoint.objects.filter(pk__in=outdated).delete()


def forget_points(model_id: int, which: Q) -> None:
    """Delete the points of segments, in the caller's transaction; `which` is over the column `segment`."""
    lock_points(model_id)
    MetricPoint.objects.filter(which, model_id=model_id).delete()


def forget_vanished_segments(model_id: int, windows: Sequence[tuple[str, datetime]]) -> None:
    """Delete the points of segments that have no summary in these windows (span, start) any more.

    More frequent values of a feature came late, or the last row of one was corrected. A day that a month stands for
    keeps its points.
    """
    days = Summary.objects.filter(
        model_id=model_id, span="day", start__in=[start for span, start in windows if span == "day"]
    )
    kept: dict[datetime, set[str]] = {}
    for start, segment in days.values_list("start", "segment"):
        kept.setdefault(start, set()).add(segment)
    of_segments = MetricPoint.objects.filter(model_id=model_id, span="day", start__in=kept).exclude(
        segment=""
    )
    for start, segment in of_segments.values_list("start", "segment").distinct():
        if segment not in kept[start]:
            of_segments.filter(start=start, segment=segment).delete()


def _subject(point: MetricPoint) -> tuple[str, str, datetime, str, str, str]:
    return point.metric, point.span, point.start, point.role, point.version, point.segment
