"""Writes of rules, and judging them window by window in event time."""

import logging
import math
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q
from django.forms.models import model_to_dict

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.common.advisory_locks import AdvisoryLock, lock
from driftline.common.attempts import DATABASE_FAULTS, note_failure, reason_of, work_apart
from driftline.common.clock import now
from driftline.common.database.deadline import give_up_after
from driftline.common.errors import Problem, invalid, not_found
from driftline.common.periods import earlier, is_span, longest, overlap
from driftline.common.request_values import span_refusal
from driftline.common.task_queue import Task, enqueue
from driftline.common.work import finish, touch
from inference.prediction_log.imports.file_ends import ended_until
from inference.prediction_log.models import ANSWERING_ROLES, TouchedPeriod
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.monitors import AUTO, lock_monitors, set_rule_spans
from monitors.definitions.services import DEFAULT_MIN_ROWS
from monitors.metrics.catalogue import METRICS, Metric, nearest_metrics
from monitors.metrics.causes import rank_causes
from monitors.metrics.limits import SILENT, PointJudge
from monitors.metrics.models import MetricPoint, PackedPoints, PendingEvaluation, PointStatus
from monitors.rules.conditions import RuleOutcome, RuleProgress, RuleStep, step
from monitors.rules.known_names import check_names
from monitors.rules.models import Rule, RuleState, Severity, Transition
from monitors.rules.selectors import longest_of
from monitors.rules.signals import model_judged, rule_deleted
from monitors.summaries.models import StaleWindow, Summary

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    "feature": "",
    "segment": "",
    "span": AUTO,
    "operator": Rule.Operator.ABOVE,
    "for_windows": 1,
    "of_windows": None,
    "recovery_threshold": None,
    "recover_windows": 2,
    "min_rows": 100,
    "cooldown": timedelta(days=1),
    "notify_within": timedelta(hours=24),
    "severity": Severity.WARNING,
    "action": Rule.Action.NOTIFY,
    "enabled": True,
    "description": "",
    "owner": "",
    "runbook": "",
}
MAX_CAUSES_SECONDS = 10.0
"""How long ranking causes may hold up an alert."""
MAX_RULES = 10_000  # a thousand models with all default rules
MAX_AMONG = 1_000
_DAY = timedelta(days=1)
_OWN_KEYS = {"id", "created_at"}
_KINDS_BY_ROWS = (MonitorKind.DRIFT, MonitorKind.QUALITY, MonitorKind.PERFORMANCE)
_JUDGED_BY_ANY_ROWS = ("label_coverage",)


# -- writing rules -----------------------------------------------------------------------------------------------------
def new_rule(*, project: Project, model: Model, **fields: Any) -> Rule:
    """Make a rule that is not saved; what is not given is the default, and of `min_rows` what its monitor needs."""
    metric = METRICS.get(fields.get("metric", ""))
    rows = {"min_rows": min_rows_of(model, metric)} if metric else {}
    rule = Rule(project=project, model=model, **(DEFAULTS | rows | fields))
    rule.judged_span = judged_span(rule)
    return rule


def create_rule(*, project: Project, model: Model, actor: str, **fields: Any) -> Rule:
    """Create a rule; of the past it judges only what it would still notify of."""
    rule = new_rule(project=project, model=model, **fields)
    _check(rule)
    check_names(rule)
    if project.rules.count() >= MAX_RULES:
        raise Problem(422, "quota", f"A project may have {MAX_RULES:,} rules.")
    try:
        with transaction.atomic():
            lock_monitors(model)
            rule.judged_span = judged_span(rule)
            rule.save()
            RuleState.objects.create(rule=rule, judged_until=_first_judged(rule))
            _watch_spans(model)
            record_audit(
                project=project, actor=actor, action="rule.create", subject=rule.name, after=_plain(rule)
            )
            touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
            enqueue(Task.JUDGE, model_id=model.pk)
    except IntegrityError as error:
        raise _name_is_taken(rule) from error
    return rule


