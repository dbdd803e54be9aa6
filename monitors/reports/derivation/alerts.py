"""Derives an alert again: its value from the summaries of its window, and that its rule fires on the stored points."""

from collections.abc import Iterator

from django.core.exceptions import ValidationError

from driftline.base.errors import Problem
from driftline.base.periods import earlier
from monitors.alerts.models import Alert, Incident
from monitors.metrics.services import measure_again
from monitors.metrics.store.models import MetricPoint
from monitors.reports.derivation.result import Derivation, cannot, compare, unless_unreadable
from monitors.rules.judging.conditions import NoDataPolicy, RuleProgress, counts_as_breach, step
from monitors.rules.judging.windows import Window, read_windows
from monitors.rules.models import Rule

_CHANGED = "late rows, labels, erased rows or another reference changed the window since it fired"
_MAX_PASSED_OVER = 30
"""Windows that say nothing, among those that a rule looks at together."""


def derive_incident(incident: Incident) -> Iterator[Derivation]:
    """Derive every alert of an incident again."""
    for alert in incident.alerts.select_related("model", "rule").order_by("pk"):
        yield from derive_alert(alert)


def derive_alert(alert: Alert) -> Iterator[Derivation]:
    """Derive the value that an alert fired on, and the firing of its rule, as the rule was then."""
    if alert.run_id is not None:
        yield cannot(
            alert.title, f"no rule fired: run {alert.run_id} opened it as it rolled back; explain run-{alert.run_id}."
        )  # fmt: skip
        return
    rule = _rule_of(alert)
    if rule is None:
        yield cannot(alert.title, "the rule that was stored with it is damaged, or of an earlier release.")
        return
    yield from unless_unreadable(_value_of(alert), _derive_value(alert, rule))
    yield from unless_unreadable(_firing_of(alert, rule), _derive_firing(alert, rule))


def _rule_of(alert: Alert) -> Rule | None:
    """Read the rule as it was when the alert fired; None where it cannot be read."""
    try:
        rule = Rule.of_snapshot(alert.definition, alert.model)
        rule.clean_fields(exclude=["project", "model"])
        _ = rule.tree
    except (KeyError, TypeError, ValueError, Problem, ValidationError):
        return None
    return rule


def _value_of(alert: Alert) -> str:
    return f"{alert.metric} {alert.feature}".strip() + f" from {alert.window_start:%Y-%m-%d %H:%M}"


def _firing_of(alert: Alert, rule: Rule) -> str:
    return f"the rule {rule.name!r} fires at {alert.window_end:%Y-%m-%d %H:%M}"


def _derive_value(alert: Alert, rule: Rule) -> Iterator[Derivation]:
    what = _value_of(alert)
    if alert.value is None:
        yield cannot(what, "it fired because there was no value.")
        return
    stored = MetricPoint.objects.filter(
        model=alert.model, metric=alert.metric, feature=alert.feature, segment=alert.segment, role="champion",
        version="", span=rule.judged_span, start=alert.window_start,
    ).first()  # fmt: skip
    if stored is None:
        yield cannot(f"stored point of {what}", "the points of that window are not kept any more.")
    else:
        yield compare(f"stored point of {what}", alert.value, stored.value, _CHANGED)
        yield compare(f"rows of {what}", alert.n, stored.n, _CHANGED)
    from_summaries = f"{what} from summaries"
    yield from unless_unreadable(from_summaries, _derive_from_summaries(alert, rule, from_summaries))


def _derive_from_summaries(alert: Alert, rule: Rule, what: str) -> Iterator[Derivation]:
    measured = measure_again(model=alert.model, span=rule.judged_span, start=alert.window_start)
    derived = next((point for point in measured if _is_of(point, alert)), None)
    if derived is not None and derived.n < alert.n:
        yield cannot(what, f"its summaries have {derived.n:,} rows of it now, and the rule saw {alert.n:,}.")
    elif derived is None or derived.value is None:
        yield cannot(
            what,
            "its summaries are not kept any more, or it is measured of single rows or of more than one window.",
        )
    else:
        yield compare(what, alert.value, derived.value, _CHANGED)


def _is_of(point: MetricPoint, alert: Alert) -> bool:
    """Return whether a point is the one that an alert is about."""
    names = point.metric, point.feature, point.segment, point.role, point.version
    return names == (alert.metric, alert.feature, alert.segment, "champion", "")


def _derive_firing(alert: Alert, rule: Rule) -> Iterator[Derivation]:
    """Judge the windows that the rule asks for, the last of which has to be beyond the threshold itself."""
    what = _firing_of(alert, rule)
    windows = _windows_judged(alert, rule)
    if not windows or windows[-1].end != alert.window_end:
        yield cannot(what, "the points of its windows are not kept any more.")
        return
    if windows[-1].is_breached is None and alert.value is not None:
        yield cannot(what, "what its last window was judged by is not kept any more.")
        return
    progress = RuleProgress()
    for window in windows:
        progress = step(rule, progress, window).progress
    is_breach = counts_as_breach(rule, windows[-1])
    if is_breach and progress.name != "firing" and len(windows) < rule.among_windows:
        yield cannot(what, "the points of its earlier windows are not kept any more.")
        return
    yield compare(what, True, is_breach and progress.name == "firing", _CHANGED)


def _windows_judged(alert: Alert, rule: Rule) -> list[Window]:
    """Read the last windows that the rule looks at together: those that say nothing end no streak, so they are passed
    over."""
    since = earlier(alert.window_start, rule.judged_span, rule.among_windows - 1 + _MAX_PASSED_OVER)
    passes_over = rule.no_data == NoDataPolicy.KEEP
    read = read_windows(rule, since=since, until=alert.window_end)
    before = [one for one in read[:-1] if not (one.is_breached is None and passes_over)]
    return [*before[max(len(before) - rule.among_windows + 1, 0) :], *read[-1:]]
