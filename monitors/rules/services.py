"""Writes of rules, and judging them window by window in event time."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.forms.models import model_to_dict

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.common.advisory_locks import AdvisoryLock, lock
from driftline.common.attempts import DATABASE_FAULTS, note_failure, reason_of, work_apart
from driftline.common.clock import now
from driftline.common.errors import Problem, invalid
from driftline.common.task_queue import Task, enqueue
from driftline.common.work import finish, touch
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.catalogue import METRICS, nearest_metrics
from monitors.metrics.causes import rank_causes
from monitors.metrics.models import MetricPoint, PendingEvaluation, PointStatus
from monitors.rules.conditions import RuleOutcome, RuleProgress, RuleStep, step
from monitors.rules.models import Rule, RuleState, Severity, Transition
from monitors.rules.signals import model_judged
from monitors.summaries.models import StaleWindow, Summary

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    "feature": "",
    "segment": "",
    "span": "day",
    "operator": Rule.Operator.ABOVE,
    "for_windows": 1,
    "recover_windows": 2,
    "min_rows": 100,
    "cooldown": timedelta(days=1),
    "notify_within": timedelta(hours=24),
    "severity": Severity.WARNING,
    "action": Rule.Action.NOTIFY,
    "enabled": True,
}
MAX_RULES = 10_000  # a thousand models with all default rules
_DAY = timedelta(days=1)
_OWN_KEYS = {"id", "created_at"}


# -- writing rules -----------------------------------------------------------------------------------------------------
def create_rule(*, project: Project, model: Model, actor: str, **fields: Any) -> Rule:
    """Create a rule; of the past it judges only what it would still notify of."""
    metric = METRICS.get(fields.get("metric", ""))
    least_rows = {"min_rows": 1} if metric and not metric.of_rows else {}
    rule = Rule(project=project, model=model, **(DEFAULTS | least_rows | fields))
    _check(rule)
    if project.rules.count() >= MAX_RULES:
        raise Problem(422, "quota", f"A project may have {MAX_RULES:,} rules.")
    try:
        with transaction.atomic():
            rule.save()
            RuleState.objects.create(rule=rule, judged_until=_first_judged(rule))
            _watch_span(rule)
            record_audit(
                project=project, actor=actor, action="rule.create", subject=rule.name, after=_plain(rule)
            )
            touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
            enqueue(Task.JUDGE, model_id=model.pk)
    except IntegrityError as error:
        raise _name_is_taken(rule) from error
    return rule


def update_rule(*, rule: Rule, actor: str, **changes: Any) -> Rule:
    """Change a rule; its standing stays until the next window is judged."""
    before = _plain(rule)
    for name, value in changes.items():
        setattr(rule, name, value)
    _check(rule)
    try:
        with transaction.atomic():
            rule.save()
            _watch_span(rule)
            record_audit(
                project=rule.project,
                actor=actor,
                action="rule.update",
                subject=rule.name,
                before=before,
                after=_plain(rule),
            )
    except IntegrityError as error:
        raise _name_is_taken(rule) from error
    return rule


def rights_of_change(rule: Rule | None, action: str = "") -> dict[str, str]:
    """Return what a change needs beside the right to change rules, by the pointer of the field that asks for it.

    A rule that starts runs automates deployments, so whoever makes, changes or deletes one needs that right.
    `rule` is the rule as it is, None for a new one; `action` is the action that it shall have.
    """
    retrains = Rule.Action.RETRAIN in (action, rule and rule.action)
    return {"/action": "rule.retrain"} if retrains else {}


def delete_rule(*, rule: Rule, actor: str) -> None:
    """Delete a rule with its history."""
    with transaction.atomic():
        record_audit(
            project=rule.project, actor=actor, action="rule.delete", subject=rule.name, before=_plain(rule)
        )
        rule.delete()


def refuse_while_watched(*, model: Model, which: Q) -> None:
    """Raise Problem where a rule watches one of these segments; `which` is over the column `segment`."""
    if (rule := Rule.objects.filter(which, model=model).order_by("pk").first()) is not None:
        raise Problem(
            409,
            "segment_watched",
            f"The rule {rule.name!r} watches {rule.segment}; change or delete the rule first.",
        )


def _name_is_taken(rule: Rule) -> Problem:
    return Problem(409, "rule_exists", f"{rule.model.name} already has a rule {rule.name!r}.")


def _check(rule: Rule) -> None:
    metric = METRICS.get(rule.metric)
    if metric is None:
        known = nearest_metrics(str(rule.metric))
        raise invalid(
            "/metric",
            f"{str(rule.metric)[:64]!r} is not a metric; use one such as {known}.",
            "unknown_metric",
        )
    if metric.has_feature and not rule.feature:
        raise invalid("/feature", f"{rule.metric} is measured a feature; name one, or use '*' for any.")
    if rule.feature and not metric.has_feature:
        raise invalid("/feature", f"{rule.metric} has no feature; leave it out.")
    if rule.span in ("hour", "day") and rule.span not in metric.spans:
        raise invalid("/span", f"{rule.metric} is measured by the {metric.spans[0]}; use {metric.spans[0]}.")
    if rule.segment and not metric.of_segments:
        raise invalid("/segment", f"{rule.metric} is measured of all rows; leave the segment out.")
    if rule.min_rows != 1 and not metric.of_rows:
        raise invalid("/min_rows", f"{rule.metric} is measured where no row comes; use 1 row.")
    if not rule.name.strip() or any(ord(character) < 32 for character in rule.name):
        raise invalid("/name", "A rule needs a name of printable characters.", "invalid_text")
    if not isinstance(rule.threshold, int | float) or not math.isfinite(rule.threshold):
        raise invalid("/threshold", f"{str(rule.threshold)[:64]!r} is not a finite number.")
    for field, choices in (
        ("span", ("hour", "day")),
        ("operator", Rule.Operator.values),
        ("severity", Severity.values),
        ("action", Rule.Action.values),
    ):
        if getattr(rule, field) not in choices:
            raise invalid(
                f"/{field}", f"{str(getattr(rule, field))[:64]!r} is not one of {', '.join(choices)}."
            )
    for field, most in (("for_windows", 1_000), ("recover_windows", 1_000), ("min_rows", 10**9)):
        value = getattr(rule, field)
        if not isinstance(value, int) or not 1 <= value <= most:
            raise invalid(f"/{field}", f"{str(value)[:64]!r} is not a whole number from 1 to {most:,}.")
    for field in ("cooldown", "notify_within"):
        if not timedelta(0) <= getattr(rule, field) <= timedelta(days=3660):
            raise invalid(f"/{field}", "Use a number of seconds from 0 to ten years.")


def _first_judged(rule: Rule) -> datetime | None:
    """Leave the stored past to the back-test, but for the windows that are news."""
    if newest_event(rule.model) is None:
        return None
    length = timedelta(hours=1) if rule.span == "hour" else timedelta(days=1)
    return event_now(model=rule.model, now=now()) - rule.notify_within - length


def _watch_span(rule: Rule) -> None:
    """A rule over hours needs hourly points of its kind."""
    kind = METRICS[rule.metric].kind
    if rule.span == "hour" and kind in (MonitorKind.DRIFT, MonitorKind.QUALITY):
        Monitor.objects.filter(model=rule.model, kind=kind).update(span="hour")


def _plain(rule: Rule) -> dict[str, Any]:
    fields = model_to_dict(rule)
    return {
        k: v.total_seconds() if isinstance(v, timedelta) else v
        for k, v in fields.items()
        if k not in _OWN_KEYS
    }


# -- judging -----------------------------------------------------------------------------------------------------------
def judge(model_id: int) -> bool:
    """Judge every rule of a model on the windows that are closed and ripe; returns whether there was work."""
    with transaction.atomic():
        pending = PendingEvaluation.objects.filter(model_id=model_id).claim(limit=1)
    if pending:
        work_apart(pending, partial(_judge_rules, model_id))
    return bool(pending)


def _judge_rules(model_id: int, pending: Sequence[PendingEvaluation]) -> None:
    with transaction.atomic():
        lock(AdvisoryLock.RULES, model_id)
        model = Model.objects.get(pk=model_id)
        clock = event_now(model=model, now=now())
        _remeasure_ripe(model, clock)
        failed: dict[str, Exception] = {}
        for rule in model.rules.filter(enabled=True).order_by("pk"):
            try:
                with transaction.atomic():
                    _judge_and_ring(rule, clock)
            except DATABASE_FAULTS:
                raise
            except Exception as error:  # the other rules are judged
                log.exception("rule not judged", extra={"rule": rule.pk})
                failed[rule.name] = error
        model_judged.send(sender=Model, model=model)
        if failed:
            said = (f"Rule {name!r}: {reason_of(error)}" for name, error in failed.items())
            note_failure(pending[0], "; ".join(said))
        else:
            finish(pending)


def _judge_and_ring(rule: Rule, clock: datetime) -> None:
    state = RuleState.objects.select_for_update().get(rule=rule)
    for transition in _judge_rule(rule, state, clock):
        enqueue(Task.ALERT, transition_id=transition.pk)
        enqueue(Task.START_WORKFLOW, transition_id=transition.pk)


def _remeasure_ripe(model: Model, clock: datetime) -> None:
    """Points that were unripe when they were measured get their status once they have become ripe.

    Those of which nothing is measured any more stay as they are, or they would be found here again and again: hours
    whose summaries went into their day, and all where performance is watched no longer.
    """
    if not model.monitors.filter(kind=MonitorKind.PERFORMANCE, enabled=True).exists():
        return
    summaries = Summary.objects.filter(
        model=OuterRef("model"),
        span=OuterRef("span"),
        start=OuterRef("start"),
        segment="",
        role__in=ANSWERING_ROLES,
    )
    unripe = MetricPoint.objects.filter(
        Exists(summaries),
        model=model,
        role="champion",
        version="",
        segment="",
        metric="label_coverage",
        status=PointStatus.UNRIPE,
        detail__ripe_at__lte=clock.isoformat(),
    )
    windows = set(unripe.values_list("model_id", "span", "start"))
    if windows:
        touch(StaleWindow, windows, fields=("model_id", "span", "start"))
        enqueue(Task.MEASURE, model_id=model.pk)


def _judge_rule(rule: Rule, state: RuleState, clock: datetime) -> list[Transition]:
    transitions = []
    for window in _windows(rule, state, clock):
        verdict = step(rule, _progress(state), window)
        _remember(state, verdict.progress)
        if verdict.outcome is not RuleOutcome.NOTHING:
            transitions.append(_record(rule, window, verdict))
    state.save()
    return transitions


@dataclass(frozen=True)
class Window:
    """One closed window of a rule's metric: the worst point, when the rule looks at every feature."""

    start: datetime
    end: datetime
    feature: str
    value: float | None
    n: int
    status: str
    detail: dict[str, Any]


