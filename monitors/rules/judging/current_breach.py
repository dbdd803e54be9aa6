"""What a rule that fires shows now: the newest window beyond its limit, with what explains that window."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from monitors.metrics.explaining.causes import rank_causes
from monitors.rules.judging.conditions import NoDataPolicy
from monitors.rules.judging.judge import begin_of_causes, detail_of, threshold_of
from monitors.rules.judging.windows import Window, gather, points_of, read_windows
from monitors.rules.models import Rule, RuleState, Transition


def current_breach(transition: Transition) -> Transition:
    """Return the newest judged window beyond the limit in the episode of a transition, as a transition that is not
    stored; the given one where the episode is over or holds no newer one.

    An episode lasts from the window in which a rule fires to the one that resolves it.
    """
    rule = transition.rule
    if not rule.pk:
        return transition  # it was deleted, or a run speaks in its place
    until = _judged_until(rule)
    if transition.kind == Transition.Kind.RESOLVED or until is None or until <= transition.window_end:
        return transition
    if rule.transitions.filter(kind=Transition.Kind.RESOLVED, window_end__gt=transition.window_end).exists():
        return transition
    window = _newest_breach(rule, after=transition, until=until)
    return transition if window is None else _observed(transition, window)


def causes_of(transition: Transition) -> list[dict[str, Any]]:
    """Return what explains the window of a transition, most likely first, as `rank_causes` does; ranked now where that
    was not stored with it."""
    known: list[dict[str, Any]] | None = transition.detail.get("causes")
    return rank_again(transition) if known is None else known


def rank_again(transition: Transition) -> list[dict[str, Any]]:
    """Rank what explains the window of a transition, whatever was stored with it."""
    rule = transition.deciding
    return rank_causes(
        model=transition.model,
        start=begin_of_causes(
            rule, transition.window_start, transition.window_end, transition.detail.get("point") or {}
        ),
        end=transition.window_end,
        segment=rule.segment,
        metric=rule.metric,
    )


def _judged_until(rule: Rule) -> datetime | None:
    """Return the end of the newest window that a rule which fires has judged; None where it does not fire."""
    firing = RuleState.objects.filter(rule=rule, standing=RuleState.Standing.FIRING)
    return firing.values_list("judged_until", flat=True).first()


def _newest_breach(rule: Rule, *, after: Transition, until: datetime) -> Window | None:
    newer = _newest_first(rule, after=after, until=until)
    return next((window for window in newer if _alerts(rule, window)), None)


def _newest_first(rule: Rule, *, after: Transition, until: datetime) -> Iterator[Window]:
    if rule.looks_at_every_window:
        since = after.window_start + timedelta(microseconds=1)
        yield from reversed(read_windows(rule, since=since, until=until))
        return
    points = points_of(rule).filter(  # by their start too, which the index knows
        start__gt=after.window_start, end__gt=after.window_end, end__lte=until
    )
    for _, of_window in groupby(points.order_by("-start").iterator(), key=lambda point: point.start):
        yield from gather(rule, list(of_window))


def _alerts(rule: Rule, window: Window) -> bool:
    if window.is_breached is None:
        return rule.no_data == NoDataPolicy.ALERT
    return window.is_breached


def _observed(transition: Transition, window: Window) -> Transition:
    rule, detail = transition.rule, detail_of(transition.rule, window)
    detail |= {name: transition.detail[name] for name in ("since", "severity") if name in transition.detail}
    return Transition(
        rule=rule,
        model=transition.model,
        kind=Transition.Kind.STILL_FIRING,
        window_start=window.start,
        window_end=window.end,
        value=window.value,
        n=window.n,
        threshold=threshold_of(rule, window),
        detail=detail,
    )
