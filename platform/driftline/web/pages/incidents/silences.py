"""The pages of silences: all of a project with a form for one more, and the question before one ends."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.web.pages import queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain, moment_field
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.alerts import selectors
from monitors.alerts.incidents.labels import MATCHED, parse_matchers
from monitors.alerts.models import Incident, Silence
from monitors.alerts.silences import (
    ACTIVE,
    COMING,
    ENDED,
    SilencePreview,
    clock_of,
    create_silence,
    end_silence,
    preview_silence,
    state_at,
    with_states,
)

LENGTHS = {
    "1h": ("1 hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "1w": ("1 week", timedelta(weeks=1)),
}
UNTIL = "until"
ALL = "*"
"""What the form sends in place of a duration, and of the name of a model."""
LISTED = 100
SHOWN = 10
"""Incidents and rules that a preview names."""


class SilenceForm(forms.Form):
    """A model or all, an interval of event time, and why."""

    model = forms.ChoiceField()
    matchers = forms.CharField(
        label="Only alerts with",
        required=False,
        max_length=1_000,
        help_text=f"Labels, one a line, such as feature=income. Known are {', '.join(MATCHED)}. Empty: all alerts.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    start = moment_field("From (UTC)", "Empty: now. Event time, that of the predictions.", required=False)
    length = forms.ChoiceField(
        choices=[*((key, title) for key, (title, _) in LENGTHS.items()), (UNTIL, "Until the time below")],
        initial="1h",
        label="Duration",
    )
    end = moment_field("Until (UTC)", "Instead of a duration.", required=False)
    reason = forms.CharField(max_length=200, help_text="Such as “The weather feed is repaired on Monday”.")

    def offer(self, names: list[str], *, all_models: bool) -> None:
        """Offer these models, and all of them where the visitor may silence all."""
        choices = [(name, name) for name in names]
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [*choices, (ALL, "All models")] if all_models else choices

    def interval(self, clock: datetime) -> tuple[datetime, datetime]:
        """Return start and end; a duration without a start begins at `clock`. Raises `Problem` where both are empty."""
        start = self.cleaned_data["start"] or clock
        if (length := self.cleaned_data["length"]) != UNTIL:
            return start, start + LENGTHS[length][1]
        if end := self.cleaned_data["end"]:
            return start, end
        raise invalid("/end", "Give the time when the silence ends, or choose a duration.")


@page("GET", "POST", writes="silence")
def silences(request: PageRequest) -> HttpResponse:
    """List the silences of a project; a POST previews one, or adds it."""
    if request.POST.get("model") == ALL:
        request.visitor.check_rights({"/model": "silence.all_models"})
    incident = _incident(request)
    form = SilenceForm(request.POST or None, initial=_initial(incident))
    names = queries.models_of(request.visitor.project).values_list("name", flat=True)
    form.offer(list(names), all_models=request.visitor.may("silence.all_models"))
    preview = None
    try:
        if form.is_valid():
            planned = _planned(request, form)
            preview = planned.preview()
            if request.POST.get("do") == "create":
                return _create(request, planned, preview, incident)
        elif incident is not None and not form.is_bound:
            length = LENGTHS[form.initial["length"]][1]
            preview = PlannedSilence.of(incident.model, length).preview()
    except Problem as problem:
        if problem.status in (403, 404):
            raise
        explain(form, problem)
    context = {
        "silences": _by_state(request),
        "form": form,
        "preview": preview,
        "incident": incident,
        "shown": SHOWN,
        "section": "silences",
    }
    return render(request, "pages/incidents/silences.html", context, status=422 if form.errors else 200)


@dataclass(frozen=True)
class PlannedSilence:
    """A silence that a form describes."""

    project: Project
    model: Model | None
    start: datetime
    end: datetime
    reason: str = ""
    matchers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, length: timedelta) -> Self:
        """Plan a silence of one model from now on."""
        start = clock_of(model, now=now())
        return cls(model.project, model, start, start + length)

    def preview(self) -> SilencePreview:
        return preview_silence(
            project=self.project, model=self.model, start=self.start, end=self.end, matchers=self.matchers
        )


def _planned(request: PageRequest, form: SilenceForm) -> PlannedSilence:
    project, name = request.visitor.project, form.cleaned_data["model"]
    model = get_model(project=project, name=name) if name != ALL else None
    start, end = form.interval(clock_of(model, now=now()))
    matchers = parse_matchers(form.cleaned_data["matchers"])
    return PlannedSilence(project, model, start, end, form.cleaned_data["reason"], matchers)


def _create(
    request: PageRequest, planned: PlannedSilence, preview: SilencePreview, incident: Incident | None
) -> HttpResponse:
    if first := preview.mutes_nothing_until:
        raise invalid(
            "/end",
            f"Nothing would be muted: no window of these rules ends by {planned.end:%-d %b %Y %H:%M} UTC, and the "
            f"next one ends on {first:%-d %b %Y %H:%M} UTC. Choose a later end.",
        )
    silence = create_silence(
        project=planned.project, model=planned.model, start=planned.start, end=planned.end, reason=planned.reason,
        actor=request.visitor.actor, matchers=planned.matchers, incident=incident,
    )  # fmt: skip
    what = silence.model.name if silence.model else "Every model"
    part = f" ({silence.matchers_text})" if silence.matchers else ""
    messages.success(request, f"{what}{part} is silenced until {silence.end:%-d %b %Y %H:%M} UTC.")
    return redirect("incident", pk=incident.pk) if incident else redirect("silences")


def plan_silence(incident: Incident) -> PlannedSilence:
    """Plan a silence of an incident's model, of a day or as long as it takes for a window of its rules to end in it."""
    lengths = [length for _, length in LENGTHS.values() if length >= timedelta(days=1)]
    plans = [PlannedSilence.of(incident.model, length) for length in lengths]
    chosen = next((plan for plan in plans if not plan.preview().mutes_nothing_until), plans[-1])
    return replace(chosen, reason=_reason(incident))


