"""Rules on stored points of single days, and the incidents that they open."""

from datetime import timedelta
from typing import Any

from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.storing import save_points
from monitors.rules.judging.judge import judge
from monitors.rules.models import Rule, Transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, log, rows_of_a_day

ONE_DAY = timedelta(days=1)


def watch(model: Model, **fields: object) -> Rule:
    defaults = {"name": "ranks badly", "metric": "roc_auc", "operator": "below", "threshold": 0.8}
    return create_rule(project=model.project, model=model, actor="test", **(defaults | fields))


def point(model: Model, value: float, *, day: int = 0, n: int = 300, **fields: Any) -> MetricPoint:
    start = DAY + day * ONE_DAY
    defaults = {"metric": "roc_auc", "status": "ok", "role": "champion", "span": "day"}
    return MetricPoint(model=model, value=value, n=n, start=start, end=start + ONE_DAY, **(defaults | fields))


def incident_of(model: Model, *points: MetricPoint) -> Incident:
    save_points(points)
    log(model, rows_of_a_day(DAY + 20 * ONE_DAY, 1))
    judge(model.pk)
    for transition in Transition.objects.filter(model=model).order_by("pk"):
        handle_transition(transition.pk)
    return Incident.objects.get(model=model)
