"""How far the stages have come with a model, and how it is: what only the roof can see at once."""

from datetime import datetime

from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.selectors import newest_event
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.metrics.catalogue import METRICS_OF_ROWS
from monitors.metrics.models import JointDay, PendingEvaluation
from monitors.rules.models import Severity, Transition
from monitors.summaries.models import StaleWindow
from monitors.workflows.models import ACTIVE_STATES, Run


def computed_until(model: Model) -> datetime | None:
    """Tell up to which event time everything is computed, judged and acted on; None before the first event.

    Work that is due holds it back to where that work begins; so does a run that can go on without traffic. Days whose
    rows are to be read hold it back where a rule listens to what is measured from them.
    """
    newest = newest_event(model)
    if newest is None:
        return None
    return min([newest, *_unfinished(model, newest)])


def _unfinished(model: Model, newest: datetime) -> list[datetime]:
    touched = TouchedPeriod.objects.filter(model=model).order_by("hour").values_list("hour", flat=True)[:1]
    stale = StaleWindow.objects.filter(model=model).order_by("start").values_list("start", flat=True)[:1]
    joint = JointDay.objects.filter(model=model).ended(newest).order_by("start")
    listens = model.rules.filter(enabled=True, metric__in=METRICS_OF_ROWS).exists()
    transitions = Transition.objects.filter(model=model)
    open_transitions = transitions.filter(workflows_done_at=None) | transitions.filter(alerts_done_at=None)
    unhandled = open_transitions.order_by("window_start").values_list("window_start", flat=True)[:1]
    busy_runs = Run.objects.filter(model=model, state__in=ACTIVE_STATES, needs="")
    running = busy_runs.order_by("data_until").values_list("data_until", flat=True)[:1]
    unjudged = [_day_start(newest)] if PendingEvaluation.objects.filter(model=model).exists() else []
    return [
        *touched,
        *stale,
        *(joint.values_list("start", flat=True)[:1] if listens else ()),
        *unhandled,
        *(min(moment, _day_start(newest)) for moment in running),
        *unjudged,
    ]


def _day_start(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def model_status(model: Model) -> str:
    """Tell how a model is: the severity of its worst unresolved incident, `ok`, or `no_data`."""
    severities = set(
        Incident.objects.filter(model=model)
        .exclude(status=Incident.Status.RESOLVED)
        .values_list("severity", flat=True)
    )
    if Severity.CRITICAL in severities:
        return "critical"
    if Severity.WARNING in severities:
        return "warning"
    return "ok" if newest_event(model) else "no_data"
