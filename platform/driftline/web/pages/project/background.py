"""Settings, Background work: what waits, what is worked on, and what was given up and why."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import invalid
from driftline.operations import given_up
from driftline.web.pages.access import PageRequest, page


@page("GET", "POST", writes="failed_work")
def background(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    if request.method == "POST":
        return _change(request)
    context = {
        "section": "background",
        "given_up": given_up.given_up(project),
        "late": given_up.late(project),
        "counts": [row for row in given_up.count_open(project) if row[1] or row[2]],
    }
    return render(request, "pages/project/background.html", context)


def _change(request: PageRequest) -> HttpResponse:
    kind, _, number = request.POST.get("work", "").rpartition("-")
    if not number.isdecimal() or len(number) > 18:
        raise invalid("/work", "Choose work that was given up.")
    project, actor = request.visitor.project, request.visitor.actor
    if request.POST.get("do") == "dismiss":
        given_up.dismiss(kind=kind, id=int(number), actor=actor, project=project)
        messages.success(request, "It is dismissed.")
    else:
        given_up.retry(kind=kind, id=int(number), actor=actor, project=project)
        messages.success(request, "It will be tried again.")
    return redirect("background")