def _reason(incident: Incident) -> str:
    return f"INC-{incident.pk}: {incident.title}"[:200]


def _initial(incident: Incident | None) -> dict[str, Any]:
    """Describe a silence of an incident's model, long enough for a window of its rules to end in it."""
    if incident is None:
        return {}
    muting = (
        key
        for key, (_, length) in LENGTHS.items()
        if not PlannedSilence.of(incident.model, length).preview().mutes_nothing_until
    )
    return {"model": incident.model.name, "length": next(muting, "1w"), "reason": _reason(incident)}


def _incident(request: PageRequest) -> Incident | None:
    """Find the incident that a silence is made for, where the address names one."""
    text = request.GET.get("incident", "")
    if not text:
        return None
    number = int(text) if text.isdecimal() and len(text) < 19 else 0
    return selectors.get_incident(project=request.visitor.project, incident_id=number)


def _by_state(request: PageRequest) -> list[tuple[str, list[Silence]]]:
    """Group the newest silences: active ones, coming ones, and ended ones."""
    rows = selectors.silences(project=request.visitor.project)[:LISTED]
    stated = with_states(rows, now=now())
    groups = [
        (title, [silence for one, silence in stated if one == state])
        for state, title in ((ACTIVE, "Active"), (COMING, "Coming"), (ENDED, "Ended"))
    ]
    return [(title, listed) for title, listed in groups if listed]


@page("GET", "POST", writes="silence")
def end(request: PageRequest, pk: int) -> HttpResponse:
    """Ask before a silence ends early; a POST ends it."""
    silence = selectors.get_silence(project=request.visitor.project, silence_id=pk)
    if request.method == "POST":
        end_silence(silence=silence, actor=request.visitor.actor, now=now())
        messages.success(request, "The silence has ended; notifications are sent again.")
        return redirect("silences")
    what = f"of {silence.model.name}" if silence.model else "of every model"
    context = {
        "title": f"End the silence {what}",
        "effects": [
            f"“{silence.reason}”, by {silence.created_by}, would last until {silence.end:%-d %b %Y %H:%M} UTC.",
            "Notifications of windows that end from now on are sent. Those that it muted stay unsent.",
        ],
        "yes": "Yes, end it",
        "may_confirm": request.visitor.may("silence"),
        "section": "silences",
    }
    if state_at(silence, clock_of(silence.model, now=now())) == ENDED:
        raise Problem(409, "silence_ended", "The silence has ended already.")
    return render(request, "pages/incidents/silence_end.html", context)
