"""The pages of the imports of whole MLflow registries: which there are, and of one what is chosen and what came."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.base.outbound.secrecy import MAX_SECRET_LENGTH
from driftline.base.periods import counted
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from inference.registry.models import ModelTask
from monitors.workflows.mlflow.registry_imports import services
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport
from monitors.workflows.mlflow.registry_imports.selectors import (
    imports_of,
    models_of,
    progress_of,
    progress_of_each,
)
from monitors.workflows.mlflow.services import MAX_URL_LETTERS


class RegistryForm(forms.Form):
    """Which registry. The secret is never shown again."""

    url = forms.CharField(
        max_length=MAX_URL_LETTERS,
        label="Tracking server",
        help_text="Its address, such as https://mlflow.example.com.",
    )
    secret = forms.CharField(
        required=False,
        max_length=MAX_SECRET_LENGTH,
        label="Secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="A token, or user:password. It is kept sealed until the import is forgotten.",
    )
    search = forms.CharField(
        required=False,
        max_length=services.MAX_SEARCH_LETTERS,
        label="Part of the names",
        help_text="Only registered models with it in their name are listed. Empty: all, up to 400.",
    )


class OptionsForm(forms.Form):
    """How the chosen models are imported."""

    versions = forms.ChoiceField(
        choices=[
            ("aliases", "With the alias champion, production or challenger; else the newest"),
            ("all", "All that are ready, up to the newest 50"),
        ],
        label="Versions",
    )
    task = forms.ChoiceField(
        choices=[("", "Refuse them"), *((value, title) for value, title in ModelTask.choices)],
        required=False,
        label="Task of new models where the file does not tell it",
    )
    follow = forms.BooleanField(
        required=False,
        label="Follow them",
        help_text="Each model follows its registered model from then on, by the alias challenger.",
    )


@page("GET", "POST", writes="version")
def mlflow_imports(request: PageRequest) -> HttpResponse:
    """List the imports; a POST has another registry listed."""
    project = request.visitor.project
    form = RegistryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.list_registry(project=project, actor=request.visitor.actor, **form.cleaned_data)
        except Problem as problem:
            explain(form, problem)
        else:
            return redirect("mlflow_import", pk=made.pk)
    imports = list(imports_of(project))
    progress = progress_of_each(imports)
    frame = {"form": form, "imports": [(one, progress[one.pk]) for one in imports]}
    return render(
        request, "features/registry_imports/mlflow_imports.html", frame, status=422 if form.errors else 200
    )


@page("GET", "POST", writes="version")
def mlflow_import(request: PageRequest, pk: int) -> HttpResponse:
    """Show one import; a POST starts it with what was chosen, tries again what failed, or forgets it."""
    found = services.get_import(project=request.visitor.project, import_id=pk)
    if request.method == "GET" and request.GET.get("part") == "imported":
        return _part(request, found)
    action = request.POST.get("do", "") if request.method == "POST" else ""
    form = OptionsForm(request.POST if action == "start" else None)
    if action == "start":
        if _start(request, found, form):
            return redirect("mlflow_import", pk=pk)
    elif action:
        return _act(request, found, action)
    frame = _frame(found) | {"form": form, "choices": _choices(request, found)}
    return render(
        request, "features/registry_imports/mlflow_import.html", frame, status=422 if form.errors else 200
    )


def _part(request: PageRequest, found: RegistryImport) -> HttpResponse:
    """Show what came so far; once nothing is under way any more, the whole page is loaded anew."""
    frame = _frame(found)
    answer = render(request, "features/registry_imports/imported.html", frame)
    if not frame["is_working"]:
        answer["HX-Refresh"] = "true"
    return answer


def _frame(found: RegistryImport) -> dict[str, Any]:
    progress = progress_of(found)
    return {
        "found": found,
        "progress": progress,
        "is_working": found.is_unfinished or progress.waiting > 0,
        "imported": models_of(found).exclude(state=ImportedModel.State.LISTED),
    }


def _choices(request: PageRequest, found: RegistryImport) -> list[dict[str, Any]]:
    """List what can be chosen, all that has a name here ticked; after a refusal as it was sent."""
    is_sent = request.method == "POST"
    ticked = set(request.POST.getlist("model"))
    return [
        {
            "row": row,
            "is_ticked": str(row.pk) in ticked if is_sent else bool(row.name and row.state == "listed"),
            "name": request.POST.get(f"name_{row.pk}", row.name),
        }
        for row in models_of(found).filter(state__in=[ImportedModel.State.LISTED, ImportedModel.State.FAILED])
    ]


def _start(request: PageRequest, found: RegistryImport, form: OptionsForm) -> bool:
    """Start with what is ticked; False where it was refused, with the reasons in the form."""
    if not form.is_valid():
        return False
    chosen = {
        one["row"].registered_model: one["name"] for one in _choices(request, found) if one["is_ticked"]
    }
    if not chosen:
        form.add_error(None, "Nothing is ticked; tick the models that are to come.")
        return False
    values = form.cleaned_data
    options = services.ImportOptions(values["versions"], values["follow"], values["task"])
    try:
        started = services.start_import(
            registry_import=found,
            chosen=chosen,
            options=options,
            actor=request.visitor.actor,
            check_new=lambda: request.visitor.check_rights({"/models": "model"}),
        )
    except Problem as problem:
        form.add_error(None, problem.errors[0].detail if problem.errors else problem.detail)
        return False
    messages.success(request, f"A worker imports {counted(started, 'registered model')}.")
    return True


def _act(request: PageRequest, found: RegistryImport, action: str) -> HttpResponse:
    actor = request.visitor.actor
    if action == "retry":
        retried = services.retry(registry_import=found, actor=actor)
        messages.success(request, f"{counted(retried, 'registered model')} tried again.")
        return redirect("mlflow_import", pk=found.pk)
    if action == "forget":
        services.forget_import(registry_import=found, actor=actor)
        messages.info(request, f"The {found} is forgotten; the models that came stay.")
        return redirect("mlflow_imports")
    raise Problem(422, "unknown_action", f"{action[:40]!r} is not an action here.")
