"""Events of runs: that one started, waits for a person, or ended, in the transaction that changes it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from driftline.base.periods import rfc3339
from monitors.feed import kinds
from monitors.feed.models import FeedEvent
from monitors.feed.services import record_event
from monitors.workflows.judging.verdict_text import LIVE, WORST_CASE, reasons_of_verdict
from monitors.workflows.models import Run, RunState, Workflow
from monitors.workflows.steps.shadow import PERSON

REMIND_AFTER = timedelta(days=1)
_FOUND = {LIVE: ("Found", 8), WORST_CASE: ("Missing labels at their worst", 3)}
"""What the reasons of each comparison are called in a message, and how many it has: that a person has to decide is the
first of the worst case."""
_ENDS = {
    RunState.PROMOTED: (kinds.RUN_PROMOTED, "promoted version {challenger}"),
    RunState.REJECTED: (kinds.RUN_REJECTED, "rejected version {challenger}"),
    RunState.FAILED: (kinds.RUN_FAILED, "failed"),
    RunState.CANCELLED: (kinds.RUN_CANCELLED, "was cancelled"),
    RunState.ROLLED_BACK: (kinds.RUN_ROLLED_BACK, "rolled version {challenger} back"),
}


def report_start(run: Run, *, actor: str) -> None:
    """Record that a run started."""
    _record(run, kinds.RUN_STARTED, f"started: {run.trigger}", actor=actor)


def report_waiting(run: Run, *, is_reminder: bool = False) -> None:
    """Record that a run waits for a person, or that it still does."""
    still = "still waits" if is_reminder else "waits"
    _record(
        run,
        kinds.RUN_WAITING,
        f"{still} for {run.waiting_for}",
        reason=run.waiting_for,
        is_reminder=is_reminder,
    )


def report_end(run: Run, *, actor: str, reason: str) -> None:
    """Record how a run ended."""
    if run.state in _ENDS:
        kind, words = _ENDS[RunState(run.state)]
        _record(
            run, kind, f"{words.format(challenger=_challenger(run))}: {reason}", actor=actor, reason=reason
        )


def report_rollback(run: Run, *, actor: str, reason: str) -> None:
    """Record that what a run promoted was rolled back."""
    words = f"promoted version {_challenger(run)}, which was rolled back"
    _record(run, kinds.RUN_ROLLED_BACK, words, actor=actor, reason=reason)


def remind_of_waiting_runs(now: datetime) -> int:
    """Record of each run that still waits for a person that it does, once a day; return of how many."""
    waiting = Run.objects.filter(state=RunState.WAITING, needs=PERSON).order_by("pk")
    return sum(_remind(run_id, now) for run_id in waiting.values_list("pk", flat=True))


@transaction.atomic
def _remind(run_id: int, now: datetime) -> bool:
    runs = Run.objects.select_for_update(of=("self",)).select_related(
        "model__project", "champion", "challenger"
    )
    run = runs.filter(pk=run_id, state=RunState.WAITING, needs=PERSON).first()
    if run is None:
        return False  # somebody has answered meanwhile
    events = FeedEvent.objects.filter(kind=kinds.RUN_WAITING, subject=_subject(run))
    if events.filter(at__gt=now - REMIND_AFTER).exists():
        return False
    report_waiting(run, is_reminder=True)
    return True


def _subject(run: Run) -> str:
    return f"run-{run.pk}"


def _record(
    run: Run, kind: str, words: str, *, actor: str = "", reason: str = "", is_reminder: bool = False
) -> None:
    model = run.model
    record_event(
        project=model.project,
        model=model,
        kind=kind,
        subject=_subject(run),
        actor=actor,
        text=f"{model.name}: run {run.pk} {words}",
        path=f"/models/{model.name}/runs/{run.pk}",
        facts=_facts(run, kind, reason),
        data={"run": _describe(run, reason, is_reminder=is_reminder) | _harm(run, kind, actor)},
    )


def _challenger(run: Run) -> str:
    return run.challenger.version if run.challenger else "that was not made yet"


def _facts(run: Run, kind: str, reason: str) -> list[tuple[str, str]]:
    """List what a person needs who decides about a run, or wonders what became of it."""
    facts = [("Started by", run.trigger), ("Champion", f"version {run.champion.version}")]
    if run.challenger:
        facts.append(("Challenger", f"version {run.challenger.version}"))
    if reason:
        facts.append(("Waits for" if kind == kinds.RUN_WAITING else "Reason", reason))
    verdict = run.verdict or {}
    if verdict:
        facts.append(("Verdict of the gate", str(verdict.get("decision", ""))))
        facts += _found_by_gate(verdict)
    if kind == kinds.RUN_WAITING and run.challenger:
        facts.append(("If it is approved", _after_approval(run, run.challenger.version)))
    if run.approved_by:
        facts.append(("Approved by", run.approved_by))
    return facts + (_found_by_guards(run) if kind == kinds.RUN_ROLLED_BACK else [])


def _found_by_gate(verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    reasons = reasons_of_verdict(verdict)
    return [
        (name, one.sentence)
        for comparison, (name, most) in _FOUND.items()
        for one in [one for one in reasons if one.comparison == comparison][:most]
    ]


def _found_by_guards(run: Run) -> list[tuple[str, str]]:
    """Write what the guards that did not pass found when they last looked."""
    check = run.rollout.newest_check if hasattr(run, "rollout") else None
    return [
        (f"Guard {guard['guard']}", guard["sentence"])
        for guard in (check["guards"] if check else [])
        if guard["verdict"] in ("fail", "inconclusive")
    ]


def _harm(run: Run, kind: str, actor: str) -> dict[str, Any]:
    """Describe, as `harm`, since when which guards found what a run rolled back by itself; empty of anything else."""
    if kind != kinds.RUN_ROLLED_BACK or actor != f"run {run.pk}" or not hasattr(run, "rollout"):
        return {}
    check = run.rollout.newest_check
    guards = check["guards"] if check else []
    failed = [one["guard"] for one in guards if one["verdict"] == "fail" and not one["report_only"]]
    requests = check["requests"] if check else 0
    return {"harm": {"since": rfc3339(run.rollout.since), "guards": failed, "requests": requests}}


def _after_approval(run: Run, challenger: str) -> str:
    if hasattr(run, "rollout"):
        return f"version {challenger}, which answers {run.rollout.weight:.1%} of the requests, goes on"
    if Workflow.of(run.model).rollout["steps"]:
        return f"version {challenger} answers a share of the requests, which grows as the rollout plan says"
    return f"version {challenger} answers in place of version {run.champion.version}"


def _describe(run: Run, reason: str, *, is_reminder: bool) -> dict[str, Any]:
    return {
        "id": run.pk,
        "state": run.state,
        "trigger": run.trigger,
        "transition": run.transition_id,
        "champion": run.champion.version,
        "challenger": run.challenger.version if run.challenger else None,
        "data_until": rfc3339(run.data_until),
        "reason": reason or None,
        "verdict": run.verdict,
        "approved_by": run.approved_by or None,
        "is_reminder": is_reminder,
    }
