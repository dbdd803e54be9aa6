"""Writes of rules, and judging them window by window in event time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.forms.models import model_to_dict

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid, not_found
from driftline.base.periods import longest
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import touch
from inference.prediction_log.queries.event_clock import event_now
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.definitions.models import Monitor
from monitors.definitions.monitors import AUTO, lock_monitors, set_rule_spans
from monitors.metrics.catalogue import METRICS
from monitors.metrics.store.models import PendingEvaluation
from monitors.rules.checks import MIN_ROWS, check_rule, judged_span, known_metric, min_rows_of, monitors_of
from monitors.rules.judging.condition_trees import FixedThreshold, parse_condition, terms_of
from monitors.rules.known_names import check_names
from monitors.rules.models import Rule, RuleState, Severity, operator_of
from monitors.rules.signals import rule_deleted

DEFAULTS: dict[str, Any] = {
    "feature": "",
    "segment": "",
    "span": AUTO,
    "operator": Rule.Operator.ABOVE,
    "for_windows": 1,
    "of_windows": None,
    "recovery_threshold": None,
    "critical_threshold": None,
    "recover_windows": 2,
    "min_rows": MIN_ROWS,
    "no_data": Rule.NoData.KEEP,
    "cooldown": timedelta(days=1),
    "notify_within": timedelta(hours=24),
    "severity": Severity.WARNING,
    "action": Rule.Action.NOTIFY,
    "enabled": True,
    "description": "",
    "owner": "",
    "runbook": "",
    "condition": None,
}
IN_CONDITION = (
    "metric", "feature", "segment", "operator", "threshold", "recovery_threshold", "critical_threshold",
)  # fmt: skip
"""The fields of a rule that its condition says, where it has one."""
MAX_RULES = 10_000  # a thousand models with all default rules
_OWN_KEYS = {"id", "created_at"}


# -- writing rules -----------------------------------------------------------------------------------------------------
def new_rule(*, project: Project, model: Model, **fields: Any) -> Rule:
    """Make a rule that is not saved; what is not given is the default, and of `min_rows` what its monitors need.

    Raises Problem where neither a condition nor a metric with its threshold is given, or both are.
    """
    return _new_rule(project, model, fields, monitors_of(model))


def _new_rule(project: Project, model: Model, fields: Mapping[str, Any], monitors: Sequence[Monitor]) -> Rule:
    rule = Rule(project=project, model=model, **(DEFAULTS | _with_first_term(fields)))
    if "min_rows" not in fields:
        known = [METRICS[term.metric] for term in rule.terms if term.metric in METRICS]
        rule.min_rows = max((min_rows_of(metric, monitors) for metric in known), default=MIN_ROWS)
    rule.judged_span = judged_span(rule, monitors)
    return rule


def _with_first_term(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the first comparison of a condition says to the fields of a rule. Raises Problem."""
    if (document := fields.get("condition")) is None:
        for name in ("metric", "threshold"):
            if fields.get(name) in (None, ""):
                raise invalid(f"/{name}", f"Say the {name}, or give a condition.", "missing_field")
        return dict(fields)
    _refuse_beside_condition(fields)
    terms = list(terms_of(parse_condition(document)))
    for term in terms:
        known_metric(term)
    first = terms[0]
    return dict(fields) | {
        "metric": first.metric,
        "feature": first.feature,
        "segment": first.segment,
        "operator": operator_of(first),
        "threshold": first.right.threshold if isinstance(first.right, FixedThreshold) else 0.0,
        "recovery_threshold": None,
        "critical_threshold": None,
    }


def _refuse_beside_condition(fields: Mapping[str, Any]) -> None:
    if (name := next((one for one in IN_CONDITION if fields.get(one) is not None), None)) is not None:
        raise invalid(f"/{name}", f"The rule has a condition, which stands for it; leave {name} out.")


def create_rule(*, project: Project, model: Model, actor: str, **fields: Any) -> Rule:
    """Create a rule; of the past it judges only what it would still notify of."""
    try:
        with transaction.atomic():
            monitors = lock_monitors(model)
            rule = _new_rule(project, model, fields, monitors)
            check_rule(rule, monitors)
            check_names(rule)
            if project.rules.count() >= MAX_RULES:
                raise Problem(422, "quota", f"A project may have {MAX_RULES:,} rules.")
            rule.save()
            RuleState.objects.create(rule=rule, judged_until=_first_judged(rule))
            _watch_spans(model, monitors)
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
            monitors = lock_monitors(rule.model)
            try:
                rule.refresh_from_db(from_queryset=Rule.objects.select_related("project", "model"))
            except Rule.DoesNotExist:
                raise not_found("rule") from None
            before = _change(rule, changes, monitors)
            former, rule.judged_span = rule.judged_span, judged_span(rule, monitors)
            rule.save()
            if rule.judged_span != former:
                _begin_streak_again([rule])
            _watch_spans(rule.model, monitors)
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


