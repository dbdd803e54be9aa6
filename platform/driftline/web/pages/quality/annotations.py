"""The pages of annotations: all of a model's, one to change, and the question before one is deleted."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.quality.annotation_form import AnnotationForm
from inference.registry.models import Model
from monitors.annotations.models import Annotation
from monitors.annotations.services import change_annotation, create_annotation, delete_annotation

LISTED = 200


@page("GET", "POST", writes="annotation")
def annotations(request: PageRequest, name: str) -> HttpResponse:
    """List a model's annotations; a POST adds one."""
    frame = frame_of(request, name, "model")
    model, chosen = frame["model"], frame["range"]
    form = AnnotationForm(request.POST or None, initial={"start": chosen.newest})
    if form.is_valid():
        try:
            create_annotation(model=model, actor=request.visitor.actor, **form.cleaned_data)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"The annotation is on all charts of {model.name}.")
            return redirect("model", name=model.name)
    stored = model.annotations.order_by("-start", "-pk")
    frame |= {
        "annotation_form": form,
        "annotations": stored[:LISTED],
        "annotation_count": stored.count(),
        "is_list": True,
    }
    return render(request, "pages/quality/annotations.html", frame, status=422 if form.errors else 200)


@page("GET", "POST", writes="annotation")
def annotation(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show one annotation; a POST changes or deletes it."""
    frame = frame_of(request, name, "model")
    one = _find(frame["model"], pk)
    if request.POST.get("do") == "delete":
        delete_annotation(annotation=one, actor=request.visitor.actor)
        messages.success(request, "The annotation is deleted.")
        return redirect("annotations", name=name)
    form = AnnotationForm.of(one, request.POST or None)
    if form.is_valid():
        try:
            change_annotation(annotation=one, changes=form.cleaned_data, actor=request.visitor.actor)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, "The annotation is changed.")
            return redirect("annotations", name=name)
    frame |= {"annotation": one, "annotation_form": form}
    return render(request, "pages/quality/annotation.html", frame, status=422 if form.errors else 200)


@page("GET")
def delete(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Ask before an annotation is deleted."""
    frame = frame_of(request, name, "model")
    one = _find(frame["model"], pk)
    frame |= {
        "annotation": one,
        "title": "Delete the annotation",
        "effects": [f"“{one.text}” disappears from all charts, for everybody. The audit trail keeps it."],
        "yes": "Yes, delete it",
        "may_confirm": request.visitor.may_edit,
    }
    return render(request, "pages/quality/annotation_delete.html", frame)


def _find(model: Model, pk: int) -> Annotation:
    return get_object_or_404(Annotation.objects.select_related("model__project"), model=model, pk=pk)
