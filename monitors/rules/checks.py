"""What a rule may say, and the windows and rows that the monitors of its metrics judge by."""

import math
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from driftline.base.errors import invalid
from driftline.base.http.request_values import span_refusal
from driftline.base.periods import is_span, longest
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.monitors import AUTO
from monitors.definitions.services import DEFAULT_MIN_ROWS
from monitors.metrics.catalogue import METRICS, Metric, nearest_metrics
from monitors.rules.judging.condition_trees import Term, TimesBefore
from monitors.rules.models import Rule, Severity

MIN_ROWS = 100
"""The rows that a new rule asks for where its monitors need no more."""
MAX_AMONG = 1_000
_KINDS_BY_ROWS = (MonitorKind.DRIFT, MonitorKind.QUALITY, MonitorKind.PERFORMANCE)
_JUDGED_BY_ANY_ROWS = ("label_coverage",)


def known_metric(term: Term) -> Metric:
    """Return the metric of a comparison. Raises Problem where there is none of that name."""
    metric = METRICS.get(term.metric)
    if metric is None:
        raise invalid(
            f"{term.pointer}/metric",
            f"{str(term.metric)[:64]!r} is not a metric; use one such as {nearest_metrics(str(term.metric))}.",
            "unknown_metric",
        )
    return metric


def _check_term(rule: Rule, term: Term, monitors: Sequence[Monitor]) -> None:
    """Refuse a comparison of what is not measured."""
    metric, here = known_metric(term), term.pointer
    if metric.has_feature and not term.feature:
        raise invalid(
            f"{here}/feature", f"{term.metric} is measured a feature; name one, or use '*' for any."
        )
    if term.feature and not metric.has_feature:
        raise invalid(f"{here}/feature", f"{term.metric} has no feature; leave it out.")
    if rule.span != AUTO and not is_span(str(rule.span)):
        raise invalid("/span", span_refusal("span", str(rule.span), AUTO))
    if rule.span != AUTO and metric.spans and rule.span not in metric.spans:
        raise invalid("/span", f"{term.metric} is measured by the {' or '.join(metric.spans)} only.")
    if term.segment and not metric.of_segments:
        raise invalid(f"{here}/segment", f"{term.metric} is measured of all rows; leave the segment out.")
    if rule.condition is None:
        if rule.min_rows != 1 and not metric.of_rows:
            raise invalid("/min_rows", f"{rule.metric} is measured where no row comes; use 1 row.")
        return
    span = judged_span(rule, monitors)
    if metric.spans and span not in metric.spans:
        spans = " or ".join(metric.spans)
        raise invalid(
            "/span",
            f"{term.metric} is measured by the {spans} only, and the rule judges windows of a {span}; give it another "
            "span.",
        )
    _check_days_before(term, span)


def _check_days_before(term: Term, span: str) -> None:
    """Refuse a comparison with an earlier window where none starts so many days before."""
    if not isinstance(term.right, TimesBefore):
        return
    if span == "month" or (span == "week" and term.right.days_before % 7):
        use = "use deviations instead" if span == "month" else "use a multiple of 7"
        raise invalid(
            f"{term.pointer}/days_before",
            f"No {span} starts {term.right.days_before} days before another; {use}.",
        )


