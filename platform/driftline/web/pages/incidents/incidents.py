"""The pages of incidents: what is wrong, why, and what is being done about it."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.number_format import format_number
from driftline.base.periods import floor, longest
from driftline.web.charts.svg import Chart, ChartLine
from driftline.web.pages import chart_marks, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.repair.rollout import describe_rollout
from driftline.web.pages.timerange import in_address
from driftline.web.pages.verdict import Phrase, Statement
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.registry.models import Model
from monitors.alerts import selectors, services
from monitors.alerts.incidents import acting
from monitors.alerts.incidents.snoozing import is_snoozed
from monitors.alerts.incidents.way_back import change_since, way_back
from monitors.alerts.models import Incident
from monitors.alerts.routing.matchers import write_labels
from monitors.alerts.sending import channel_services
from monitors.alerts.sending.channel_timers import describe_waits
from monitors.alerts.sending.recipients import labels_of
from monitors.alerts.silences import active_silences
from monitors.alerts.story import effects_of, worst_value
from monitors.alerts.wording import (
    at_worst,
    compared,
    duration,
    evidence_of,
    measured,
    moment,
    sentence_of_run,
    since_range,
    stands,
)
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.incident_runs import runs_of_each
from monitors.metrics.catalogue import METRICS, is_drift
from monitors.metrics.explaining.causes import FAULT, LABELS, SEGMENT
from monitors.metrics.limits import PointJudge
from monitors.rules.judging.judge import shown_points
from monitors.rules.sentences import describe_tree

PAGE_LENGTH = 50
DAYS_BEFORE = timedelta(days=21)
DAYS_AFTER = timedelta(days=10)
SNOOZES = {
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "3d": ("3 days", timedelta(days=3)),
    "1w": ("1 week", timedelta(weeks=1)),
}
STATUSES = [("", "Open"), ("resolved", "Resolved"), ("all", "All")]


@page("GET")
def incidents(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    status, model = request.GET.get("status", ""), request.GET.get("model", "")
    is_mine = request.GET.get("assignee") == "me"
    assignee = request.visitor.user if is_mine else None
    matching = selectors.incidents(project=project, model=model or None, assignee=assignee)
    if status == "resolved":
        matching = matching.filter(status=Incident.Status.RESOLVED)
    else:
        listed = matching if status == "all" else matching.exclude(status=Incident.Status.RESOLVED)
        matching = selectors.worst_first(listed)
    shown = Paginator(matching, PAGE_LENGTH).get_page(request.GET.get("page"))
    open_count = selectors.open_incidents(project=project).count()
    last = selectors.incidents(project=project, status="resolved").order_by("-resolved_at").first()
    context = {
        "rows": _rows(shown),
        "shown": shown,
        "statuses": STATUSES,
        "status": status,
        "model_name": model,
        "is_mine": is_mine,
        "filters": "".join(
            f"&{urlencode({name: value})}"
            for name, value in (("model", model), ("assignee", "me" if is_mine else ""))
            if value
        ),
        "models": queries.models_of(project).values_list("name", flat=True),
        "open_count": open_count,
        "last": last,
    }
    return render(request, "pages/incidents/incidents.html", context)


def _rows(shown: Iterable[Incident]) -> list[dict[str, Any]]:
    listed = list(shown)
    models = Model.objects.filter(pk__in={incident.model_id for incident in listed})
    clocks = event_nows(models=models, now=now())
    return [
        {"incident": incident, "lasted": _lasted(incident, clocks[incident.model_id])} for incident in listed
    ]


def _lasted(incident: Incident, clock: datetime) -> timedelta:
    """How long an incident lasted, or lasts by a moment in event time."""
    return max((incident.resolved_at or clock) - incident.since, timedelta())


@page("GET", "POST", writes="incident")
def incident(request: PageRequest, pk: int) -> HttpResponse:
    detail = selectors.incident_detail(project=request.visitor.project, incident_id=pk)
    if request.method == "POST":
        return _act(request, detail.incident)
    one, clock = detail.incident, event_now(model=detail.incident.model, now=now())
    opening = one.opening
    is_of_run, runs = bool(sentence_of_run(opening)), runs_of_each([one])[one.pk]
    chart = None if is_of_run else _chart(one, clock)
    worst = worst_value(one, until=one.resolved_at or clock)
    context = {
        "incident": one,
        "verdict": _verdict(one, worst),
        "alerts": one.alerts.all(),
        "transition": opening,
        "measured": measured(opening),
        "condition": describe_tree(opening.rule.tree, opening.rule.judged_span),
        "evidence": evidence_of(opening),
        "since_range": since_range(one),
        "effects": effects_of(one, opening),
        "way_back": way_back(one),
        "change_since": change_since(one),
        "is_snoozed": is_snoozed(one),
        "members": request.visitor.project.members.order_by("email"),
        "snoozes": [(key, title) for key, (title, _) in SNOOZES.items()],
        "max_comment": acting.MAX_COMMENT,
        "silenced": [] if one.resolved_at else active_silences(one.model, now=now()),
        "chart": chart,
        "worst": worst,
        "lasted": _lasted(one, clock),
        "causes": _causes(one),
        "is_of_run": is_of_run,
        "is_drift": is_drift(one.rule.metric),
        "timeline": detail.timeline,
        "deliveries": detail.deliveries,
        "waits": describe_waits(one),
        "labels": _routed_labels(one),
        "runs": runs,
        "rollout": describe_rollout(runs[0]) if is_of_run and runs else None,
        "similar": _similar(one),
    }
    return render_with_charts(request, "pages/incidents/incident.html", context)


def _similar(one: Incident) -> Iterable[Incident]:
    """The newest other incidents with an alert of the rule that names this one."""
    others = selectors.incidents(project=one.project).filter(alerts__rule=one.rule.pk).exclude(pk=one.pk)
    return others.distinct()[:5] if one.rule.pk else ()


def _routed_labels(one: Incident) -> str:
    """Write the labels that an incident is routed by, apart from what follows from its model."""
    labels = labels_of(one)
    return write_labels({name: value for name, value in labels.items() if name not in ("owner", "tags")})


def _act(request: PageRequest, one: Incident) -> HttpResponse:
    action = request.POST.get("action", "")
    act = _ACTS.get(action)
    if act is None:
        raise Problem(
            422, "unknown_action", f"{action[:40]!r} is not an action here; use {', '.join(_ACTS)}."
        )
    messages.success(request, act(request, one))
    return redirect("incident", pk=one.pk)


# -- what a person does, each with what the page says of it afterwards -----------------------------------------------
def _acknowledge(request: PageRequest, one: Incident) -> str:
    services.acknowledge(incident=one, actor=request.visitor.actor, user=request.visitor.user, now=now())
    return "Acknowledged by you. No reminders are sent."


def _resolve(request: PageRequest, one: Incident) -> str:
    services.resolve(incident=one, actor=request.visitor.actor, now=now())
    if sentence_of_run(one.opening):
        return "Resolved."
    return "Resolved. It opens again if its rule still fires at the end of the cooldown."


def _replay(request: PageRequest, one: Incident) -> str:
    number = request.POST.get("delivery", "")
    delivery = selectors.get_delivery(
        project=request.visitor.project,
        delivery_id=int(number) if number.isdecimal() and len(number) < 19 else 0,
    )
    channel_services.replay(delivery=delivery, actor=request.visitor.actor)
    return "Sent again, under the same event id."


def _assign(request: PageRequest, one: Incident) -> str:
    email = request.POST.get("assignee", "")
    assignee = acting.member_of(request.visitor.project, email) if email else None
    acting.assign(incident=one, assignee=assignee, actor=request.visitor.actor)
    return f"Assigned to {assignee}." if assignee else "Assigned to nobody."


def _comment(request: PageRequest, one: Incident) -> str:
    acting.comment(incident=one, text=request.POST.get("text", ""), actor=request.visitor.actor)
    return "The comment is in the timeline."


def _snooze(request: PageRequest, one: Incident) -> str:
    length = SNOOZES.get(request.POST.get("length", ""))
    if length is None:
        raise invalid("/length", "Choose how long to snooze.")
    until = now() + length[1]
    acting.snooze(incident=one, until=until, actor=request.visitor.actor, now=now())
    return f"Snoozed until {moment(until)}, unless an alert joins or its severity rises."


def _wake(request: PageRequest, one: Incident) -> str:
    acting.snooze(incident=one, until=None, actor=request.visitor.actor, now=now())
    return "The snooze has ended; notifications are sent again."


def _judge(request: PageRequest, one: Incident) -> str:
    judgement, reason = request.POST.get("judgement", ""), request.POST.get("reason", "")
    acting.judge(incident=one, judgement=judgement, actor=request.visitor.actor, now=now(), reason=reason)
    return f"Marked: {Incident.Judgement(judgement).label.lower()}."


_ACTS: dict[str, Callable[[PageRequest, Incident], str]] = {
    "acknowledge": _acknowledge,
    "resolve": _resolve,
    "assign": _assign,
    "comment": _comment,
    "snooze": _snooze,
    "end_snooze": _wake,
    "judge": _judge,
    "replay": _replay,
}


def _verdict(one: Incident, worst: float | None) -> Statement:
    opening = one.opening
    if sentence := sentence_of_run(opening):
        closed = f" {one.close_reason}, on {one.closed_at:%-d %b %Y %H:%M} UTC." if one.closed_at else ""
        return Statement("notice" if one.closed_at else one.severity, [Phrase(f"{sentence}{closed}")])
    what, stood = measured(opening), stands(opening)
    since = f"{opening.since:%-d %b %Y %H:%M} UTC"
    if one.closed_at:
        text = f"{one.close_reason}, on {one.closed_at:%-d %b %Y %H:%M} UTC: {what} was {stood}"
        return Statement("notice", [Phrase(f"{text} since {since}.")])
    if one.resolved_at:
        farthest = f" {at_worst(opening, worst)}." if worst is not None else ""
        length = duration(_lasted(one, one.resolved_at))
        return Statement(
            "ok",
            [
                Phrase(
                    f"{one.model.name} recovered on {one.resolved_at:%-d %b %Y %H:%M} UTC after "
                    f"{length}: {what} had been {stood} since {since}.{farthest}"
                )
            ],
        )
    first = "" if opening.lacks_data else f": {compared(opening)[0]} when it opened"
    parts = [Phrase(f"{what} of {one.model.name} is {stood} since {since}{first}")]
    parts.append(
        Phrase(f". {at_worst(opening, worst)}." if worst is not None and worst != opening.value else ".")
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


def _chart(one: Incident, clock: datetime) -> Chart:
    """The rule's metric around the incident, with the limit and the time that it fired."""
    rule = one.rule
    end = min((one.resolved_at or clock) + DAYS_AFTER, clock)
    before = (
        timedelta(days=3)
        if rule.judged_span == "hour"
        else DAYS_BEFORE * (longest(rule.judged_span) / queries.DAY)
    )
    start = one.since - before
    opening = one.opening
    end = max(end, opening.window_end + timedelta(days=1))
    points = shown_points(opening).filter(start__gte=start, start__lt=end).order_by("start")
    dots = queries.dots(PointJudge(one.model, [rule]).judge(points))
    return Chart(
        id="incident", title=measured(opening),
        summary=f"The limit is {format_number(rule.threshold)}; the shaded time is the incident.",
        start=start, end=end, series=[ChartLine(METRICS[rule.metric].title, dots)],
        marks=[mark for mark in chart_marks.marks_in(one.model, start, end) if mark.kind != "incident"],
        spans=[(one.since, one.resolved_at or end)],
        note=METRICS[rule.metric].direction,
    )  # fmt: skip


def _causes(one: Incident) -> list[dict[str, Any]]:
    """Causes with the width of their bars, and where a feature's window is shown."""
    most = max((cause.get("score") or 0 for cause in one.causes), default=0) or 1
    return [
        {
            "name": cause.get("feature") or cause.get("segment"),
            "url": _feature_url(one, cause),
            "is_fault": cause.get("kind") == FAULT,
            "score": cause.get("score") or 0,
            "width": round(100 * (cause.get("score") or 0) / most),
            "evidence": cause.get("evidence", ""),
        }
        for cause in one.causes
    ]


def _feature_url(one: Incident, cause: dict[str, Any]) -> str:
    """Lead to the feature in the window that opened the incident, or the last one in it that its monitor judges."""
    if not cause.get("feature") or cause.get("kind") == LABELS:
        return ""
    kind = MonitorKind.QUALITY if cause.get("kind") == FAULT else MonitorKind.DRIFT
    last = one.opening.window_end - timedelta(microseconds=1)
    start = floor(last, span_of(one.model, kind))
    query = urlencode({"day": in_address(start), "to": f"{last:%Y-%m-%d}", "by": kind})
    return f"{reverse('feature', args=[one.model.name, cause['feature']])}?{query}"
