"""Import and export: files of predictions or labels into the log with their progress, and the log as a file."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.data.files import KINDS, lead_to_preview, stage_upload
from driftline.web.pages.models.model import frame_of
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.selectors import get_import, imports_of
from inference.prediction_log.imports.services import cancel
from inference.prediction_log.imports.staging import waiting_files
from inference.registry.models import Model
from inference.registry.selectors import find_model

SHOWN = 20


class ImportForm(forms.Form):
    kind = forms.ChoiceField(
        choices=[("", "As its columns say"), *KINDS], required=False, label="The file holds"
    )
    file = forms.FileField(
        label="CSV or Parquet file",
        help_text="Up to 2 GiB. Its columns are shown first; nothing is stored before you confirm them.",
    )


@page("GET", "POST", writes="import.cancel")
def imports(request: PageRequest, name: str) -> HttpResponse:
    """Take a file to be looked at, or cancel an import; show how far each is."""
    if request.method == "GET" and request.GET.get("part") == "imports":
        model = find_model(project=request.visitor.project, name=name)
        return render(request, "partials/imports.html", {"model": model, **_jobs(model)})
    frame = frame_of(request, name, "predictions")
    model = frame["model"]
    if request.POST.get("cancel"):
        return _cancel(request, model)
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST":
        if (staged := stage_upload(request, model, form)) is not None:
            return lead_to_preview(request, model.name, staged, form.cleaned_data["kind"])
        if request.htmx:  # type: ignore[attr-defined]
            return render(request, "partials/import_form.html", frame | {"form": form}, status=422)
    frame |= {"form": form, **_jobs(model)}
    return render(request, "pages/data/import.html", frame, status=422 if form.errors else 200)


def _cancel(request: PageRequest, model: Model) -> HttpResponse:
    number = request.POST["cancel"]
    job = get_import(model=model, import_id=int(number[:18]) if number.isdecimal() else 0)
    cancelled = cancel(job=job, actor=request.visitor.actor)
    messages.info(
        request,
        f"The import of {job.file_name} was cancelled; {cancelled.accepted:,} rows of it stay in the log.",
    )
    return redirect("import", name=model.name)


def _jobs(model: Model) -> dict[str, Any]:
    jobs = list(imports_of(model).order_by("-pk")[:SHOWN])
    return {
        "jobs": jobs,
        "is_importing": any(job.is_unfinished for job in jobs),
        "cancelled": Import.State.CANCELLED,
        "waiting": waiting_files(model),
    }
