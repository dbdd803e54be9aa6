"""Judges rules window by window in event time, writes their transitions, and back-tests them over stored windows."""

import logging
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self

from django.db import transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q

from driftline.base.clock import now
from driftline.base.database.deadline import give_up_after
from driftline.base.periods import earlier, floor, longest, overlap
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.attempts import DATABASE_FAULTS, note_failure, reason_of, work_apart
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import finish, touch
from inference.prediction_log.imports.file_ends import ended_until
from inference.prediction_log.models import ANSWERING_ROLES, TouchedPeriod
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import METRICS_OF_ROWS
from monitors.metrics.explaining.causes import rank_causes
from monitors.metrics.limits import SILENT, PointJudge
from monitors.metrics.store.models import MetricPoint, PackedPoints, PendingEvaluation, PointStatus, UnreadDay
from monitors.rules.checks import check_rule, monitors_of
from monitors.rules.judging.condition_trees import document_of
from monitors.rules.judging.conditions import NoDataPolicy, RuleOutcome, RuleProgress, RuleStep, step
from monitors.rules.judging.windows import Window, points_of, read_windows
from monitors.rules.known_names import check_names
from monitors.rules.models import Rule, RuleState, Severity, Transition
from monitors.rules.selectors import longest_of
from monitors.rules.signals import model_judged
from monitors.summaries.models import StaleWindow, Summary

log = logging.getLogger(__name__)


MAX_CAUSES_SECONDS = 10.0
"""How long ranking causes may hold up an alert."""


MAX_RUN_WINDOWS = 64
"""How many windows before the one that fires are looked at for when that began, of a rule with a condition."""


_DAY = timedelta(days=1)


_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Unfinished:
    """What of a model waits to be measured: starts of windows by span, hours with rows that are not summarised, and
    days with rows that are not read."""

    windows: Mapping[str, Collection[datetime]]
    hours: Sequence[datetime]
    days: Collection[datetime]

    @classmethod
    def of(cls, model: Model) -> Self:
        windows: dict[str, set[datetime]] = {}
        for span, start in StaleWindow.objects.unfinished().filter(model=model).values_list("span", "start"):
            windows.setdefault(span, set()).add(start)
        coming = TouchedPeriod.objects.unfinished().filter(model=model, error="", role__in=ANSWERING_ROLES)
        unread = UnreadDay.objects.unfinished().filter(model=model).values_list("start", flat=True)
        return cls(windows, sorted(set(coming.values_list("hour", flat=True))), set(unread))

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
                RuleState.objects.filter(rule=rule).update(error=reason_of(error))
        model_judged.send(sender=Model, model=model)
        if failed:
            reasons = (f"Rule {name!r}: {reason_of(error)}" for name, error in failed.items())
            note_failure(pending[0], "; ".join(reasons))
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
    """Ask alerts to look whether somebody is to be notified now of a rule that goes on firing: the windows before may
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
    state.error = ""
    for window in _windows(rule, state, ended, unfinished):
        verdict = step(rule, _progress(state), window)
        _remember(state, verdict.progress)
        if verdict.outcome is not RuleOutcome.NOTHING:
            transitions.append(_record(rule, window, verdict))
    if state.standing == RuleState.Standing.FIRING:
        transitions += _end_what_never_was(rule, state)
    state.save()
    return transitions


def _end_what_never_was(rule: Rule, state: RuleState) -> list[Transition]:
    """Resolve a rule whose windows since it fired say otherwise by now, as after labels that came, or of which nothing
    is left, as after an import that was undone: no later window may come that would say so."""
    newest = rule.transitions.exclude(kind=Transition.Kind.RESOLVED).order_by("-window_end", "-pk")
    opened = newest.filter(kind=Transition.Kind.OPENED).first()
    if opened is None or opened.lacks_data:
        return []
    last = newest[0]
    values: dict[str, Any] = {
        "n": 0,
        "threshold": last.threshold,
        "detail": {key: last.detail[key] for key in ("feature", "comparison") if key in last.detail}
        | {"no_data": True},
    }
    if is_measured := shown_points(opened).filter(start__gte=opened.window_start).exists():
        corrected = _corrected_window(rule, state, opened)
        if corrected is None:
            return []
        values = {
            "value": corrected.value,
            "n": corrected.n,
            "threshold": threshold_of(rule, corrected),
            "detail": detail_of(rule, corrected),
        }
    values["detail"]["corrected"] = True
    _remember(
        state,
        replace(_progress(state), name="normal", streak=0, is_critical=False, lacks_data=not is_measured),
    )
    resolved, _ = Transition.objects.get_or_create(
        rule=rule, kind=Transition.Kind.RESOLVED, window_end=last.window_end,
        defaults={"model": rule.model, "window_start": last.window_start, **values},
    )  # fmt: skip
    return [resolved]


def _corrected_window(rule: Rule, state: RuleState, opened: Transition) -> Window | None:
    """Return the newest window that was judged, where none since the rule fired is beyond its limit any more."""
    first = read_windows(rule, since=opened.window_start, until=opened.window_end)
    if not first or first[-1].is_breached is not False:
        return None  # the others need not be read
    assert state.judged_until is not None
    windows = read_windows(rule, since=opened.window_start, until=state.judged_until)
    return windows[-1] if all(window.is_breached is False for window in windows) else None


def _windows(rule: Rule, state: RuleState, ended: datetime, unfinished: _Unfinished) -> list[Window]:
    """List windows after the one judged last, oldest first, up to the first that is still open, unripe or incomplete.

    Incomplete is one of which hours are not summarised yet: a week of an import may be measured from its first days.
    The newest window of a condition that lacks a point says nothing by itself, so that it is waited for.
    """
    span, until = rule.judged_span, state.judged_until
    since = None if until is None else until - longest(span) + _INSTANT
    found = read_windows(rule, since=since, until=ended)
    found = [window for window in found if until is None or window.end > until]
    first_coming = unfinished.first_hour(since=until and until - overlap(span))
    reads_days = rule.looks_at_every_window and any(term.metric in METRICS_OF_ROWS for term in rule.terms)
    windows = []
    for window in found:
        is_busy = window.start in unfinished.windows.get(span, ()) or (
            reads_days and floor(window.start, "day") in unfinished.days
        )
        is_incomplete = first_coming is not None and window.end > first_coming
        is_awaited = window is found[-1] and window.lacks_point and rule.no_data == NoDataPolicy.KEEP
        if window.status == PointStatus.UNRIPE or is_busy or is_incomplete or is_awaited:
            break
        windows.append(window)
    return windows


def shown_points(opened_by: Transition):  # type: ignore[no-untyped-def]
    """Select the points of what a rule opened an incident of: one feature's, where it looks at every one."""
    rule = opened_by.deciding
    return points_of(rule).filter(feature=opened_by.detail.get("feature") or rule.feature)


