"""Deletions: each page lists what goes and asks for the name of it. All but imports can be archived instead."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.base.errors import Problem, invalid, not_found
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from inference.prediction_log.imports.selectors import get_import
from inference.registry.models import Model
from inference.registry.selectors import get_model, get_version
from inference.registry.services import archive_model
from inference.registry.versions import archive_version
from monitors import deletion
from monitors.archiving import archive_dataset, archive_reference


@page("GET", "POST", writes="model.delete")
def delete_model(request: PageRequest, name: str) -> HttpResponse:
    """List what goes with a model, and delete it once its name is typed."""
    frame = frame_of(request, name, "model_settings")
    model: Model = frame["model"]
    frame |= _texts(
        f"Delete {name}", deletion.effects_of_model(model), name, reverse("model_settings", args=[name])
    )
    frame["remark"] = "To keep everything and see it no more, archive the model on the page Settings instead."
    return _ask(
        request, frame, lambda typed: deletion.delete_model(model=model, confirm=typed, actor=request.visitor.actor),
        f"The model {name} was deleted.", reverse("models"),
    )  # fmt: skip


@page("GET", "POST", writes="version.delete")
def delete_version(request: PageRequest, name: str, version: str) -> HttpResponse:
    """List what goes with a version, and delete it once its name is typed."""
    frame = frame_of(request, name, "versions")
    found = get_version(model=frame["model"], version=version)
    back = reverse("version", args=[name, version])
    frame |= _texts(f"Delete version {version}", deletion.effects_of_version(found), version, back)
    return _ask(
        request, frame,
        lambda typed: deletion.delete_version(version=found, confirm=typed, actor=request.visitor.actor),
        f"Version {version} was deleted.", reverse("versions", args=[name]),
    )  # fmt: skip


@page("GET", "POST", writes="reference.delete")
def delete_reference(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """List what goes with a reference, and delete it once the name of its version is typed."""
    frame = frame_of(request, name, "drift")
    references = frame["model"].references.select_related("version", "dataset", "model__project")
    found = references.filter(pk=pk).first()
    if found is None:
        raise not_found("reference")
    back, version = reverse("reference", args=[name]), found.version.version
    frame |= _texts(
        f"Delete the reference of version {version}", deletion.effects_of_reference(found), version, back
    )
    return _ask(
        request, frame,
        lambda typed: deletion.delete_reference(reference=found, confirm=typed, actor=request.visitor.actor),
        "The reference was deleted.", back,
    )  # fmt: skip


@page("GET", "POST", writes="dataset.delete")
def delete_dataset(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """List what goes with a data set, and delete it once its name is typed."""
    frame = frame_of(request, name, "model_settings")
    found = frame["model"].datasets.select_related("version", "model__project").filter(pk=pk).first()
    if found is None:
        raise not_found("dataset")
    back, own_name = reverse("model_settings", args=[name]), deletion.name_of(found)
    frame |= _texts(f"Delete data set {own_name}", deletion.effects_of_dataset(found), own_name, back)
    return _ask(
        request, frame,
        lambda typed: deletion.delete_dataset(dataset=found, confirm=typed, actor=request.visitor.actor),
        f"The data set {own_name} was deleted.", back,
    )  # fmt: skip


@page("GET", "POST", writes="import.remove")
def remove_import(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """List what goes with the rows of an import, and remove them once the name of its file is typed."""
    frame = frame_of(request, name, "predictions")
    job = get_import(model=frame["model"], import_id=pk)
    back = reverse("import", args=[name])
    frame |= _texts(
        f"Remove the rows of {job.file_name}", deletion.effects_of_import(job), job.file_name, back
    )
    return _ask(
        request, frame,
        lambda typed: deletion.remove_import(job=job, confirm=typed, actor=request.visitor.actor),
        f"The rows of {job.file_name} are being removed; you may leave this page.", back,
    )  # fmt: skip


@page("POST", writes="model.archived")
def archive(request: PageRequest, name: str) -> HttpResponse:
    """Put a model aside, or bring it back."""
    model = get_model(project=request.visitor.project, name=name)
    is_archived = _wants_archived(request)
    archive_model(model=model, is_archived=is_archived, actor=request.visitor.actor)
    outcome = (
        "is archived: it is not listed, and its rules are not judged" if is_archived else "is listed again"
    )
    messages.success(request, f"{name} {outcome}.")
    return redirect("model_settings", name=name)


@page("POST", writes="version")
def archive_one_version(request: PageRequest, name: str, version: str) -> HttpResponse:
    """Hide a version from lists, or restore it."""
    model = get_model(project=request.visitor.project, name=name)
    found = get_version(model=model, version=version)
    is_archived, actor = _wants_archived(request), request.visitor.actor
    _archive(
        request, f"Version {version}", archive_version, version=found, is_archived=is_archived, actor=actor
    )
    return redirect("version", name=name, version=version)


@page("POST", writes="reference.archived")
def archive_one_reference(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Hide a reference from lists, or restore it."""
    model = get_model(project=request.visitor.project, name=name)
    found = model.references.select_related("version", "model__project").filter(pk=pk).first()
    if found is None:
        raise not_found("reference")
    is_archived, actor = _wants_archived(request), request.visitor.actor
    _archive(
        request, f"Reference {pk}", archive_reference, reference=found, is_archived=is_archived, actor=actor
    )
    return redirect("reference", name=name)


@page("POST", writes="dataset.archived")
def archive_one_dataset(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Hide a data set from lists, or restore it."""
    model = get_model(project=request.visitor.project, name=name)
    found = model.datasets.select_related("model__project").filter(pk=pk).first()
    if found is None:
        raise not_found("dataset")
    is_archived, actor = _wants_archived(request), request.visitor.actor
    what = f"Data set {deletion.name_of(found)}"
    _archive(request, what, archive_dataset, dataset=found, is_archived=is_archived, actor=actor)
    return redirect("model_settings", name=name)


def _wants_archived(request: PageRequest) -> bool:
    """Read which of the two the pressed button says, so that pressing it twice does it once."""
    wanted = request.POST.get("archived")
    if wanted not in ("true", "false"):
        raise invalid("/archived", "Use true to archive, false to restore.")
    return wanted == "true"


def _archive(
    request: PageRequest, what: str, archive: Callable[..., None], *, is_archived: bool, **fields: Any
) -> None:
    try:
        archive(is_archived=is_archived, **fields)
    except Problem as problem:
        if problem.status in (403, 404):
            raise
        messages.error(request, problem.detail)
    else:
        messages.success(request, f"{what} is {'archived' if is_archived else 'listed again'}.")


def _texts(title: str, effects: list[str], typed: str, back: str) -> dict[str, Any]:
    return {"title": title, "effects": effects, "typed": typed, "back": back, "remark": ""}


def _ask(
    request: PageRequest, frame: dict[str, Any], delete: Callable[[str], object], done: str, following: str
) -> HttpResponse:
    """Show what goes; once its name is typed, have it deleted and go on."""
    if request.method == "GET":
        return render(request, "pages/project/delete.html", frame)
    typed = frame["typed"]
    if (
        request.POST.get("confirm", "").strip() != typed.strip()
    ):  # a file's name may begin or end with a space
        frame["error"] = f"Type {typed} to confirm it."
        return render(request, "pages/project/delete.html", frame, status=422)
    try:
        delete(typed)
    except Problem as problem:
        if problem.status in (403, 404):
            raise
        frame["error"] = problem.detail
        return render(request, "pages/project/delete.html", frame, status=problem.status)
    messages.success(request, done)
    return redirect(following)