def check_rule(rule: Rule, monitors: Sequence[Monitor], *, checks_rows: bool = True) -> None:
    """Raise Problem where a rule says what cannot be judged by the monitors of its model; with `checks_rows` where it
    asks for too few rows too."""
    terms = rule.terms
    for term in terms:
        _check_term(rule, term, monitors)
    if not rule.name.strip() or any(ord(character) < 32 for character in rule.name):
        raise invalid("/name", "A rule needs a name of printable characters.", "invalid_text")
    if not isinstance(rule.threshold, int | float) or not math.isfinite(rule.threshold):
        raise invalid("/threshold", f"{str(rule.threshold)[:64]!r} is not a finite number.")
    for field, choices in (
        ("operator", Rule.Operator.values),
        ("severity", Severity.values),
        ("action", Rule.Action.values),
        ("no_data", Rule.NoData.values),
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
    _check_critical(rule)
    if checks_rows:
        _check_rows(rule, terms, monitors)
    for field in ("cooldown", "notify_within"):
        if not timedelta(0) <= getattr(rule, field) <= timedelta(days=3660):
            raise invalid(f"/{field}", "Use a number of seconds from 0 to ten years.")
    for field, most in (("description", 1_000), ("owner", 200)):
        text = getattr(rule, field)
        if len(text) > most or any(ord(letter) < 32 and letter != "\n" for letter in text):
            raise invalid(f"/{field}", f"Use at most {most:,} printable characters.", "invalid_text")
    _check_runbook(rule.runbook)


def _check_rows(rule: Rule, terms: Sequence[Term], monitors: Sequence[Monitor]) -> None:
    """Refuse fewer rows than the monitor of one of the metrics needs."""
    for metric in (METRICS[term.metric] for term in terms):
        least = least_rows(metric, _monitor_of(metric, monitors))
        if rule.min_rows < least:
            raise invalid(
                "/min_rows",
                f"{metric.title} of this model is judged from {least:,} rows on, so that a rule of {rule.min_rows:,} "
                f"rows would listen to windows that nobody judges; use {least:,} or more.",
            )


def _check_critical(rule: Rule) -> None:
    """Refuse a critical threshold that makes no difference."""
    critical = rule.critical_threshold
    if critical is None:
        return
    if isinstance(critical, bool) or not isinstance(critical, int | float) or not math.isfinite(critical):
        raise invalid("/critical_threshold", f"{str(critical)[:64]!r} is not a finite number.")
    if rule.severity == Severity.CRITICAL:
        raise invalid(
            "/critical_threshold",
            "The rule is critical from its threshold on; lower its severity, or leave this out.",
        )
    if not rule.is_breached_by(critical):
        raise invalid(
            "/critical_threshold",
            f"{critical:g} is not {rule.operator} the threshold, {rule.threshold:g}; use a value farther out.",
        )


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


# -- what monitors judge by --------------------------------------------------------------------------------------------
def monitors_of(model: Model) -> list[Monitor]:
    """Read the monitors that the rules of a model judge by."""
    return list(Monitor.objects.filter(model=model))


def judged_span(rule: Rule, monitors: Sequence[Monitor]) -> str:
    """Return the span of the windows that a rule judges: its own, or that of the monitor of its metric; of several
    metrics the longest one."""
    metrics = [METRICS[term.metric] for term in rule.terms if term.metric in METRICS]
    if rule.span != AUTO or not metrics:
        return rule.span if rule.span != AUTO else "day"
    return max((_auto_span(metric, monitors) for metric in metrics), key=longest)


def _auto_span(metric: Metric, monitors: Sequence[Monitor]) -> str:
    monitor = _monitor_of(metric, monitors)
    span = monitor.span if monitor else "day"
    return span if not metric.spans or span in metric.spans else metric.spans[-1]


def least_rows(metric: Metric, monitor: Monitor | None) -> int:
    """Return from how many rows on a metric is judged at all, by its monitor."""
    if metric.kind not in _KINDS_BY_ROWS or metric.name in _JUDGED_BY_ANY_ROWS or not metric.of_rows:
        return 1
    return monitor.min_rows if monitor else DEFAULT_MIN_ROWS[MonitorKind(metric.kind)]


def _monitor_of(metric: Metric, monitors: Sequence[Monitor]) -> Monitor | None:
    return next((one for one in monitors if one.kind == metric.kind), None)


def min_rows_of(metric: Metric, monitors: Sequence[Monitor]) -> int:
    """Return the rows that a new rule asks for where nobody says so."""
    if not metric.of_rows:
        return 1
    least = least_rows(metric, _monitor_of(metric, monitors))
    return MIN_ROWS if least == 1 else least
