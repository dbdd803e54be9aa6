"""How far the stages have come with models, and how they are: what no stage below can see alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery

from driftline.operations.stuck_work import is_stuck
from driftline.operations.watching import LEARNING, NOT_MONITORED, OK, Watch, watch_of_each
from inference.prediction_log.models import TouchedPeriod
from inference.prediction_log.queries.selectors import newest_arrivals
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.metrics.catalogue import METRICS_OF_ROWS
from monitors.metrics.store.models import PendingEvaluation, PointStatus, UnreadDay
from monitors.rules.models import Rule, Severity, Transition
from monitors.summaries.models import StaleWindow
from monitors.workflows.models import ACTIVE_STATES, Run

ERROR = str(PointStatus.ERROR)
STATUSES = (
    OK,
    LEARNING,
    NOT_MONITORED,
    Severity.NOTICE.value,
    Severity.WARNING.value,
    Severity.CRITICAL.value,
    ERROR,
)


@dataclass(frozen=True)
class Progress:
    """Of one model: its newest event, up to which event time everything is computed, judged and acted on, and `status`.

    Both times are None before the first event. Work that is due holds the second back to where that work begins; so
    does a run that can go on without traffic, and days whose rows are to be read where a rule listens to what is
    measured from them; work that has failed does not. The status is `critical` where an unresolved incident is so,
    else `error` where something cannot be summarised, measured or judged, else the severity of the worst unresolved
    incident, or how it is watched: `ok`, `learning` or `not_monitored`, with what is `missing` (see `watching.py`).
    """

    newest: datetime | None
    computed_until: datetime | None
    status: str
    missing: tuple[str, ...] = ()


def progress_of(model: Model) -> Progress:
    """Return how far the stages have come with a model."""
    return progress_of_each([model])[model.pk]


def progress_of_each(models: Iterable[Model]) -> dict[int, Progress]:
    """Return of several models how far the stages have come with each, by its id, in a few questions for all."""
    chosen = Model.objects.filter(pk__in=[model.pk for model in models])
    newest = {pk: arrival[0] for pk, arrival in newest_arrivals(chosen).items()}
    watches = watch_of_each(chosen, newest)
    return {
        facts["pk"]: _progress(newest[facts["pk"]], facts, watches[facts["pk"]])
        for facts in _unfinished(chosen)
    }


def _unfinished(models: QuerySet[Model]) -> Iterable[Mapping[str, Any]]:
    """Read where the work that is due begins with each model, and its unresolved incidents."""
    mine = {"model": OuterRef("pk")}
    # A condition may name one of them in any of its comparisons.
    of_rows = Q(metric__in=METRICS_OF_ROWS) | Q(condition__isnull=False)
    transitions = Transition.objects.filter(**mine)
    unhandled = transitions.filter(workflows_done_at=None) | transitions.filter(alerts_done_at=None)
    unresolved = Incident.objects.filter(**mine).exclude(status=Incident.Status.RESOLVED)
    return models.values(
        "pk",
        touched=_first(TouchedPeriod.objects.unfinished().filter(**mine), "hour"),
        stale=_first(StaleWindow.objects.unfinished().filter(**mine), "start"),
        unread=_first(UnreadDay.objects.unfinished().filter(**mine), "start"),
        listens=Exists(Rule.objects.filter(of_rows, **mine, enabled=True)),
        unhandled=_first(unhandled, "window_start"),
        running=_first(Run.objects.filter(**mine, state__in=ACTIVE_STATES, needs=""), "data_until"),
        is_unjudged=Exists(PendingEvaluation.objects.unfinished().filter(**mine)),
        is_stuck=ExpressionWrapper(is_stuck(), BooleanField()),
        is_critical=Exists(unresolved.filter(severity=Severity.CRITICAL)),
        is_warned=Exists(unresolved.filter(severity=Severity.WARNING)),
        is_noticed=Exists(unresolved.filter(severity=Severity.NOTICE)),
    )


def _first(rows: QuerySet[Any], field: str) -> Subquery:
    return Subquery(rows.order_by(field).values(field)[:1])


def _progress(newest: datetime | None, facts: Mapping[str, Any], watch: Watch) -> Progress:
    problems = (
        (Severity.CRITICAL.value, facts["is_critical"]),
        (ERROR, facts["is_stuck"]),
        (Severity.WARNING.value, facts["is_warned"]),
        (Severity.NOTICE.value, facts["is_noticed"]),
    )
    status = next((name for name, is_there in problems if is_there), watch.status)
    if newest is None:
        return Progress(None, None, status, watch.missing)
    day = newest.replace(hour=0, minute=0, second=0, microsecond=0)
    holding_back = [facts["touched"], facts["stale"], facts["unhandled"]]
    if facts["listens"] and facts["unread"] and facts["unread"] <= newest - timedelta(days=1):
        holding_back.append(facts["unread"])
    if facts["running"]:
        holding_back.append(min(facts["running"], day))
    if facts["is_unjudged"]:
        holding_back.append(day)
    begins = min(filter(None, holding_back), default=None)
    if begins == newest:  # that event is a part of it
        begins -= timedelta(microseconds=1)
    until = newest if begins is None else min(newest, begins)
    return Progress(newest, until, status, watch.missing)