def _windows(rule: Rule, state: RuleState, clock: datetime) -> list[Window]:
    """List windows after the one judged last, oldest first, up to the first that is still open or unripe."""
    points = points_of(rule).filter(end__lte=clock)
    if state.judged_until is not None:
        points = points.filter(end__gt=state.judged_until)
    measured = StaleWindow.objects.filter(model=rule.model, span=rule.span).unfinished()
    busy = set(measured.values_list("start", flat=True))
    windows = []
    for window in gather(rule, list(points.order_by("start"))):
        if window.status == PointStatus.UNRIPE or window.start in busy:
            break
        windows.append(window)
    return windows


def points_of(rule: Rule):  # type: ignore[no-untyped-def]
    """Select the points that a rule looks at."""
    points = MetricPoint.objects.filter(
        model=rule.model,
        span=rule.span,
        metric=rule.metric,
        segment=rule.segment,
        role="champion",
        version="",
    )
    return points if rule.feature == "*" else points.filter(feature=rule.feature)


_SILENT = (PointStatus.INSUFFICIENT, PointStatus.UNRELIABLE, PointStatus.ERROR)


def gather(rule: Rule, points: Sequence[MetricPoint]) -> list[Window]:
    """Group points by window; of several features the one furthest beyond the threshold speaks.

    A window that is insufficient or an error, or of an estimate that is unreliable, keeps its place and says
    nothing. A class of few rows is silent by itself: the others speak.
    """
    by_start: dict[datetime, list[MetricPoint]] = {}
    for point in points:
        by_start.setdefault(point.start, []).append(point)
    sign = 1 if rule.operator == Rule.Operator.ABOVE else -1
    windows = []
    for start in sorted(by_start):
        measured = [p for p in by_start[start] if p.value is not None] or by_start[start]
        measured = [p for p in measured if p.status not in _SILENT] or measured
        worst = max(measured, key=lambda p: -math.inf if p.value is None else sign * p.value)
        value = None if worst.status in _SILENT else worst.value
        windows.append(
            Window(start, worst.end, worst.feature, value, worst.n, worst.status, worst.detail or {})
        )
    return windows


