"""Where it got worse: the segments that a search found, on the performance page. Asked for, followed, watched."""

from typing import Any

import msgspec
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.common.periods import Period
from driftline.pages.access import PageRequest, page
from driftline.pages.timerange import TimeRange, range_of
from inference.registry.models import Model, RowsKept
from inference.registry.selectors import find_model
from monitors.definitions.segments import declare_segment
from monitors.metrics.models import RowLoss, SegmentSearch
from monitors.metrics.segments import LOSSES, findings_of, request_search


@page("GET", "POST")
def searches(request: PageRequest, name: str) -> HttpResponse:
    """Show what was found in the range; a POST asks for a search, or declares a found segment."""
    model = find_model(project=request.visitor.project, name=name)
    chosen = range_of(request, model)
    loss = request.GET.get("loss", "")
    if request.method == "POST":
        watched = request.POST.get("watch")
        return _watch(request, model, chosen, watched) if watched else _search(request, model, chosen)
    if request.GET.get("part") == "segments":
        frame = {"model": model, "range": chosen, **found_segments(model, chosen, loss)}
        return render(request, "partials/found_segments.html", frame)
    return redirect(_address(model, chosen, loss))


def found_segments(model: Model, chosen: TimeRange, loss: str) -> dict[str, Any]:
    """Gather what the section shows: the newest search of just this range, by a loss or by any."""
    searches = SegmentSearch.objects.filter(model=model, start=chosen.start, end=chosen.end)
    if loss:
        searches = searches.filter(loss=loss)
    search = searches.order_by("-requested_at", "-pk").first()
    findings = findings_of(search) if search else None
    return {
        "segment_search": search,
        "findings": findings,
        "found": [
            (one, f"{one.single[0]}:{one.single[1]}" if one.single else "") for one in findings.found.found
        ]
        if findings
        else [],
        "watched": {segment.parsed for segment in model.segments.all()},
        "losses": [(one.value, RowLoss(one).label) for one in LOSSES[model.task]],
        "keeps_rows": model.rows_kept != RowsKept.NONE,
    }


def _search(request: PageRequest, model: Model, chosen: TimeRange) -> HttpResponse:
    loss = request.POST.get("loss", "")
    request_search(
        model=model, window=Period(chosen.start, chosen.end), loss=loss, actor=request.visitor.actor
    )
    return redirect(_address(model, chosen, loss))


def _watch(request: PageRequest, model: Model, chosen: TimeRange, name: str) -> HttpResponse:
    """Declare what was found under the name that it was found by."""
    loss = request.GET.get("loss", "")
    found = next((one for one, _ in found_segments(model, chosen, loss)["found"] if one.name == name), None)
    if found is None:
        raise Http404
    segment = declare_segment(
        model=model, name="", conditions=msgspec.to_builtins(found.conditions), actor=request.visitor.actor
    )
    messages.success(request, f"{segment.name} is watched; the rows that are kept are read again.")
    return redirect(_address(model, chosen, loss))


def _address(model: Model, chosen: TimeRange, loss: str) -> str:
    query = chosen.suffix + (f"{'&' if chosen.suffix else '?'}loss={loss}" if loss in RowLoss.values else "")
    return f"{reverse('performance', args=[model.name])}{query}#found-segments"
