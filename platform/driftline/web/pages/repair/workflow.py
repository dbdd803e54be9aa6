"""The page of a model's workflow: what trains, what starts runs, what a challenger must show and how it takes over."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import model_item
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.settings_parts import SettingsPart, store_parts
from driftline.web.pages.repair.rollout import describe_plan
from driftline.web.pages.repair.rollout_form import RolloutForm
from driftline.web.pages.repair.workflow_form import GateForm, StartsForm, TrainerForm, trainers_of
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.workflows import selectors
from monitors.workflows.judging.gate_text import describe_gate
from monitors.workflows.models import Run, Workflow
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.services import configure_workflow
from monitors.workflows.trainers.catalogue import REMOTE
from monitors.workflows.triggers import due_runs

RUNS_SHOWN = 10


@page("GET", "POST", writes="model.workflow")
def workflow(request: PageRequest, name: str) -> HttpResponse:
    """Show the workflow with a form for the trainer that `?trainer=` names; a POST stores it."""
    frame = frame_of(request, name, "workflow")
    model, sent = frame["model"], request.POST if request.method == "POST" else None
    stored = Workflow.of(model)
    trainer = _trainer(request, stored)
    parts: dict[str, SettingsPart] = {
        "trainer": TrainerForm(model, request.visitor, sent, trainer=trainer),
        "starts": StartsForm(model, request.visitor, sent),
        "gate": GateForm(model, request.visitor, sent),
        "rollout": RolloutForm(model, request.visitor, sent),
    }
    if store_parts(parts, request.visitor, partial(_save, model, parts, request.visitor.actor)):
        messages.success(request, "The workflow is saved; the next run follows it.")
        return redirect("workflow", name=model.name)
    frame |= {
        "parts": list(parts.values()),
        "form": parts,
        "workflow": stored,
        "trainer": trainer,
        "trainers": trainers_of(stored),
        "is_remote": trainer == REMOTE,
        "gate_lines": describe_gate(stored),
        "rollout_lines": describe_plan(RolloutPlan.parse(stored.rollout)),
        "would_happen": due_runs.what_would_happen(model),
        "runs": [_run_row(run) for run in selectors.runs_of(model)[:RUNS_SHOWN]],
        "managed": managed(model.project, model_item(model.name)),
        "may_change": request.visitor.may("model.workflow"),
    }
    is_wrong = any(part.errors for part in parts.values())
    return render(request, "pages/repair/workflow.html", frame, status=422 if is_wrong else 200)


def _trainer(request: PageRequest, stored: Workflow) -> str:
    """Return the trainer that the visitor chose, else the one that is set."""
    chosen = request.GET.get("trainer") or stored.trainer
    if chosen not in trainers_of(stored):
        raise Problem(
            422,
            "unknown_trainer",
            f"{chosen[:40]!r} is no trainer here; use one of {', '.join(trainers_of(stored))}.",
        )
    return chosen


def _save(model: Model, parts: dict[str, Any], actor: str) -> None:
    """Store what was changed, all of it or nothing."""
    starts: StartsForm = parts["starts"]
    changes = {name: value for part in parts.values() for name, value in part.changes().items()}
    with transaction.atomic():
        if of_model := starts.model_changes():
            update_model(model=model, actor=actor, **of_model)
        if changes:
            configure_workflow(model=model, actor=actor, **changes)


def _run_row(run: Run) -> dict[str, Any]:
    """Return what a run came to, and what its training took."""
    train = next((step for step in run.steps.all() if step.name == "train"), None)
    evidence = train.evidence if train else {}
    took = train.finished_at - train.started_at if train and train.started_at and train.finished_at else None
    whole = (run.finished_at - run.created_at) if run.finished_at else None
    return {
        "run": run,
        "trained": took if took and took > timedelta(0) and evidence else None,
        "rows": evidence.get("rows"),
        "memory_mb": evidence.get("peak_memory_mb"),
        "took": whole,
    }