def judged_since(since: datetime, opened_by: Transition) -> Iterator[MetricPoint]:
    """Read the points of what a rule opened an incident of that it has judged since a moment, the newest first."""
    points = shown_points(opened_by).filter(start__gte=since, value__isnull=False).defer("detail")
    rule = opened_by.deciding
    for point in points.exclude(status__in=(*SILENT, PointStatus.UNRIPE)).order_by("-start").iterator():
        if rule.breaks(point) is not None:
            yield point


def _progress(state: RuleState) -> RuleProgress:
    return RuleProgress(
        state.standing, state.streak, state.judged_until, state.acted_until, state.recent, state.is_critical,
        state.lacks_data,
    )  # fmt: skip


def _remember(state: RuleState, progress: RuleProgress) -> None:
    state.standing, state.streak, state.recent = progress.name, progress.streak, progress.recent
    state.judged_until, state.acted_until = progress.judged_until, progress.acted_until
    state.is_critical, state.lacks_data = progress.is_critical, progress.lacks_data


def _record(rule: Rule, window: Window, verdict: RuleStep) -> Transition:
    """Write the transition with what was known; a second writer of the same one changes nothing."""
    detail = detail_of(rule, window)
    if verdict.progress.is_critical:
        detail["severity"] = Severity.CRITICAL.value
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
            "threshold": threshold_of(rule, window),
            "detail": detail,
        },
    )
    return transition


def threshold_of(rule: Rule, window: Window) -> float:
    """Return the limit that a window was judged by: the rule's, or the right side of the comparison that decides."""
    if rule.condition is None:
        return rule.threshold
    return 0.0 if window.threshold is None else window.threshold


def detail_of(rule: Rule, window: Window) -> dict[str, Any]:
    """Return what a transition keeps of its window; of a condition also the comparison that decides."""
    detail: dict[str, Any] = {"feature": window.feature, "point": window.detail}
    if window.is_breached is None:
        detail["no_data"] = True
    if rule.condition is not None:
        detail["comparison"] = document_of(window.reading.term)
    return detail


def _causes(rule: Rule, window: Window) -> dict[str, Any]:
    """Rank what explains a window; where that takes too long, say so: nobody waits longer for the alert."""
    term = window.reading.term
    try:
        with give_up_after(MAX_CAUSES_SECONDS):
            return {
                "causes": rank_causes(
                    model=rule.model,
                    start=begin_of_causes(rule, window.start, window.end, window.detail),
                    end=window.end,
                    segment=term.segment,
                    metric=term.metric,
                )
            }
    except TimeoutError:
        log.warning("causes not ranked in time", extra={"rule": rule.pk})
        return {"causes": [], "causes_are_late": True}


def _since(rule: Rule, window: Window) -> datetime:
    """Return when what a window shows began, as everything that reads its point says it."""
    if rule.looks_at_every_window:
        return _begin_of_run(rule, window)
    shown = points_of(rule).filter(start=window.start, feature=window.feature)
    since = [point.since for point in PointJudge(rule.model, [rule]).judge(shown)]
    return since[0] or window.start if since else window.start


def _begin_of_run(rule: Rule, window: Window) -> datetime:
    """Return the start of the first of the windows without a break that say what this one does; none that says nothing
    is a break."""
    first = earlier(window.start, rule.judged_span, MAX_RUN_WINDOWS)
    begin = window.start
    for before in reversed(read_windows(rule, since=first, until=window.end)):
        if before.is_breached is False:
            break
        if before.is_breached == window.is_breached:
            begin = before.start
    return begin


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
    """Return which stored windows would have opened an incident, had the rule stood since `start`."""
    check_rule(rule, monitors_of(rule.model))
    if rule._state.adding:
        check_names(rule)
    found = read_windows(rule, since=start, until=end)
    windows = [window for window in found if window.status != PointStatus.UNRIPE]
    progress, opened = RuleProgress(), []
    for window in windows:
        verdict = step(rule, progress, window)
        progress = verdict.progress
        if verdict.outcome is RuleOutcome.OPENED:
            opened.append(window)
    return Backtest(windows, opened)
