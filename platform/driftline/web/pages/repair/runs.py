"""The pages of retrain runs, each on one page with the evidence of every step."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.operations.long_work import wait_of
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.repair.rollout import describe_rollout
from driftline.web.pages.verdict import Phrase, Statement
from monitors.alerts.selectors import incident_of
from monitors.metrics.catalogue import METRICS
from monitors.workflows import selectors, services
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run, RunState, Step, Workflow
from monitors.workflows.rollouts.services import pause_rollout, resume_rollout, roll_back_run
from monitors.workflows.starting import starts
from monitors.workflows.steps.shadow import PERSON
from monitors.workflows.triggers import due_runs

RUNS_SHOWN = 50
PURPOSES = {
    "snapshot": "Freeze the labelled rows to learn from, the newest held out",
    "check_labels": "Check whether the newest labels are complete and unbiased",
    "check_data": "Check whether the rows are sound, and those held out are new",
    "train": "Train in a subprocess, or in a pipeline elsewhere",
    "convert": "Convert to ONNX and check that it predicts the same",
    "validate": "Compare with the champion on the held-out rows",
    "register": "Register as a version",
    "shadow": "Predict on copies of live requests beside the champion",
    "gate": "Judge on the labelled pairs",
    "rollout": "Answer growing shares of the requests, as long as no guard finds harm",
    "promote": "Take the champion's place",
    "watch": "Measure the repair, with the old champion on copies of the same requests",
}
CONFIRM = {
    "approve": "Version {challenger} will answer every request in the place of version {champion}.",
    "begin": "Version {challenger} will answer a share of the requests, which grows as its rollout plan says.",
    "trust": "The run goes on and learns from these rows and labels; version {champion} still answers every request.",
    "reject": "The run ends and version {champion} stays the champion.",
    "cancel": "The run stops within seconds; version {champion} stays the champion.",
    "pause": "Version {challenger} keeps its share until somebody resumes the rollout; guards may still roll it back.",
    "resume": "The rollout of version {challenger} is resumed.",
    "end_watch": "Version {challenger} stays the champion, and version {champion} gets no more copies.",
    "roll_back": "Version {champion} answers every request again within seconds, and the run ends.",
}


ACTIONS = {
    "approve": "Approve",
    "reject": "Reject",
    "pause": "Pause",
    "resume": "Resume",
    "end_watch": "End the watch",
    "roll_back": "Roll back",
    "cancel": "Cancel",
}


@page("GET", "POST", writes="run")
def runs(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "runs")
    model = frame["model"]
    if request.method == "POST":
        run = starts.start_run(
            model=model,
            trigger=f"person {request.visitor.actor}",
            actor=request.visitor.actor,
            version=request.POST.get("version", "")[:64],
        )
        messages.success(request, "The run is queued.")
        return redirect("run", name=name, pk=run.pk)
    listed = list(selectors.runs_of(model)[:RUNS_SHOWN])
    frame |= {
        "runs": listed,
        "newest": _newest(listed[0]) if listed else "",
        "newest_status": _verdict(listed[0], None).status if listed else "no_data",
        "is_active": any(run.state in ACTIVE_STATES for run in listed),
        "challengers": selectors.possible_challengers(model),
        "would_happen": due_runs.what_would_happen(model),
        "incidents": {
            run.pk: incident_of(transition_id=run.transition_id) for run in listed if run.transition_id
        },
    }
    return render(request, "pages/repair/runs.html", frame)


def _newest(newest: Run) -> str:
    """Return how the newest run stands."""
    if newest.waiting_for:
        return f"Run {newest.pk}, the newest, waits for {newest.waiting_for}."
    if wait := wait_of(newest):
        return f"Run {newest.pk}, the newest, waits for a worker, {wait}."
    state = newest.state.replace("_", " ")
    if newest.state in ACTIVE_STATES or newest.state == RunState.FAILED:
        return f"Run {newest.pk}, the newest, {state if newest.state == RunState.FAILED else f'is {state}'}."
    return f"Run {newest.pk}, the newest, was {state}."


@page("GET", "POST", writes="run")
def run(request: PageRequest, name: str, pk: int) -> HttpResponse:
    frame = frame_of(request, name, "runs")
    one = selectors.get_run(model=frame["model"], run_id=pk)
    if request.method == "POST":
        return _act(request, one)
    steps = sorted(one.steps.all(), key=lambda step: step.position)
    gate = next((step for step in steps if step.name == "gate"), None)
    frame |= {
        "run": one,
        "run_verdict": _verdict(one, gate),
        "steps": [_step_row(step) for step in steps],
        "is_active": one.state in ACTIVE_STATES,
        "wait": wait_of(one),
        "incident": incident_of(transition_id=one.transition_id) if one.transition_id else None,
        "gate": _gate(gate),
        "actions": [(name, ACTIONS[name]) for name in _actions(one)],
        "rollout": describe_rollout(one),
        "confirm": _confirmation(request, one),
    }
    part = request.GET.get("part")
    return render_with_charts(
        request, "partials/run_live.html" if part == "live" else "pages/repair/run.html", frame
    )


def _act(request: PageRequest, one: Run) -> HttpResponse:
    action, actor = request.POST.get("action", ""), request.visitor.actor
    reason = request.POST.get("reason", "")[:500]
    match action:
        case "approve":
            services.approve(run=one, actor=actor)
            messages.success(request, "Approved; the run goes on within seconds.")
        case "reject":
            services.reject(run=one, actor=actor, reason=reason)
            messages.success(request, "Rejected; the champion stays.")
        case "cancel":
            services.cancel(run=one, actor=actor)
            messages.success(request, "Cancelled.")
        case "pause":
            pause_rollout(run=one, actor=actor)
            messages.success(request, "Paused.")
        case "resume" | "end_watch":
            resume_rollout(run=one, actor=actor)
            messages.success(request, "The run goes on within seconds.")
        case "roll_back":
            roll_back_run(run=one, actor=actor, reason=reason)
            messages.success(request, f"Rolled back to version {one.champion.version}.")
        case _:
            raise Problem(
                422,
                "unknown_action",
                f"{action[:40]!r} is not an action here; use one of {', '.join(ACTIONS)}.",
            )
    return redirect("run", name=one.model.name, pk=one.pk)


def _confirmation(request: PageRequest, one: Run) -> dict[str, str] | None:
    """What the page asks before it acts: `?confirm=approve` states the effect."""
    action = request.GET.get("confirm", "")
    if action == "approve" and _rollout_state(one) == Rollout.State.PAUSED:
        action = "resume"
    if action not in _actions(one):
        return None  # a link in a message, which somebody else answered meanwhile
    challenger = one.challenger.version if one.challenger else "to come"
    effect = CONFIRM[_effect_of(action, one)]
    return {
        "action": action,
        "question": ACTIONS[action],
        "effect": effect.format(champion=one.champion.version, challenger=challenger),
    }


def _effect_of(action: str, one: Run) -> str:
    if action == "approve" and one.challenger is None:
        return "trust"
    if action == "approve" and not _rollout_state(one) and Workflow.of(one.model).rollout.get("steps"):
        return "begin"
    return action


def _actions(one: Run) -> list[str]:
    """List what a person can do about a run now."""
    if one.state not in ACTIVE_STATES:
        return []
    match _rollout_state(one):
        case Rollout.State.PROGRESSING:
            return [*(["approve"] if one.needs == PERSON else []), "pause", "roll_back", "cancel"]
        case Rollout.State.PAUSED:
            return ["resume", "roll_back", "cancel"]
        case Rollout.State.WATCHING:
            return ["end_watch", "roll_back"]
    return ["approve", "reject", "cancel"] if one.needs == PERSON else ["cancel"]


def _rollout_state(one: Run) -> str:
    return one.rollout.state if hasattr(one, "rollout") else ""


def _verdict(one: Run, gate: Step | None) -> Statement:
    challenger = f"version {one.challenger.version}" if one.challenger else "a challenger"
    champion = f"version {one.champion.version}"
    started = f"Run {one.pk}, started by {one.trigger}, "
    because = _because(gate)
    match one.state:
        case RunState.PROMOTED:
            return Statement("ok", [Phrase(f"{started}replaced {champion} by {challenger}. {because}")])
        case RunState.REJECTED:
            return Statement(
                "warning", [Phrase(f"{started}kept {champion}: {challenger} was not better. {because}")]
            )
        case RunState.FAILED:
            failed = one.steps.filter(state=Step.State.FAILED).order_by("position").first()
            why = (
                f" at {failed.name}: {failed.error.splitlines()[0] if failed.error else 'no reason kept'}"
                if failed
                else ""
            )
            return Statement("critical", [Phrase(f"{started}failed{why}")])
        case RunState.ROLLED_BACK:
            return Statement(
                "critical",
                [
                    Phrase(
                        f"{started}was rolled back from {challenger} to {champion}: {_why_rolled_back(one)}"
                    )
                ],
            )
        case RunState.CANCELLED:
            return Statement("no_data", [Phrase(f"{started}was cancelled; {champion} stayed.")])
        case RunState.WAITING:
            return Statement(
                "notice", [Phrase(f"{started}waits for {one.waiting_for or 'traffic'}. {because}")]
            )
    step = one.steps.exclude(state__in=Step.OVER).order_by("position").first()
    return Statement("notice", [Phrase(f"{started}is {one.state}{f' at step {step.name}' if step else ''}.")])


def _why_rolled_back(one: Run) -> str:
    history = one.rollout.history if hasattr(one, "rollout") else []
    return f"{history[-1]['reason'] if history else 'by hand'}."


def _because(gate: Step | None) -> str:
    metrics = ((gate.evidence if gate else {}).get("comparison") or {}).get("metrics") or {}
    differences = [
        f"{METRICS[name].title} {row['difference']:+.3f} ({row['lower']:+.3f} to {row['upper']:+.3f})"
        for name, row in _in_order(metrics)[:3]
        if row.get("lower") is not None
    ]
    return f"Paired difference, challenger minus champion: {'; '.join(differences)}." if differences else ""


# -- evidence ----------------------------------------------------------------------------------------------------------
def _step_row(step: Step) -> dict[str, Any]:
    length = step.finished_at - step.started_at if step.started_at and step.finished_at else None
    shown = {
        k: v
        for k, v in step.evidence.items()
        if step.name != "gate" or k not in ("comparison", "verdict", "looks")
    }
    return {
        "step": step,
        "purpose": PURPOSES.get(step.name, ""),
        "length": length,
        "plain": [(key, value) for key, value in shown.items() if not isinstance(value, dict | list)],
        "paired": paired_rows(shown["metrics"]) if _is_paired(shown.get("metrics")) else [],
        "flat": [(key, value) for key, value in shown.items() if _is_flat(value)],
        "tables": [
            (k, v)
            for k, v in shown.items()
            if isinstance(v, dict) and v and not _is_flat(v) and not _is_paired(v)
        ],
        "lists": [(key, value) for key, value in shown.items() if isinstance(value, list) and value],
    }


def _is_flat(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and 0 < len(value) <= 12
        and not any(isinstance(v, dict | list) for v in value.values())
    )


def _is_paired(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(v, dict) and "difference" in v for v in value.values())
    )


def _gate(step: Step | None) -> dict[str, Any] | None:
    """The paired differences as a table, its reasons, and every look that the gate took."""
    if step is None or not step.evidence.get("comparison"):
        return None
    paired = paired_tables(step.evidence["comparison"], step.evidence.get("verdict") or {})
    return paired | {"looks": step.evidence.get("looks") or []}


def paired_tables(comparison: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare a comparison as JSON for its table: metrics and segments in order, and what the gate says.

    Metrics that do not decide are marked as such; those of segments are left out, as the objective alone judges these.
    """
    judged = verdict.get("judged") or []
    return {
        "comparison": comparison,
        "metrics": paired_rows(comparison["metrics"], judged),
        "segments": [
            (
                segment["segment"],
                segment["n_labelled"],
                [
                    row
                    for row in paired_rows(segment["metrics"])
                    if row["name"] in (judged[:1] or [row["name"]])
                ],
            )
            for segment in comparison.get("segments") or []
        ],
        "verdict": verdict,
    }


def paired_rows(metrics: Mapping[str, Any], judged: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Prepare metrics of both sides; where it is known which are `judged`, the others are only shown."""
    return [
        _paired_row(name, row) | {"is_shown_only": bool(judged) and name not in judged}
        for name, row in _in_order(metrics)
    ]


def _in_order(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The order of the catalogue's importance: JSON columns keep none."""
    order = {
        name: position for position, name in enumerate(("roc_auc", "log_loss", "accuracy", "mae", "rmse"))
    }
    return sorted(metrics.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def _paired_row(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    lower, upper, higher = row.get("lower"), row.get("upper"), row.get("higher_is_better")
    verdict = "no interval"
    if lower is not None and upper is not None:
        gain = (lower, upper) if higher else (-upper, -lower)
        verdict = "better" if gain[0] > 0 else "worse" if gain[1] < 0 else "no clear difference"
    return {
        "name": name,
        "title": METRICS[name].title if name in METRICS else name,
        "verdict": verdict,
        **row,
    }