def update_rule(*, rule: Rule, actor: str, **changes: Any) -> Rule:
    """Change a rule; its standing stays until the next window is judged.

    What others changed since it was read stays, but for the fields of `changes`. Raises Problem, 404 once it was
    deleted.
    """
    try:
        with transaction.atomic():
            lock_monitors(rule.model)
            try:
                rule.refresh_from_db(from_queryset=Rule.objects.select_related("project", "model"))
            except Rule.DoesNotExist:
                raise not_found("rule") from None
            before = _change(rule, changes)
            former, rule.judged_span = rule.judged_span, judged_span(rule)
            rule.save()
            if rule.judged_span != former:
                _begin_streak_again([rule])
            _watch_spans(rule.model)
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


def _change(rule: Rule, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set fields of a rule and check them; returns the rule as it was, in plain values. Raises Problem."""
    before = _plain(rule)
    for name, value in changes.items():
        setattr(rule, name, value)
    needs_rows = {"metric", "min_rows"} & {
        name for name, value in _plain(rule).items() if before[name] != value
    }
    _check(rule, checks_rows=bool(needs_rows))
    if any(getattr(rule, name) != before[name] for name in ("metric", "feature", "segment")):
        check_names(rule)
    return before


def rights_of_change(rule: Rule | None, action: str = "") -> dict[str, str]:
    """Return what a change needs beside the right to change rules, by the pointer of the field that asks for it.

    A rule that starts runs automates deployments, so whoever makes, changes or deletes one needs that right.
    `rule` is the rule as it is, None for a new one; `action` is the action that it shall have.
    """
    retrains = Rule.Action.RETRAIN in (action, rule and rule.action)
    return {"/action": "rule.retrain"} if retrains else {}


def delete_rule(*, rule: Rule, actor: str) -> None:
    """Delete a rule with its transitions; incidents of it stay, and what it still alerts of is closed."""
    with transaction.atomic():
        lock_monitors(rule.model)
        record_audit(
            project=rule.project, actor=actor, action="rule.delete", subject=rule.name, before=_plain(rule)
        )
        rule_deleted.send(sender=Rule, rule=rule, actor=actor)
        rule.delete()
        _watch_spans(rule.model)


def refuse_while_watched(*, model: Model, which: Q) -> None:
    """Raise Problem where a rule watches one of these segments; `which` is over the column `segment`."""
    if (rule := Rule.objects.filter(which, model=model).order_by("pk").first()) is not None:
        raise Problem(
            409,
            "segment_watched",
            f"The rule {rule.name!r} watches {rule.segment}; change or delete the rule first.",
        )


def refuse_while_metric_watched(*, model: Model, metric: str, name: str) -> None:
    """Raise Problem where a rule watches a custom metric by its name; `metric` is the one that its points are of."""
    rules = Rule.objects.filter(model=model, metric=metric, feature=name).order_by("name")
    if names := [f"{one!r}" for one in rules.values_list("name", flat=True)]:
        raise Problem(
            409,
            "custom_metric_watched",
            f"{'Rules watch' if len(names) > 1 else 'A rule watches'} the custom metric {name!r} "
            f"({', '.join(names)}); change or delete {'them' if len(names) > 1 else 'it'} first.",
        )


def _name_is_taken(rule: Rule) -> Problem:
    return Problem(409, "rule_exists", f"{rule.model.name} already has a rule {rule.name!r}.")


def _check(rule: Rule, *, checks_rows: bool = True) -> None:
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
    if rule.span != AUTO and not is_span(str(rule.span)):
        raise invalid("/span", span_refusal("span", str(rule.span), AUTO))
    if rule.span != AUTO and metric.spans and rule.span not in metric.spans:
        raise invalid("/span", f"{rule.metric} is measured by the {' or '.join(metric.spans)} only.")
    if rule.segment and not metric.of_segments:
        raise invalid("/segment", f"{rule.metric} is measured of all rows; leave the segment out.")
    if rule.min_rows != 1 and not metric.of_rows:
        raise invalid("/min_rows", f"{rule.metric} is measured where no row comes; use 1 row.")
    if not rule.name.strip() or any(ord(character) < 32 for character in rule.name):
        raise invalid("/name", "A rule needs a name of printable characters.", "invalid_text")
    if not isinstance(rule.threshold, int | float) or not math.isfinite(rule.threshold):
        raise invalid("/threshold", f"{str(rule.threshold)[:64]!r} is not a finite number.")
    for field, choices in (
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
    _check_windows(rule)
    if checks_rows and rule.min_rows < (least := least_rows(metric, _monitor_of(rule.model, metric))):
        raise invalid(
            "/min_rows",
            f"{metric.title} of this model is judged from {least:,} rows on, so that a rule of {rule.min_rows:,} rows "
            f"would listen to windows that nobody judges; use {least:,} or more.",
        )
    for field in ("cooldown", "notify_within"):
        if not timedelta(0) <= getattr(rule, field) <= timedelta(days=3660):
            raise invalid(f"/{field}", "Use a number of seconds from 0 to ten years.")
    for field, most in (("description", 1_000), ("owner", 200)):
        text = getattr(rule, field)
        if len(text) > most or any(ord(letter) < 32 and letter != "\n" for letter in text):
            raise invalid(f"/{field}", f"Use at most {most:,} printable characters.", "invalid_text")
    _check_runbook(rule.runbook)


def _check_runbook(address: str) -> None:
    """Refuse what is no address of a page: it becomes a link in messages, so a browser must not run it."""
    if not address:
        return
    if len(address) > 500 or not address.isprintable() or " " in address:
        raise invalid("/runbook", "An address has at most 500 characters, without spaces.")
    try:
        parts = urlsplit(address)
        is_page = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_page = False
    if not is_page:
        raise invalid(
            "/runbook",
            f"{address[:64]!r} is not the address of a page, such as https://wiki.example.com/drift.",
        )


def _check_windows(rule: Rule) -> None:
    """Refuse more windows than there are to choose from, and a recovery beyond the threshold."""
    among, recovery = rule.of_windows, rule.recovery_threshold
    if among is not None and not (isinstance(among, int) and rule.for_windows <= among <= MAX_AMONG):
        raise invalid(
            "/of_windows",
            f"{str(among)[:64]!r} is not a whole number from for_windows, {rule.for_windows:,}, to {MAX_AMONG:,}.",
        )
    if recovery is None:
        return
    if not isinstance(recovery, int | float) or not math.isfinite(recovery):
        raise invalid("/recovery_threshold", f"{str(recovery)[:64]!r} is not a finite number.")
    if rule.is_breached_by(recovery):
        side = "above" if rule.operator == Rule.Operator.ABOVE else "below"
        raise invalid(
            "/recovery_threshold",
            f"A window at {recovery:g} is {side} the threshold, {rule.threshold:g}, and would not be good; use a value "
            "on the other side.",
        )


def _first_judged(rule: Rule) -> datetime | None:
    """Leave the stored past to the back-test, but for the last window that ended and those that people would be
    notified of.

    How long ago a window ended is counted by the wall clock, as alerts count it.
    """
    if newest_event(rule.model) is None:
        return None
    return min(event_now(model=rule.model, now=now()), now() - rule.notify_within) - longest(rule.judged_span)


# -- which windows a rule judges ---------------------------------------------------------------------------------------
def judged_span(rule: Rule) -> str:
    """Return the span of the windows that a rule judges: its own, or that of the monitor of its metric."""
    metric = METRICS.get(rule.metric)
    if rule.span != AUTO or metric is None:
        return rule.span if rule.span != AUTO else "day"
    monitor = _monitor_of(rule.model, metric)
    span = monitor.span if monitor else "day"
    return span if not metric.spans or span in metric.spans else metric.spans[-1]


def least_rows(metric: Metric, monitor: Monitor | None) -> int:
    """Return from how many rows on a metric is judged at all, by its monitor."""
    if metric.kind not in _KINDS_BY_ROWS or metric.name in _JUDGED_BY_ANY_ROWS or not metric.of_rows:
        return 1
    return monitor.min_rows if monitor else DEFAULT_MIN_ROWS[MonitorKind(metric.kind)]


def _monitor_of(model: Model, metric: Metric) -> Monitor | None:
    return Monitor.objects.filter(model=model, kind=metric.kind).first()


def min_rows_of(model: Model, metric: Metric) -> int:
    """Return the rows that a new rule asks for where nobody says so."""
    if not metric.of_rows:
        return 1
    least = least_rows(metric, _monitor_of(model, metric))
    return DEFAULTS["min_rows"] if least == 1 else least


def follow_monitor(monitor: Monitor) -> None:
    """Have the rules of a monitor's metrics judge its windows that do as it does, in the transaction that changed it.

    A rule that fires goes on firing; windows in a row are counted anew. Rules with a span of their own keep it, and the
    monitor measures it beside its new one.
    """
    moved = []
    for rule in monitor.model.rules.filter(span=AUTO).select_related("model"):
        span = judged_span(rule)
        if METRICS[rule.metric].kind == monitor.kind and span != rule.judged_span:
            rule.judged_span = span
            moved.append(rule)
    Rule.objects.bulk_update(moved, ["judged_span"])
    _begin_streak_again(moved)
    _watch_spans(monitor.model)


def _begin_streak_again(rules: Sequence[Rule]) -> None:
    states = RuleState.objects.filter(rule__in=rules)
    states.filter(standing=RuleState.Standing.PENDING).update(standing=RuleState.Standing.NORMAL)
    states.update(streak=0, recent="")


def _watch_spans(model: Model) -> None:
    """Have the windows measured that the model's rules judge, in the caller's transaction."""
    monitors = lock_monitors(model)
    spans: dict[str, set[str]] = {}
    for metric, span in Rule.objects.filter(model=model, enabled=True).values_list("metric", "judged_span"):
        spans.setdefault(METRICS[metric].kind, set()).add(span)
    set_rule_spans(monitors=monitors, spans=spans)


def _plain(rule: Rule) -> dict[str, Any]:
    fields = model_to_dict(rule)
    return {
        k: v.total_seconds() if isinstance(v, timedelta) else v
        for k, v in fields.items()
        if k not in _OWN_KEYS
    }


# -- judging -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Unfinished:
    """What of a model waits to be measured: starts of windows by span, and hours with rows that are not summarised."""

    windows: Mapping[str, Collection[datetime]]
    hours: Sequence[datetime]

    @classmethod
    def of(cls, model: Model) -> Self:
        windows: dict[str, set[datetime]] = {}
        for span, start in StaleWindow.objects.unfinished().filter(model=model).values_list("span", "start"):
            windows.setdefault(span, set()).add(start)
        coming = TouchedPeriod.objects.unfinished().filter(model=model, error="", role__in=ANSWERING_ROLES)
        return cls(windows, sorted(set(coming.values_list("hour", flat=True))))

    def first_hour(self, *, since: datetime | None) -> datetime | None:
        """Return the first hour from a moment on, or of all, with rows that rules do not know yet."""
        place = 0 if since is None else bisect_left(self.hours, since)
        return self.hours[place] if place < len(self.hours) else None


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
        ended = ended_until(model=model, now=now())
        _remeasure_ripe(model, ended)
        unfinished = _Unfinished.of(model)
        failed: dict[str, Exception] = {}
        for rule in model.rules.filter(enabled=True, model__archived_at=None).order_by("pk"):
            try:
                with transaction.atomic():
                    _judge_and_ring(rule, ended, unfinished)
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


def _judge_and_ring(rule: Rule, ended: datetime, unfinished: _Unfinished) -> None:
    state = RuleState.objects.select_for_update().get(rule=rule)
    judged_before = state.judged_until
    transitions = _judge_rule(rule, state, ended, unfinished)
    for transition in transitions:
        enqueue(Task.ALERT, transition_id=transition.pk)
        enqueue(Task.START_WORKFLOW, transition_id=transition.pk)
    if (
        state.standing == RuleState.Standing.FIRING
        and state.judged_until != judged_before
        and not transitions
    ):
        _announce_newest(rule)


def _announce_newest(rule: Rule) -> None:
    """Have alerts look whether somebody is to be notified now of a rule that goes on firing: the windows before may
    have been too old for that."""
    if (last := rule.transitions.order_by("-window_end", "-pk").first()) is not None:
        enqueue(Task.ALERT, transition_id=last.pk)


def _remeasure_ripe(model: Model, ended: datetime) -> None:
    """Points that were unripe when they were measured get their status once they have become ripe.

    Those of which nothing is measured any more stay as they are, or they would be found here again and again: hours
    whose summaries went into their day, and all where performance is watched no longer.
    """
    if not model.monitors.filter(kind=MonitorKind.PERFORMANCE, enabled=True).exists():
        return
    is_window = Q(span=OuterRef("span"), start=OuterRef("start"))
    is_day_of_longer = Q(span="day", start__gte=OuterRef("start"), start__lt=OuterRef("latest_end"))
    whole = Summary.objects.filter(model=OuterRef("model"), segment="", role__in=ANSWERING_ROLES)
    is_measured = Exists(whole.filter(is_window)) | (~Q(span="hour") & Exists(whole.filter(is_day_of_longer)))
    latest_end = ExpressionWrapper(F("start") + longest_of("span"), output_field=DateTimeField())
    with_ends = PackedPoints.objects.annotate(latest_end=latest_end)
    unripe = with_ends.filter(
        is_measured, model=model, role="champion", version="", segment="", ripe_at__lte=ended
    )
    windows = set(unripe.values_list("model_id", "span", "start"))
    if windows:
        touch(StaleWindow, windows, fields=("model_id", "span", "start"))
        enqueue(Task.MEASURE, model_id=model.pk)


def _judge_rule(rule: Rule, state: RuleState, ended: datetime, unfinished: _Unfinished) -> list[Transition]:
    transitions = []
    for window in _windows(rule, state, ended, unfinished):
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
    is_proven: bool = False


def _windows(rule: Rule, state: RuleState, ended: datetime, unfinished: _Unfinished) -> list[Window]:
    """List windows after the one judged last, oldest first, up to the first that is still open, unripe or incomplete.

    Incomplete is one of which hours are not summarised yet: a week of an import may be measured from its first days.
    """
    span, until = rule.judged_span, state.judged_until
    points = points_of(rule).filter(end__lte=ended)
    if until is not None:  # by their start too, which the index knows
        points = points.filter(end__gt=until, start__gt=until - longest(span))
    first_coming = unfinished.first_hour(since=until and until - overlap(span))
    windows = []
    for window in gather(rule, list(points.order_by("start"))):
        is_busy = window.start in unfinished.windows.get(span, ())
        is_incomplete = first_coming is not None and window.end > first_coming
        if window.status == PointStatus.UNRIPE or is_busy or is_incomplete:
            break
        windows.append(window)
    return windows


def shown_points(opened_by: Transition):  # type: ignore[no-untyped-def]
    """Select the points of what a rule opened an incident of: one feature's, where it looks at every one."""
    return points_of(opened_by.rule).filter(feature=opened_by.detail.get("feature") or opened_by.rule.feature)


def judged_since(since: datetime, opened_by: Transition) -> Iterator[MetricPoint]:
    """Read the points of what a rule opened an incident of that it has judged since a moment, the newest first."""
    points = shown_points(opened_by).filter(start__gte=since, value__isnull=False).defer("detail")
    for point in points.exclude(status__in=(*SILENT, PointStatus.UNRIPE)).order_by("-start").iterator():
        if opened_by.rule.breaks(point) is not None:
            yield point


def points_of(rule: Rule):  # type: ignore[no-untyped-def]
    """Select the points that a rule looks at."""
    points = MetricPoint.objects.filter(
        model=rule.model,
        span=rule.judged_span,
        metric=rule.metric,
        segment=rule.segment,
        role="champion",
        version="",
    )
    return points if rule.feature == "*" else points.filter(feature=rule.feature)


def gather(rule: Rule, points: Sequence[MetricPoint]) -> list[Window]:
    """Group points by window; of several features the one furthest beyond the threshold speaks, of those that the rule
    judges.

    A window that is insufficient or an error, or of an estimate that is unreliable, keeps its place and says nothing,
    as one does in which no feature has rows enough. A feature or class of few rows is silent by itself.
    """
    by_start: dict[datetime, list[MetricPoint]] = {}
    for point in points:
        by_start.setdefault(point.start, []).append(point)
    sign = 1 if rule.operator == Rule.Operator.ABOVE else -1
    windows = []
    for start in sorted(by_start):
        worst = max(
            _speaking(rule, by_start[start]), key=lambda p: -math.inf if p.value is None else sign * p.value
        )
        value = None if worst.status in SILENT else worst.value
        detail = worst.detail or {}
        windows.append(
            Window(
                start, worst.end, worst.feature, value, worst.n, worst.status, detail,
                is_proven=value is not None and rule.is_proven_by(worst),
            )
        )  # fmt: skip
    return windows


def _speaking(rule: Rule, points: Sequence[MetricPoint]) -> Sequence[MetricPoint]:
    """Narrow the points of a window to those that a rule judges; where it judges none, to what was measured."""
    measured = [point for point in points if point.value is not None]
    audible = [point for point in measured if point.status not in SILENT]
    judged = [point for point in audible if rule.breaks(point) is not None]
    return judged or audible or measured or points


def _progress(state: RuleState) -> RuleProgress:
    return RuleProgress(state.standing, state.streak, state.judged_until, state.acted_until, state.recent)


def _remember(state: RuleState, progress: RuleProgress) -> None:
    state.standing, state.streak, state.recent = progress.name, progress.streak, progress.recent
    state.judged_until, state.acted_until = progress.judged_until, progress.acted_until


def _record(rule: Rule, window: Window, verdict: RuleStep) -> Transition:
    """Write the transition with what was known; a second writer of the same one changes nothing."""
    detail: dict[str, Any] = {"feature": window.feature, "point": window.detail}
    if verdict.outcome is not RuleOutcome.RESOLVED:
        detail["since"] = _since(rule, window).isoformat()
        detail |= _causes(rule, window)
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


def _causes(rule: Rule, window: Window) -> dict[str, Any]:
    """Rank what explains a window; where that takes too long, say so: nobody waits longer for the alert."""
    try:
        with give_up_after(MAX_CAUSES_SECONDS):
            return {
                "causes": rank_causes(
                    model=rule.model,
                    start=begin_of_causes(rule, window.start, window.end, window.detail),
                    end=window.end,
                    segment=rule.segment,
                    metric=rule.metric,
                )
            }
    except TimeoutError:
        log.warning("causes not ranked in time", extra={"rule": rule.pk})
        return {"causes": [], "causes_are_late": True}


def _since(rule: Rule, window: Window) -> datetime:
    """Return when what a window shows began, as everything that reads its point says it."""
    shown = points_of(rule).filter(start=window.start, feature=window.feature)
    since = [point.since for point in PointJudge(rule.model, [rule]).judge(shown)]
    return since[0] or window.start if since else window.start


def begin_of_causes(rule: Rule, start: datetime, end: datetime, detail: Mapping[str, Any]) -> datetime:
    """Return from when on the causes of a window are looked for: as long as the rule looks before it fires, in whole
    days, as days before would water them down; evidence says since when it grows, in the `detail` of its point."""
    if onset := detail.get("onset"):
        return datetime.fromisoformat(onset)
    begin = earlier(start, rule.judged_span, rule.among_windows - 1)
    return end - -(-(end - begin) // _DAY) * _DAY


@dataclass(frozen=True)
class Backtest:
    """The stored windows that there were to judge, oldest first, and those that would have opened an incident."""

    windows: list[Window]
    opened: list[Window]

    @property
    def judged(self) -> int:
        """How many windows there were to judge."""
        return len(self.windows)


def backtest(*, rule: Rule, start: datetime, end: datetime) -> Backtest:
    """Tell which stored windows would have opened an incident, had the rule stood since `start`."""
    _check(rule)
    if rule._state.adding:
        check_names(rule)
    points = points_of(rule).filter(start__gte=start, end__lte=end).exclude(status=PointStatus.UNRIPE)
    windows = gather(rule, list(points.order_by("start")))
    progress, opened = RuleProgress(), []
    for window in windows:
        verdict = step(rule, progress, window)
        progress = verdict.progress
        if verdict.outcome is RuleOutcome.OPENED:
            opened.append(window)
    return Backtest(windows, opened)
