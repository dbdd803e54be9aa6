"""Whether rules can fire in the present traffic at all, and if not, why."""

from collections.abc import Collection
from datetime import timedelta

from driftline.base.clock import now
from driftline.base.periods import counted, named
from inference.prediction_log.queries.event_clock import event_nows
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind, Reference
from monitors.metrics.catalogue import ESTIMATED, METRICS
from monitors.metrics.context import label_lags
from monitors.metrics.inputs.fitting import WindowRows, WindowsAsked, rows_of_each
from monitors.metrics.traffic.request_metrics import REQUEST_METRICS
from monitors.rules.checks import least_rows
from monitors.rules.judging.condition_trees import AllOf, ConditionTree, NotOf, Term
from monitors.rules.judging.judge import Backtest
from monitors.rules.models import Rule
from monitors.stats.performance.estimate import MIN_PROVING_ROWS

_NOT_BY_ROWS = (*REQUEST_METRICS, "volume_ratio")
"""Metrics with an `n` that counts no rows of the window: requests, or rows of earlier windows."""


class Reach:
    """Reports of rules whether they can fire; it reads what they all need by a few queries, however many they are."""

    def __init__(self, rules: Collection[Rule]) -> None:
        """Take the rules that will be asked about, those that are off too; their models are selected with them."""
        models = {rule.model_id: rule.model for rule in rules}
        of_models = Model.objects.filter(pk__in=models)
        self._monitors = {
            (one.model_id, one.kind): one for one in Monitor.objects.filter(model__in=models, enabled=True)
        }
        usable = Reference.objects.filter(model__in=models).exclude(state=Reference.State.FAILED)
        self._with_reference = set(usable.values_list("model_id", flat=True))
        self._clocks = event_nows(models=of_models, now=now())
        self._label_lags = label_lags(models.values())
        alone = (rule.of_term(term, 0.0) for rule in rules for term in rule.terms)
        self._windows = rows_of_each(self._windows_of(rule) for rule in alone if _goes_by_rows(rule))

    def cannot_fire_because(self, rule: Rule) -> str:
        """Return why a rule would stay silent, or speak only on a proven breach; empty where nothing is in its way, and
        before anything was logged.

        It counts the rows, or the labelled rows, of the newest windows of the rule's span. Where none has as many as
        the rule or its monitor asks for, the rule can fire only on an interval that lies beyond the threshold as a
        whole, of metrics that have one. A condition cannot hold where too much of it stays unknown.
        """
        return self._cannot_hold_because(rule, rule.tree)

    def _cannot_hold_because(self, rule: Rule, tree: ConditionTree, *, is_negated: bool = False) -> str:
        if isinstance(tree, Term):
            return self._is_unknown_because(rule.of_term(tree, rule.threshold))
        if isinstance(tree, NotOf):
            return self._cannot_hold_because(rule, tree.member, is_negated=not is_negated)
        reasons = [self._cannot_hold_because(rule, one, is_negated=is_negated) for one in tree.members]
        needs_all = isinstance(tree, AllOf) != is_negated
        return next(filter(None, reasons), "") if needs_all or all(reasons) else ""

    def _is_unknown_because(self, rule: Rule) -> str:
        metric = METRICS[rule.metric]
        monitor = self._monitors.get((rule.model_id, metric.kind))
        if monitor is None:
            return f"the model has no monitor of {metric.kind} that is enabled: the rule cannot fire."
        if metric.kind == MonitorKind.DRIFT and rule.model_id not in self._with_reference:
            return "drift needs a reference, and the model has none: the rule cannot fire."
        return self._too_few_rows(rule, monitor) if _goes_by_rows(rule) else ""

    def _too_few_rows(self, rule: Rule, monitor: Monitor) -> str:
        metric, windows = METRICS[rule.metric], self._windows[self._windows_of(rule)]
        needed, of_labels = max(rule.min_rows, least_rows(metric, monitor)), metric.needs_labels
        if not windows:
            return ""
        most = max(one.labelled if of_labels else one.rows for one in windows)
        if most >= needed:
            return _too_few_labels(windows, monitor) if of_labels else ""
        what = "labelled rows" if of_labels else "rows"
        newest = counted(len(windows), rule.judged_span, "newest ")
        has = "has" if len(windows) == 1 else "have at most"
        may_be_proven = metric.kind == MonitorKind.PERFORMANCE and metric.name not in ESTIMATED
        can = (
            "can fire only on a proven breach"
            if may_be_proven and most >= MIN_PROVING_ROWS
            else "cannot fire"
        )
        return f"it needs {needed:,} {what} in a window, and the {newest} {has} {most:,}: the rule {can}."

    def _windows_of(self, rule: Rule) -> WindowsAsked:
        """Ask for the windows of a rule that have ended, and where it needs labels have them."""
        lag = self._label_lags[rule.model_id] if METRICS[rule.metric].needs_labels else timedelta(0)
        return WindowsAsked(rule.model_id, rule.judged_span, self._clocks[rule.model_id] - lag, rule.segment)


def not_tested_because(rule: Rule, tested: Backtest) -> str:
    """Return why a back-test can tell nothing: no window that the rule judges was measured. Empty where it can."""
    if tested.judged:
        return ""
    if newest_event(rule.model) is None:
        return "nothing was logged yet."
    if reason := Reach([rule]).cannot_fire_because(rule):
        return reason
    return (
        f"{METRICS[rule.metric].title} was not measured by the {named(rule.judged_span)} in this time. Where a rule "
        "that is on judges by it, the stored history is: save the rule, and look again in a minute."
    )


def _goes_by_rows(rule: Rule) -> bool:
    metric = METRICS[rule.metric]
    return metric.of_rows and metric.name not in _NOT_BY_ROWS


def _too_few_labels(windows: list[WindowRows], monitor: Monitor) -> str:
    share = max(one.labelled / one.rows for one in windows)
    if share >= monitor.min_label_coverage:
        return ""
    return (
        f"labels of {monitor.min_label_coverage:.0%} of the rows are needed, and at most {share:.0%} have one: "
        "the rule cannot fire."
    )
