"""Import and export: files of predictions or labels into the log with their progress, and the log as a file."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.common.errors import Problem
from driftline.pages.access import PageRequest, page
from driftline.pages.forms import explain
from driftline.pages.model import frame_of
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.selectors import get_import, imports_of
from inference.prediction_log.imports.services import FileSender, cancel, import_upload
from inference.registry.models import Model
from inference.registry.selectors import find_model

SHOWN = 20
KINDS = [("predictions", "Predictions"), ("labels", "Labels: what really happened")]


class ImportForm(forms.Form):
    kind = forms.ChoiceField(choices=KINDS, label="The file holds")
    file = forms.FileField(
        label="CSV or Parquet file", help_text="Up to 2 GiB, with a header of column names."
    )
    version = forms.CharField(
        max_length=64,
        required=False,
        label="For version",
        help_text="Of rows that name none. Empty: the champion, or version 1 of a new model.",
    )
    force = forms.BooleanField(
        required=False, label="Import it again", help_text="If the same file was imported before."
    )


@page("GET", "POST", writes="import.cancel")
def imports(request: PageRequest, name: str) -> HttpResponse:
    """Take a file or cancel its import; show how far each is."""
    if request.method == "GET" and request.GET.get("part") == "imports":
        model = find_model(project=request.visitor.project, name=name)
        return render(request, "partials/imports.html", {"model": model, **_jobs(model)})
    frame = frame_of(request, name, "predictions")
    model = frame["model"]
    if request.POST.get("cancel"):
        return _cancel(request, model)
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST":
        if _take(request, model, form):
            return _lead_back(request, model)
        if request.htmx:  # type: ignore[attr-defined]
            return render(request, "partials/import_form.html", frame | {"form": form}, status=422)
    frame |= {"form": form, **_jobs(model)}
    return render(request, "pages/import.html", frame, status=422 if form.errors else 200)


def _take(request: PageRequest, model: Model, form: ImportForm) -> bool:
    if not form.is_valid():
        return False
    request.visitor.check_rights({"/kind": form.cleaned_data["kind"]})
    file = form.cleaned_data["file"]
    try:
        job, is_new = import_upload(
            model=model,
            kind=form.cleaned_data["kind"],
            stream=file,
            name=file.name,
            version=form.cleaned_data["version"],
            sender=FileSender(request.visitor.actor),
            force=form.cleaned_data["force"],
        )
    except Problem as problem:
        explain(form, problem)
        return False
    if job.is_unfinished:
        said = "was taken and is being imported" if is_new else "is being imported already"
        messages.success(request, f"{job.file_name} {said}; you may leave this page.")
    else:
        messages.info(
            request,
            f"The same file was imported before, as {job.file_name}, and nothing was done; tick Import it again "
            "to have it imported once more.",
        )
    return True


def _cancel(request: PageRequest, model: Model) -> HttpResponse:
    number = request.POST["cancel"]
    job = get_import(model=model, import_id=int(number[:18]) if number.isdecimal() else 0)
    cancelled = cancel(job=job, actor=request.visitor.actor)
    messages.info(
        request,
        f"The import of {job.file_name} was cancelled; {cancelled.accepted:,} rows of it stay in the log.",
    )
    return redirect("import", name=model.name)


def _lead_back(request: PageRequest, model: Model) -> HttpResponse:
    url = reverse("import", args=[model.name])
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return redirect(url)


def _jobs(model: Model) -> dict[str, Any]:
    jobs = list(imports_of(model).order_by("-pk")[:SHOWN])
    return {
        "jobs": jobs,
        "is_importing": any(job.is_unfinished for job in jobs),
        "cancelled": Import.State.CANCELLED,
    }