def _progress(state: RuleState) -> RuleProgress:
    return RuleProgress(state.standing, state.streak, state.judged_until, state.acted_until)


def _remember(state: RuleState, progress: RuleProgress) -> None:
    state.standing, state.streak = progress.name, progress.streak
    state.judged_until, state.acted_until = progress.judged_until, progress.acted_until


def _record(rule: Rule, window: Window, verdict: RuleStep) -> Transition:
    """Write the transition with what was known; a second writer of the same one changes nothing."""
    detail: dict[str, Any] = {"feature": window.feature, "point": window.detail}
    if verdict.outcome is not RuleOutcome.RESOLVED:
        detail["causes"] = rank_causes(
            model=rule.model,
            start=window.end - _judged_length(rule),
            end=window.end,
            segment=rule.segment,
            metric=rule.metric,
        )
    transition, _ = Transition.objects.get_or_create(
        rule=rule,
        kind=verdict.outcome.value,
        window_end=window.end,
        defaults={
            "model": rule.model,
            "window_start": window.start,
            "value": window.value,
            "n": window.n,
            "threshold": rule.threshold,
            "detail": detail,
        },
    )
    return transition


def _judged_length(rule: Rule) -> timedelta:
    """How long a rule looks before it fires, in whole days: causes are looked for in just these, as days before would
    water them down."""
    if rule.span == "day":
        return rule.for_windows * _DAY
    return -(-rule.for_windows // 24) * _DAY


def backtest(*, rule: Rule, start: datetime, end: datetime) -> list[Window]:
    """Tell which stored windows would have opened an incident, had the rule stood since `start`."""
    _check(rule)
    points = points_of(rule).filter(start__gte=start, end__lte=end).exclude(status=PointStatus.UNRIPE)
    progress, opened = RuleProgress(), []
    for window in gather(rule, list(points.order_by("start"))):
        verdict = step(rule, progress, window)
        progress = verdict.progress
        if verdict.outcome is RuleOutcome.OPENED:
            opened.append(window)
    return opened
