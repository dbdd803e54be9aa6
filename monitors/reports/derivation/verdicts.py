"""Derives the verdict of a run's gate again: from the comparison that it stored, and that from the pairs in the log."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from driftline.base.accounts.models import AuditEntry
from driftline.base.periods import parse_timestamp
from inference.registry.selectors import signature_of
from monitors.reports.derivation.result import Derivation, cannot, compare, unless_unreadable
from monitors.reports.run_ends import recorded_end
from monitors.stats.promotion.gate import judge
from monitors.stats.promotion.paired import PairedComparison
from monitors.workflows.context import to_json
from monitors.workflows.judging.pairs import PairsWanted, compare_wanted, policy_of
from monitors.workflows.judging.verdict_text import reasons_of_verdict
from monitors.workflows.models import ACTIVE_STATES, Run, Workflow

_GATE = "the gate"
_FROM_LOG = "comparison from the log"
_CHANGED = "labels were corrected, or segments declared, since"


def derive_verdict(run: Run) -> Iterator[Derivation]:
    """Judge the stored comparison again, compare the pairs that are in the log now, and look up how the run ended."""
    yield from _derive_gate(run)
    yield from _derive_end(run)


def _derive_gate(run: Run) -> Iterator[Derivation]:
    what = f"verdict of {run}"
    evidence = _of_object(run.steps.filter(name="gate").values_list("evidence", flat=True).first())
    if "comparison" not in evidence or "verdict" not in evidence:
        yield cannot(what, "its gate has not judged anything, or its evidence was erased.")
        return
    comparison = _read_comparison(evidence["comparison"])
    if comparison is None:
        yield cannot(what, "the stored comparison is of an earlier release, or damaged.")
        return
    verdict = _of_object(evidence["verdict"])
    why = _changes_since(run)
    yield from unless_unreadable("verdict of the gate", _judge_again(run, comparison, _GATE, verdict, why))
    yield from _compare_verdicts(
        "the run", _of_object(run.verdict), verdict, "the run and its gate keep one verdict"
    )
    yield from unless_unreadable(_FROM_LOG, _compare_again(run, comparison, verdict))


def _derive_end(run: Run) -> Iterator[Derivation]:
    """Compare how the run ended with what the audit trail, which nobody changes unnoticed, recorded of it."""
    recorded, is_over = recorded_end(run), run.state not in ACTIVE_STATES
    if recorded is not None:
        yield compare(f"end of {run}", str(run.state), str(recorded), "the audit trail has how it ended")
    elif is_over:
        yield cannot(f"end of {run}", f"the run is {run.state}, and the audit trail has no entry of that.")


def _judge_again(
    run: Run, comparison: PairedComparison, of: str, stored: Mapping[str, Any], why: str
) -> Iterator[Derivation]:
    policy = policy_of(run.model, Workflow.of(run.model), comparison.task)
    yield from _compare_verdicts(of, stored, to_json(judge(comparison, policy)), why)


def _compare_verdicts(
    of: str, stored: Mapping[str, Any], derived: Mapping[str, Any], why: str
) -> Iterator[Derivation]:
    yield compare(f"decision of {of}", stored.get("decision"), derived.get("decision"), why)
    reasons, again = ([str(one) for one in reasons_of_verdict(verdict)] for verdict in (stored, derived))
    repeated = "" if of == _GATE or not reasons else f"those of {_GATE}"
    yield compare(f"reasons of {of}", reasons, again, why, shown=repeated)
    yield compare(f"need of a person of {of}", stored.get("needs_person"), derived.get("needs_person"), why)


def _changes_since(run: Run) -> str:
    """Return whether the gate's settings, which are the current ones, were changed after the run began."""
    found = AuditEntry.objects.filter(
        project=run.model.project, subject=run.model.name, at__gte=run.created_at,
        action__in=("workflow.update", "model.update"),
    ).count()  # fmt: skip
    if not found:
        return "the settings of the gate are judged as they are now"
    return (
        f"the model's settings were changed {found} times since the run began, and are judged as they are now"
    )


def _compare_again(run: Run, stored: PairedComparison, verdict: Mapping[str, Any]) -> Iterator[Derivation]:
    """Compare the pairs that are in the log, and judge them, where they are still those that the gate saw."""
    what = _FROM_LOG
    since = _of_object(run.steps.filter(name="shadow").values_list("evidence", flat=True).first()).get(
        "since"
    )
    if run.challenger is None or since is None:
        yield cannot(what, "the challenger was deleted, or never answered in the shadow.")
        return
    wanted = PairsWanted(run.model, run.champion, run.challenger, parse_timestamp(str(since)))
    derived = compare_wanted(wanted, signature_of(run.champion), Workflow.of(run.model))
    if derived is None:
        yield cannot(what, "the log has none of its pairs any more.")
        return
    if derived.n_labelled != stored.n_labelled:
        yield cannot(
            what,
            f"the log has {derived.n_labelled:,} labelled pairs now, and the gate saw {stored.n_labelled:,}.",
        )
        return
    for name, metric in stored.metrics.items():
        again = derived.metrics.get(name)
        bounds = [again.difference, again.lower, again.upper] if again else None
        yield compare(
            f"difference of {name} with its interval",
            [metric.difference, metric.lower, metric.upper],
            bounds,
            _CHANGED,
        )
    if derived.n_pairs != stored.n_pairs:
        yield cannot(
            "verdict from the log",
            f"the log has {derived.n_pairs:,} pairs now, with and without labels, and the gate saw {stored.n_pairs:,}.",
        )
        return
    why = f"{_CHANGED}, or {_changes_since(run)}"
    yield from _judge_again(run, derived, "the gate from the log", verdict, why)


# -- reading what was stored -------------------------------------------------------------------------------------------
def _of_object(value: Any) -> Mapping[str, Any]:
    """Return a stored object; an empty one where something else was stored, by whoever changed the database."""
    return value if isinstance(value, Mapping) else {}


def _read_comparison(document: Any) -> PairedComparison | None:
    """Read a comparison from its evidence; None where it is of another shape."""
    try:
        return msgspec.convert(_with_infinities(document), PairedComparison)
    except msgspec.ValidationError:
        return None


def _with_infinities(value: Any) -> Any:
    """Put back the bounds that JSON has no numbers for; evidence keeps them as null."""
    if isinstance(value, list):
        return [_with_infinities(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    whole = {name: _with_infinities(one) for name, one in value.items()}
    if {"lower", "upper", "difference"} <= whole.keys():
        whole["lower"] = -math.inf if whole["lower"] is None else whole["lower"]
        whole["upper"] = math.inf if whole["upper"] is None else whole["upper"]
    return whole
