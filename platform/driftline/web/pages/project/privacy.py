"""Settings, Privacy: erases a person, and shows the receipts with how far each is."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.ids import ID_LENGTH
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from inference.prediction_log.erasure.selectors import erasures_of
from inference.prediction_log.erasure.services import request_erasure

SHOWN = 50
PLACES = {
    "predictions": "predictions",
    "shadow_rows": "shadow rows",
    "labels": "labels",
    "lake_rows": "rows of the lake",
    "jobs": "jobs",
    "callbacks": "waiting callbacks",
    "deliveries": "messages about jobs",
    "bad_rows": "bad rows of imports",
    "table_rows": "rows of data sets",
    "training_rows": "training rows",
    "summaries": "summaries",
    "points": "metric points",
    "rules": "rules",
    "reports": "reports",
    "mails": "e-mail files",
    "texts": "texts",
    "log_lines": "places in logs",
    "spool_bytes": "bytes of spool",
    "set_aside": "files set aside",
}


class ErasureForm(forms.Form):
    key = forms.CharField(
        max_length=ID_LENGTH,
        strip=False,
        label="Subject",
        help_text="The subject of the predictions, as it was sent.",
    )
    sure = forms.BooleanField(
        label="Erase everything of this person in all models of the project. It cannot be undone.",
        error_messages={"required": "Confirm it: what is erased cannot be brought back."},
    )


@page("GET", "POST", writes="subject")
def privacy(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    if request.method == "GET" and request.GET.get("part") == "erasures":
        return render(request, "partials/erasures.html", _receipts(project))
    form = ErasureForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            erasure = request_erasure(
                project=project, key=form.cleaned_data["key"], actor=request.visitor.actor
            )
        except Problem as problem:
            form.add_error("key", problem.detail) if not problem.errors else explain(form, problem)
        else:
            messages.success(request, f"{str(erasure).capitalize()} has begun; you may leave this page.")
            return redirect("privacy")
    context = {"form": form, "section": "privacy", **_receipts(project)}
    return render(request, "pages/project/privacy.html", context, status=422 if form.errors else 200)


def _receipts(project: Project) -> dict[str, Any]:
    erasures = list(erasures_of(project).order_by("-pk")[:SHOWN])
    return {
        "receipts": [
            (one, [(PLACES.get(place, place), number) for place, number in sorted(one.counts.items())])
            for one in erasures
        ],
        "is_erasing": any(one.is_unfinished for one in erasures),
    }
