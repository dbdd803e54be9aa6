"""The page of a model's pipeline: which service trains its challengers, where, and with which secret."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.base.outbound.secrecy import MAX_SECRET_LENGTH
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import model_item
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.settings_parts import explain_in
from driftline.web.pages.setting_fields import form_field
from monitors.workflows.models import Workflow
from monitors.workflows.remote.orchestrators import ORCHESTRATORS
from monitors.workflows.remote.settings import MAX_OPTION_LENGTH
from monitors.workflows.services import configure_workflow
from monitors.workflows.settings import WorkflowSettings
from monitors.workflows.trainers.catalogue import REMOTE


class PipelineForm(forms.Form):
    """The settings of one kind of pipeline. The secret is never shown; an empty field leaves it as it is."""

    url = forms.CharField(max_length=500, label="Address")
    remote_secret = forms.CharField(
        required=False,
        max_length=MAX_SECRET_LENGTH,
        label="Secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    training_hours = form_field(WorkflowSettings, "training_hours")
    is_used = forms.BooleanField(required=False, label="Train this model's challengers with it")

    def __init__(self, kind: str, workflow: Workflow, data: Any = None) -> None:
        self.kind, self.orchestrator = kind, ORCHESTRATORS[kind]
        is_stored = workflow.remote.get("kind") == kind
        stored = workflow.remote if is_stored else {}
        initial = {
            "training_hours": workflow.training_hours,
            "is_used": workflow.trainer == REMOTE,
        }
        super().__init__(data, initial=stored | initial)
        self.fields["url"].help_text = _sentence(self.orchestrator.url)
        has_secret = is_stored and bool(workflow.remote_secret)
        known = (
            "One is stored for this address; leave this empty to keep it."
            if has_secret
            else "None is stored yet."
        )
        self.fields["remote_secret"].help_text = f"{_sentence(self.orchestrator.secret)} {known}"
        for option in self.orchestrator.options:
            self.fields[option.name] = forms.CharField(
                label=option.title,
                max_length=MAX_OPTION_LENGTH,
                required=option.is_required,
                initial=stored.get(option.name),
                help_text=f"Such as {option.example}." if option.is_required else _sentence(option.example),
            )
        self.order_fields(["url", *(option.name for option in self.orchestrator.options)])

    def changes(self, workflow: Workflow) -> dict[str, Any]:
        """Return what was sent, as the workflow's service takes it."""
        values = self.cleaned_data
        names = ["url", *(option.name for option in self.orchestrator.options)]
        remote: Mapping[str, str] = {name: values[name] for name in names if values[name]}
        changes: dict[str, Any] = {
            "remote": {"kind": self.kind, **remote},
            "training_hours": values["training_hours"],
        }
        if values["remote_secret"]:
            changes["remote_secret"] = values["remote_secret"]
        if values["is_used"]:
            changes["trainer"] = REMOTE
        elif workflow.trainer == REMOTE:
            changes |= {"trainer": Workflow._meta.get_field("trainer").get_default(), "parameters": {}}
        return changes


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


@page("GET", "POST", writes="model.workflow")
def pipeline(request: PageRequest, name: str) -> HttpResponse:
    """Show the pipeline, or a form for the kind that `?kind=` names; a POST stores it."""
    frame = frame_of(request, name, "workflow")
    model = frame["model"]
    workflow = Workflow.of(model)
    form = PipelineForm(
        _kind(request, workflow), workflow, request.POST if request.method == "POST" else None
    )
    if form.is_valid():
        try:
            configure_workflow(model=model, actor=request.visitor.actor, **form.changes(workflow))
        except Problem as problem:
            explain_in({"pipeline": form}, problem)
        else:
            messages.success(request, _saved(workflow, Workflow.of(model)))
            return redirect("pipeline", name=model.name)
    frame |= {
        "form": form,
        "kinds": [{"name": kind, "title": one.title} for kind, one in ORCHESTRATORS.items()],
        "workflow": workflow,
        "managed": managed(model.project, model_item(model.name)),
        "may_change": request.visitor.may("model.workflow"),
    }
    return render(
        request, "features/remote_training/pipeline.html", frame, status=422 if form.errors else 200
    )


def _saved(before: Workflow, after: Workflow) -> str:
    """Return what was stored, and what of the secret went with the address that it was for."""
    used = "the next run uses it" if after.trainer == REMOTE else "challengers are still trained here"
    if before.remote_secret and not after.remote_secret:
        return (
            f"The pipeline is saved; {used}. Its secret was for the other address and is removed: enter one for this "
            "address if it needs one."
        )
    return f"The pipeline is saved; {used}."


def _kind(request: PageRequest, workflow: Workflow) -> str:
    """Return the kind that the visitor chose, else that of the stored pipeline, else the first."""
    chosen = request.GET.get("kind") or workflow.remote.get("kind") or next(iter(ORCHESTRATORS))
    if chosen not in ORCHESTRATORS:
        raise Problem(
            422,
            "unknown_kind",
            f"{chosen[:40]!r} is no kind of pipeline; use one of {', '.join(ORCHESTRATORS)}.",
        )
    return chosen
