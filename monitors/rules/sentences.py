"""What a rule means, in a sentence."""

from driftline.base.number_format import format_number
from driftline.base.periods import counted, in_a_row
from monitors.metrics.catalogue import title_of
from monitors.rules.judging.condition_trees import (
    AllOf,
    ConditionTree,
    DeviationsAway,
    FixedThreshold,
    NotOf,
    OwnLimit,
    Term,
    TimesBefore,
)
from monitors.rules.models import Rule


def sentence_of(rule: Rule) -> str:
    """Return what a rule does."""
    windows = rule.asked_windows if rule.of_windows else in_a_row(rule.needed_windows, rule.judged_span)
    rows = f" of at least {rule.min_rows:,} rows" if rule.min_rows > 1 else ""
    good = in_a_row(rule.recover_windows, rule.judged_span, "good ")
    back = "" if rule.recovery_threshold is None else f" back at {format_number(rule.recovery_threshold)}"
    action = " and starts a retrain run" if rule.action == Rule.Action.RETRAIN else ""
    return (
        f"Opens a {rule.severity} incident{action} when {describe_tree(rule.tree, rule.judged_span)} for "
        f"{windows}{rows}. {_critical(rule)}Resolves it after {good}{back}.{_missing(rule)}"
    )


def describe_tree(tree: ConditionTree, span: str) -> str:
    """Return what a condition over windows of a span asks for."""
    if isinstance(tree, Term):
        return _term(tree, span)
    if isinstance(tree, NotOf):
        return f"not ({describe_tree(tree.member, span)})"
    word = " and " if isinstance(tree, AllOf) else " or "
    return word.join(
        describe_tree(one, span) if isinstance(one, Term | NotOf) else f"({describe_tree(one, span)})"
        for one in tree.members
    )


def _term(term: Term, span: str) -> str:
    subject = title_of(term.metric, term.feature)
    where = f" where {term.segment}" if term.segment else ""
    match term.right:
        case FixedThreshold(threshold):
            stands = f"{term.operator} {format_number(threshold)}"
        case OwnLimit():
            stands = "beyond its calibrated limit"
        case TimesBefore(times, days):
            before = f"{days} day{'s' if days != 1 else ''} before"
            stands = f"{term.operator} {format_number(times)} times its value {before}"
        case DeviationsAway(deviations, windows):
            before = counted(windows, span).replace(" ", " last ", 1)
            away = f"more than {format_number(deviations)} deviations {term.operator}"
            stands = f"{away} the median of its {before}"
    return f"{subject}{where} is {stands}"


def _critical(rule: Rule) -> str:
    if rule.critical_threshold is None:
        return ""
    return f"It is critical {rule.operator} {format_number(rule.critical_threshold)}. "


def _missing(rule: Rule) -> str:
    window = counted(1, rule.judged_span).partition(" ")[2]
    return {
        Rule.NoData.ALERT: f" A {window} without data counts like one in which that is so.",
        Rule.NoData.OK: f" A {window} without data counts as a good one.",
    }.get(Rule.NoData(rule.no_data), "")
