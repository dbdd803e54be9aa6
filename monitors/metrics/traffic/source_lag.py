"""How far the sources of a model are behind, once an hour of event time has ended.

It is of the moment at which it is measured, so it is measured once an hour and never again.
"""

from datetime import datetime, timedelta

from django.db import transaction

from driftline.base.periods import floor
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import touch
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.hooks import find_lag
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.store.models import MetricPoint, PendingEvaluation
from monitors.metrics.store.points import Point, Population, row_of
from monitors.metrics.store.storing import lock_points, save_points

_ALL = Population(PredictionRole.CHAMPION, "")


def models_with_sources() -> list[Model]:
    """List the models of which a source is to be read."""
    return list(Model.objects.filter(sources__enabled=True, archived_at=None).distinct().order_by("pk"))


def measure_lag(model: Model, now: datetime) -> bool:
    """Measure `ingest_lag` of the hour that ended last, unless it is measured; returns whether it was now."""
    hour = floor(event_now(model=model, now=now), "hour") - timedelta(hours=1)
    with transaction.atomic():
        lock_points(model.pk)
        is_watched = model.monitors.filter(kind=MonitorKind.SERVICE, enabled=True).exists()
        measured = MetricPoint.objects.filter(model=model, span="hour", metric="ingest_lag", start__gte=hour)
        lag = find_lag(model, now)
        if lag is None or not is_watched or measured.exists():
            return False
        point = Point("ingest_lag", lag.seconds, 1, detail={"source": lag.source})
        save_points([row_of(model, _ALL, "hour", hour, point)])
        touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
        enqueue(Task.JUDGE, model_id=model.pk)
    return True