def _change(rule: Rule, changes: Mapping[str, Any], monitors: Sequence[Monitor]) -> dict[str, Any]:
    """Set fields of a rule and check them; returns the rule as it was, in plain values. Raises Problem."""
    before = _plain(rule)
    if changes.get("condition") is not None or ("condition" in changes and rule.condition is not None):
        changes = _with_first_term(changes)
    elif rule.condition is not None:
        _refuse_beside_condition(changes)
    for name, value in changes.items():
        setattr(rule, name, value)
    needs_rows = {"metric", "min_rows", "condition"} & {
        name for name, value in _plain(rule).items() if before[name] != value
    }
    check_rule(rule, monitors, checks_rows=bool(needs_rows))
    if any(getattr(rule, name) != before[name] for name in ("metric", "feature", "segment", "condition")):
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
        monitors = lock_monitors(rule.model)
        record_audit(
            project=rule.project, actor=actor, action="rule.delete", subject=rule.name, before=_plain(rule)
        )
        rule_deleted.send(sender=Rule, rule=rule, actor=actor)
        rule.delete()
        _watch_spans(rule.model, monitors)


def refuse_while_watched(*, model: Model, which: Q) -> None:
    """Raise Problem where a rule watches one of these segments; `which` is over the column `segment`."""
    for rule in Rule.objects.filter(which | Q(condition__isnull=False), model=model).order_by("pk"):
        segment = next((term.segment for term in rule.terms if _is_among(term.segment, which)), None)
        if segment is not None:
            raise Problem(
                409,
                "segment_watched",
                f"The rule {rule.name!r} watches {segment}; change or delete the rule first.",
            )


def _is_among(segment: str, which: Q) -> bool:
    """Return whether a condition on the column `segment`, of a name or of how names start, is true of a segment."""
    lookup, value = cast(tuple[str, str], which.children[0])
    return segment.startswith(value) if lookup.endswith("__startswith") else segment == value


def _name_is_taken(rule: Rule) -> Problem:
    return Problem(409, "rule_exists", f"{rule.model.name} already has a rule {rule.name!r}.")


def _first_judged(rule: Rule) -> datetime | None:
    """Leave the stored past to the back-test, but for the last window that ended and those that people would be
    notified of.

    How long ago a window ended is counted by the wall clock, as alerts count it.
    """
    if newest_event(rule.model) is None:
        return None
    return min(event_now(model=rule.model, now=now()), now() - rule.notify_within) - longest(rule.judged_span)


# -- which windows a rule judges ---------------------------------------------------------------------------------------
def follow_monitor(monitor: Monitor) -> None:
    """Make the rules of a monitor's metrics that do as it does judge its windows, in the transaction that changed it.

    A rule that fires goes on firing; windows in a row are counted anew. Rules with a span of their own keep it, and the
    monitor measures it beside its new one.
    """
    monitors, moved = lock_monitors(monitor.model), []
    for rule in monitor.model.rules.filter(span=AUTO):
        span = judged_span(rule, monitors)
        is_of_monitor = any(METRICS[term.metric].kind == monitor.kind for term in rule.terms)
        if is_of_monitor and span != rule.judged_span:
            rule.judged_span = span
            moved.append(rule)
    Rule.objects.bulk_update(moved, ["judged_span"])
    _begin_streak_again(moved)
    _watch_spans(monitor.model, monitors)


def _begin_streak_again(rules: Sequence[Rule]) -> None:
    states = RuleState.objects.filter(rule__in=rules)
    states.filter(standing=RuleState.Standing.PENDING).update(standing=RuleState.Standing.NORMAL)
    states.update(streak=0, recent="")


def _watch_spans(model: Model, monitors: Sequence[Monitor]) -> None:
    """Make locked monitors measure the windows that the model's rules judge, in the caller's transaction."""
    spans: dict[str, set[str]] = {}
    for rule in Rule.objects.filter(model=model, enabled=True):
        for term in rule.terms:
            spans.setdefault(METRICS[term.metric].kind, set()).add(rule.judged_span)
    set_rule_spans(monitors=monitors, spans=spans)


def _plain(rule: Rule) -> dict[str, Any]:
    fields = model_to_dict(rule)
    return {
        k: v.total_seconds() if isinstance(v, timedelta) else v
        for k, v in fields.items()
        if k not in _OWN_KEYS
    }


# -- judging -----------------------------------------------------------------------------------------------------------
