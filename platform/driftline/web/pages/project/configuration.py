"""Settings, As code: the project as a document to download, what differs from the one that was applied, and another."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.yaml_text import write_yaml
from driftline.operations.configuration.applying import apply
from driftline.operations.configuration.differences import differences
from driftline.operations.configuration.document import Configuration, read_configuration
from driftline.operations.configuration.exporting import export
from driftline.operations.configuration.planning import ItemChange, plan, things_of
from driftline.operations.configuration.yaml_text import MAX_TEXT_BYTES
from driftline.web.pages.access import PageRequest, page


class DocumentForm(forms.Form):
    document = forms.CharField(
        max_length=MAX_TEXT_BYTES,
        strip=False,
        widget=forms.Textarea({"rows": 18, "spellcheck": "false", "class": "code"}),
        help_text="YAML. What it does not mention stays; of a list that it has, such as the rules of a model, it has "
        "all.",
    )


@page("GET", "POST", writes="configuration")
def configuration(request: PageRequest) -> HttpResponse:
    """Show the last document and what differs from it; a POST compares another one, or applies it."""
    form = DocumentForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return _show(request, form)
    try:
        document = read_configuration(form.cleaned_data["document"].encode())
        if request.POST.get("do") == "apply":
            return _apply(request, document)
        planned = plan(request.visitor.project, document)
    except Problem as problem:
        for sentence in [f"{one.pointer}: {one.detail}" for one in problem.errors] or [problem.detail]:
            form.add_error("document", sentence)
        return _show(request, form)
    return _show(request, form, planned=planned)


@page("GET")
def download(request: PageRequest) -> HttpResponse:
    """Download the project as a document."""
    project = request.visitor.project
    text = write_yaml(export(project, with_targets=request.visitor.may("channel")))
    headers = {"Content-Disposition": f'attachment; filename="{project.slug}.yaml"'}
    return HttpResponse(text, content_type="application/yaml; charset=utf-8", headers=headers)


def _apply(request: PageRequest, document: Configuration) -> HttpResponse:
    def check(changes: list[ItemChange]) -> None:
        request.visitor.check_rights(things_of(changes))

    visitor = request.visitor
    changes = apply(project=visitor.project, document=document, actor=visitor.actor, now=now(), check=check)
    count = (
        f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
        if changes
        else "nothing, as nothing differed"
    )
    messages.success(request, f"Applied {count}.")
    return redirect("configuration")


def _show(
    request: PageRequest, form: DocumentForm, *, planned: list[ItemChange] | None = None
) -> HttpResponse:
    found = differences(request.visitor.project)
    context: dict[str, Any] = {
        "form": form,
        "applied": found[0] if found else None,
        "differences": found[1] if found else [],
        "planned": planned,
        "may_change": request.visitor.may("configuration"),
        "section": "configuration",
    }
    return render(request, "pages/project/configuration.html", context, status=422 if form.errors else 200)
