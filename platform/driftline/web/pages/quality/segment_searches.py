"""Segments that a search found: what got worse on the performance page, and what grew on the drift page.

Asked for, followed, watched.
"""

from typing import Any

import msgspec
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.base.periods import Period
from driftline.operations.long_work import wait_of
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.timerange import TimeRange, range_of
from inference.registry.models import Model, RowsKept
from inference.registry.selectors import find_model
from monitors.definitions.segments import declare_segment
from monitors.metrics.rows.segment_search import LOSSES, findings_of, growth_of, loss_of, request_search
from monitors.metrics.store.models import RowLoss, SegmentSearch
from monitors.stats.segments.growth import GrownSegment
from monitors.stats.segments.search import FoundSegment


@page("GET", "POST", writes="segment_search")
def searches(request: PageRequest, name: str) -> HttpResponse:
    """Show what was found in the range; a POST asks for a search, or declares a found segment."""
    model = find_model(project=request.visitor.project, name=name)
    chosen, by_drift = range_of(request, model), request.GET.get("by") == "drift"
    loss = "" if by_drift else request.GET.get("loss", "")
    if request.method == "POST" and "watch" in request.POST:
        shown = grown_segments(model, chosen) if by_drift else found_segments(model, chosen, loss)
        segments = shown["found_segments"]
        _watch(request, model, next((one for one, _ in segments if one.name == request.POST["watch"]), None))
    elif request.method == "POST":
        loss = "" if by_drift else loss_of(model, request.POST.get("loss", ""))
        window = Period(chosen.start, chosen.end)
        request_search(model=model, window=window, loss=loss, actor=request.visitor.actor)
    elif request.GET.get("part") == "segments":
        if by_drift:
            frame, partial = grown_segments(model, chosen), "partials/grown_segments.html"
        else:
            frame, partial = found_segments(model, chosen, loss), "partials/found_segments.html"
        return render(request, partial, {"model": model, "range": chosen, **frame})
    return redirect(_address(model, chosen, loss, by_drift=by_drift))


def found_segments(model: Model, chosen: TimeRange, loss: str) -> dict[str, Any]:
    """Gather what the section of performance shows: the newest search of just this range, by a loss or by any."""
    searches = _searches(model, chosen)
    search = (searches.filter(loss=loss) if loss else searches.exclude(loss="")).first()
    findings = findings_of(search) if search else None
    return {
        "segment_search": search,
        "wait": wait_of(search) if search else None,
        "findings": findings,
        "found_segments": [(one, _as_filter(one)) for one in findings.found.found] if findings else [],
        "losses": [(one.value, RowLoss(one).label) for one in LOSSES[model.task]],
        **_about(model),
    }


def grown_segments(model: Model, chosen: TimeRange) -> dict[str, Any]:
    """Gather what the section of drift shows: the search by drift of just this range."""
    search = _searches(model, chosen).filter(loss="").first()
    growth = growth_of(search) if search else None
    return {
        "segment_search": search,
        "wait": wait_of(search) if search else None,
        "growth": growth,
        "found_segments": [(one, _as_filter(one)) for one in growth.found.found] if growth else [],
        **_about(model),
    }


def _searches(model: Model, chosen: TimeRange) -> QuerySet[SegmentSearch]:
    searches = SegmentSearch.objects.filter(model=model, start=chosen.start, end=chosen.end)
    return searches.order_by("-requested_at", "-pk")


def _about(model: Model) -> dict[str, Any]:
    return {
        "watched": {segment.parsed for segment in model.segments.all()},
        "keeps_rows": model.rows_kept != RowsKept.NONE,
    }


def _as_filter(one: FoundSegment | GrownSegment) -> str:
    """Return a segment as the page of predictions filters by it, where it is one value of one feature."""
    first = one.conditions[0]
    is_value = len(one.conditions) == 1 and first.value is not None
    return f"{first.feature}:{first.value}" if is_value else ""


def _watch(request: PageRequest, model: Model, segment: FoundSegment | GrownSegment | None) -> None:
    """Declare a segment that a search found, under the name of its conditions."""
    if segment is None:
        raise Http404
    conditions = msgspec.to_builtins(segment.conditions)
    declared = declare_segment(model=model, name="", conditions=conditions, actor=request.visitor.actor)
    messages.success(request, f"{declared.name} is watched; the rows that are kept are read again.")


def _address(model: Model, chosen: TimeRange, loss: str, *, by_drift: bool) -> str:
    if by_drift:
        return f"{reverse('drift', args=[model.name])}{chosen.suffix}#grown-segments"
    query = f"{chosen.prefix}loss={loss}" if loss in RowLoss.values else chosen.suffix
    return f"{reverse('performance', args=[model.name])}{query}#found-segments"
