"""P8: what is wrong, why, and what is being done about it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.common.clock import now
from driftline.common.errors import Problem
from driftline.common.number_format import format_number, format_pair
from driftline.incident_runs import runs_of_each
from driftline.pages import queries
from driftline.pages.access import PageRequest, page
from driftline.pages.charts import Chart, ChartLine
from driftline.pages.verdict import Phrase, Statement
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.registry.models import Model
from monitors.alerts import selectors, services
from monitors.alerts.models import Incident
from monitors.alerts.wording import duration, measured
from monitors.metrics.catalogue import METRICS, is_drift
from monitors.metrics.causes import FAULT, LABELS, SEGMENT
from monitors.rules.services import points_of

PAGE_LENGTH = 50
DAYS_BEFORE = timedelta(days=21)
DAYS_AFTER = timedelta(days=10)
STATUSES = [("", "Open"), ("resolved", "Resolved"), ("all", "All")]


@page("GET")
def incidents(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    status, model = request.GET.get("status", ""), request.GET.get("model", "")
    found = selectors.incidents(project=project, model=model or None)
    if status == "resolved":
        found = found.filter(status=Incident.Status.RESOLVED)
    elif status != "all":
        found = found.exclude(status=Incident.Status.RESOLVED)
    shown = Paginator(found, PAGE_LENGTH).get_page(request.GET.get("page"))
    open_count = selectors.open_incidents(project=project).count()
    last = selectors.incidents(project=project, status="resolved").order_by("-resolved_at").first()
    context = {
        "rows": _rows(shown),
        "shown": shown,
        "statuses": STATUSES,
        "status": status,
        "model_name": model,
        "models": queries.models_of(project).values_list("name", flat=True),
        "open_count": open_count,
        "last": last,
    }
    return render(request, "pages/incidents.html", context)


def _rows(shown: Iterable[Incident]) -> list[dict[str, Any]]:
    found = list(shown)
    models = Model.objects.filter(pk__in={incident.model_id for incident in found})
    clocks = event_nows(models=models, now=now())
    return [
        {"incident": incident, "lasted": _lasted(incident, clocks[incident.model_id])} for incident in found
    ]


def lasted(incident: Incident) -> timedelta:
    """How long an incident lasted, or lasts by now, in event time."""
    return _lasted(incident, event_now(model=incident.model, now=now()))


def _lasted(incident: Incident, clock: datetime) -> timedelta:
    return max((incident.resolved_at or clock) - incident.opened_at, timedelta())


@page("GET", "POST", writes="incident")
def incident(request: PageRequest, pk: int) -> HttpResponse:
    detail = selectors.incident_detail(project=request.visitor.project, incident_id=pk)
    if request.method == "POST":
        return _act(request, detail.incident)
    one = detail.incident
    chart, worst = _chart(one)
    context = {
        "incident": one,
        "verdict": _verdict(one, worst),
        "transition": one.opened_by,
        "measured": measured(one.opened_by),
        "chart": chart,
        "worst": worst,
        "lasted": lasted(one),
        "causes": _causes(one),
        "is_drift": is_drift(one.rule.metric),
        "timeline": detail.timeline,
        "deliveries": detail.deliveries,
        "runs": runs_of_each([one])[one.pk],
        "similar": selectors.incidents(project=one.project).filter(rule=one.rule).exclude(pk=one.pk)[:5],
    }
    return render(request, "pages/incident.html", context)


def _act(request: PageRequest, one: Incident) -> HttpResponse:
    action = request.POST.get("action", "")
    visitor = request.visitor
    if action == "acknowledge":
        services.acknowledge(incident=one, actor=visitor.actor, user=visitor.user, now=now())
        messages.success(request, "You look after it: its notifications go on, and others see your name.")
    elif action == "resolve":
        at = max(event_now(model=one.model, now=now()), one.opened_at)
        services.resolve(incident=one, actor=visitor.actor, now=at)
        messages.success(
            request, "Resolved. It opens anew when its rule still fires at the end of the cooldown."
        )
    elif action == "replay":
        delivery = selectors.get_delivery(
            project=visitor.project, delivery_id=int(request.POST.get("delivery", "0") or 0)
        )
        services.replay(delivery=delivery, actor=visitor.actor)
        messages.success(request, "Sent again, under the same event id.")
    else:
        raise Problem(
            422, "unknown_action", f"{action[:40]!r} is not an action here; use acknowledge or resolve."
        )
    return redirect("incident", pk=one.pk)


def _verdict(one: Incident, worst: float | None) -> Statement:
    value, threshold = format_pair(one.opened_by.value, one.rule.threshold)
    rule, what = one.rule, measured(one.opened_by)
    since = f"{queries.began(one):%-d %b %Y %H:%M} UTC"
    if one.resolved_at:
        farthest = f" It went as far as {format_number(worst)}." if worst is not None else ""
        return Statement(
            "ok",
            [
                Phrase(
                    f"{one.model.name} recovered on {one.resolved_at:%-d %b %Y %H:%M} UTC after "
                    f"{duration(lasted(one))}: {what} had been {rule.operator} {threshold} since {since}.{farthest}"
                )
            ],
        )
    parts = [
        Phrase(
            f"{what} of {one.model.name} is {rule.operator} {threshold} since {since}: {value} when it opened"
        )
    ]
    parts.append(
        Phrase(
            f", {format_number(worst)} at worst."
            if worst is not None and worst != one.opened_by.value
            else "."
        )
    )
    broken, moved, worse = _split_by_kind(one)
    if broken:
        parts.append(Phrase(f" Data are broken in {_names(broken)}."))
    if moved:
        parts.append(Phrase(f" What moved most among the inputs: {_names(moved)}."))
    if worse:
        parts.append(Phrase(f" It got worse most where {_names(worse)}."))
    return Statement(
        "critical" if one.severity == "critical" else "warning" if one.severity == "warning" else "notice",
        parts,
    )


def _split_by_kind(
    one: Incident,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """The causes that are faults of the data, those that are drift, and segments that got worse."""
    top_causes = one.causes[:3]
    return (
        [c for c in top_causes if c.get("kind") == FAULT],
        [c for c in top_causes if c.get("kind") not in (FAULT, SEGMENT)],
        [c for c in top_causes if c.get("kind") == SEGMENT],
    )


def _names(causes: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(cause.get("feature") or cause.get("segment")) for cause in causes))


def _chart(one: Incident) -> tuple[Chart, float | None]:
    """The rule's metric around the incident, with the limit and the time that it fired."""
    rule = one.rule
    end = min(
        (one.resolved_at or event_now(model=one.model, now=now())) + DAYS_AFTER,
        event_now(model=one.model, now=now()),
    )
    start = queries.began(one) - (DAYS_BEFORE if rule.span == "day" else timedelta(days=3))
    end = max(end, one.opened_by.window_end + timedelta(days=1))
    found = points_of(rule).filter(start__gte=start, start__lt=end).order_by("start")
    if rule.feature == "*":
        found = found.filter(feature=one.opened_by.detail.get("feature", ""))
    dots = [_with_limit(dot, rule.threshold) for dot in queries.dots(found)]
    fired = [
        d.value
        for d in dots
        if d.value is not None and queries.began(one) <= d.start < (one.resolved_at or end)
    ]
    choose = max if rule.operator == "above" else min
    return Chart(
        id="incident", title=measured(one.opened_by),
        summary=f"The limit is {format_number(rule.threshold)}; the shaded time is the incident.",
        start=start, end=end, series=[ChartLine(METRICS[rule.metric].title, dots)],
        marks=[mark for mark in queries.marks_in(one.model, start, end) if mark.kind != "incident"],
        spans=[(queries.began(one), one.resolved_at or end)],
        note="lower is better" if METRICS[rule.metric].lower_is_better else "higher is better",
    ), (choose(fired) if fired else None)  # fmt: skip


def _with_limit(dot: Any, threshold: float) -> Any:
    return type(dot)(
        dot.start, dot.end, dot.value, dot.n, dot.lower, dot.upper, threshold, dot.status, dot.revision
    )


def _causes(one: Incident) -> list[dict[str, Any]]:
    """Causes with the width of their bars and the day to look at."""
    most = max((cause.get("score") or 0 for cause in one.causes), default=0) or 1
    day: datetime = one.opened_by.window_start
    return [
        {
            "name": cause.get("feature") or cause.get("segment"),
            "is_feature": bool(cause.get("feature")) and cause.get("kind") != LABELS,
            "is_fault": cause.get("kind") == FAULT,
            "score": cause.get("score") or 0,
            "width": round(100 * (cause.get("score") or 0) / most),
            "evidence": cause.get("evidence", ""),
            "day": day,
        }
        for cause in one.causes
    ]
