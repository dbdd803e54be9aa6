"""Metric points of windows that were measured, or measured again."""

from collections.abc import Collection

import msgspec
from django.db.models import Count, Min

from driftline.base.accounts.models import Project
from inference.prediction_log.models import size_of
from monitors.metrics.limits import PointJudge
from monitors.metrics.schemas import PointOut
from monitors.metrics.store.models import MetricPoint, PackedPoints
from monitors.sinks.models import SinkStream, StreamKind, UnsentPoints, is_sent_by_sink
from monitors.sinks.streams.stream import (
    Backlog,
    SinkBatch,
    SinkMessage,
    StreamReader,
    message_of,
    nothing_to_begin,
)

MAX_POINT_ROWS = 200
MAX_POINTS = 20_000
"""Of a batch, which may have one row of more; they are in memory together."""


def note_stored(model_id: int, rows: Collection[int]) -> None:
    """Note that rows of points were stored, in the transaction that stores them; does nothing without a sink."""
    if rows and is_sent_by_sink(model_id, StreamKind.METRICS):
        UnsentPoints.objects.bulk_create(UnsentPoints(model_id=model_id, row=row) for row in rows)


def next_batch(stream: SinkStream) -> SinkBatch | None:
    """Return the points of rows of one model that wait the longest, as they are now, each row once."""
    project = stream.sink.project
    unsent = UnsentPoints.objects.filter(model__project=project).select_related("model").order_by("pk")
    first = unsent.first()
    if first is None:
        return None
    chosen = _bounded(list(unsent.filter(model=first.model)[:MAX_POINT_ROWS]))
    found = MetricPoint.objects.filter(row__in={one.row for one in chosen}).order_by(
        "start", "metric", "feature"
    )
    judged = PointJudge(first.model).judge(found)
    messages = [_message(project, first.model.name, point) for point in judged]

    def finish() -> int:
        UnsentPoints.objects.filter(pk__in=[one.pk for one in chosen]).delete()
        return 0

    return SinkBatch(messages, finish)


def _bounded(unsent: list[UnsentPoints]) -> list[UnsentPoints]:
    """Return the first of these rows, as many as have no more than `MAX_POINTS` points, and at least one."""
    rows = PackedPoints.objects.filter(pk__in={one.row for one in unsent})
    points = dict(rows.values_list("pk", size_of("statuses")))  # a byte each
    total = 0
    for place, one in enumerate(unsent):
        total += points.pop(one.row, 0)  # a row that was measured again is sent once
        if place and total > MAX_POINTS:
            return unsent[:place]
    return unsent


def _message(project: Project, model: str, point: MetricPoint) -> SinkMessage:
    named = (
        point.span,
        point.start.isoformat(),
        point.role,
        point.version,
        point.segment,
        point.metric,
        point.feature,
    )
    value = {"span": point.span} | msgspec.structs.asdict(PointOut.of(point))
    return message_of(project, model, "/".join(named), value)


def backlog(stream: SinkStream) -> Backlog:
    found = UnsentPoints.objects.filter(model__project=stream.sink.project)
    return Backlog(**found.aggregate(rows=Count("row", distinct=True), since=Min("created_at")))


def end(project: Project) -> None:
    """Forget what was still to be sent."""
    UnsentPoints.objects.filter(model__project=project).delete()


POINTS = StreamReader(next_batch, backlog, nothing_to_begin, end)
