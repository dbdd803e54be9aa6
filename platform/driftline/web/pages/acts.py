"""The page of a link in a message: it says what the link does, and does it when its button is pressed.

Opening it changes nothing, because scanners of mail open links too. Acknowledging and snoozing need no sign-in, as they
are only of this incident and in its timeline, and whoever got the message may do them. The others need the person and
their role: see docs/decisions/2026-11-28-links-in-messages.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods

from driftline.base.accounts.access.project_prefix import slug_in_path
from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.web.pages.access import Visitor, visitor_of
from driftline.web.pages.incidents.silences import plan_silence
from driftline.web.pages.models.versions.deployment import generation_of, report_uptake, rollback_effect
from inference.registry.deployments import rollback
from monitors.alerts import services
from monitors.alerts.incidents import acting
from monitors.alerts.incidents.way_back import way_back
from monitors.alerts.models import Incident
from monitors.alerts.sending.links import Act, ActLink, LinkRefused, read_link
from monitors.alerts.silences import create_silence
from monitors.alerts.wording import moment

SNOOZE = timedelta(days=1)


@dataclass(frozen=True)
class Attempt:
    """A link that somebody opened; `visitor` is None where they are not signed in, or in another project alone."""

    request: HttpRequest
    link: ActLink
    visitor: Visitor | None

    @property
    def incident(self) -> Incident:
        return self.link.incident

    @property
    def person(self) -> Visitor:
        """The member who acts, where the act needs one."""
        assert self.visitor is not None
        return self.visitor

    @property
    def actor(self) -> str:
        """Who the timeline names: the member, or whoever got the message."""
        if self.visitor is not None and self.visitor.may("incident"):
            return self.visitor.actor
        return f"somebody with a link from the channel {self.link.channel.name}"


@dataclass(frozen=True)
class LinkAction:
    """What one kind of link says and does; `needs` is a key of `SCOPE_OF`, empty where it works without signing in.

    `effects` raises `Problem` where there is nothing to do any more.
    """

    title: str
    button: str
    needs: str
    effects: Callable[[Attempt], list[str]]
    apply: Callable[[Attempt], str]


@require_http_methods(["GET", "HEAD", "POST"])
@cache_control(private=True, no_store=True)
def act(request: HttpRequest, token: str) -> HttpResponse:
    """Show what a link does; a POST does it, once."""
    slug = slug_in_path(request)
    if not slug:
        raise Http404
    project = get_object_or_404(Project, slug=slug, archived_at=None)
    try:
        link = read_link(token, project=project, now=now())
    except LinkRefused as refusal:
        context = {"problem": str(refusal), "incident": refusal.incident}
        return render(request, "pages/act.html", context, status=refusal.status)
    return _answer(Attempt(request, link, visitor_of(request)))


def _answer(attempt: Attempt) -> HttpResponse:
    request, action = attempt.request, ACTIONS[attempt.link.act]
    context = {
        "incident": attempt.incident,
        "title": action.title.format(attempt=attempt),
        "button": action.button,
        "actor": attempt.actor,
        "channel": attempt.link.channel,
        "sign_in": f"/accounts/login/?next={quote(request.get_full_path())}",
        "is_known": attempt.visitor is not None,
    }
    if done := _done(attempt):
        return render(request, "pages/act.html", context | {"done": done})
    try:
        context["effects"] = action.effects(attempt)
        context["lacks"] = lacks = _lacks(attempt, action)
        if request.method == "POST" and not lacks:
            messages.success(request, action.apply(attempt))
            return _lead_on(attempt)
    except Problem as problem:
        return render(request, "pages/act.html", context | {"problem": problem.detail}, status=problem.status)
    refused = 403 if request.method == "POST" else 200
    return render(request, "pages/act.html", context, status=refused)


def _done(attempt: Attempt) -> str:
    """Return by whom it is done already; empty where it is not."""
    link, incident = attempt.link, attempt.incident
    if link.act == Act.ASSIGN:
        is_theirs = attempt.visitor is not None and incident.assignee == attempt.visitor.user
        return f"INC-{incident.pk} is assigned to you already." if is_theirs else ""
    line = link.done_by()
    return f"This is done already: {line.text}, on {moment(line.at)}." if line else ""


def _lacks(attempt: Attempt, action: LinkAction) -> str:
    """Return what keeps this person from acting: `sign-in`, `role`, or nothing."""
    if not action.needs:
        return ""
    if attempt.visitor is None:
        return "role" if attempt.request.user.is_authenticated else "sign-in"
    return "" if attempt.visitor.may(action.needs) else "role"


def _lead_on(attempt: Attempt) -> HttpResponse:
    """Lead a member to the incident; others see the link's own page, which says by whom it is done."""
    if attempt.visitor is not None:
        return redirect("incident", pk=attempt.incident.pk)
    return HttpResponseRedirect(attempt.request.get_full_path())


# -- what each does ----------------------------------------------------------------------------------------------------
def _refuse_resolved(attempt: Attempt) -> None:
    acting.refuse_resolved(attempt.incident)


def _acknowledge_effects(attempt: Attempt) -> list[str]:
    _refuse_resolved(attempt)
    if attempt.incident.status == Incident.Status.ACKNOWLEDGED:
        raise Problem(409, "acknowledged", f"INC-{attempt.incident.pk} is acknowledged already.")
    return [
        "Everybody sees that somebody looks after it, and pagers stop calling.",
        "The incident stays open until its alerts end or somebody resolves it.",
    ]


def _acknowledge(attempt: Attempt) -> str:
    may_act = attempt.visitor is not None and attempt.visitor.may("incident")
    user = attempt.person.user if may_act else None
    services.acknowledge(incident=attempt.incident, actor=attempt.actor, user=user, now=now())
    return "Acknowledged."


def _snooze_effects(attempt: Attempt) -> list[str]:
    _refuse_resolved(attempt)
    return [
        f"No channel is notified of this incident until {moment(now() + SNOOZE)}, unless an alert joins, its severity "
        "rises or it ends.",
        "Other incidents are notified as ever, and a member can end the snooze on the incident's page.",
    ]


def _snooze(attempt: Attempt) -> str:
    until = now() + SNOOZE
    acting.snooze(incident=attempt.incident, until=until, actor=attempt.actor, now=now())
    return f"Snoozed until {moment(until)}."


def _silence_effects(attempt: Attempt) -> list[str]:
    _refuse_resolved(attempt)
    planned = plan_silence(attempt.incident)
    preview = planned.preview()
    rules, incidents = len(preview.muted), len(preview.incidents)
    return [
        f"No channel is notified of what windows of {attempt.incident.model.name} show that end by "
        f"{moment(planned.end)}, in event time. Incidents open and resolve as ever.",
        f"It mutes {rules} rule{'s' if rules != 1 else ''}, and what is next notified of {incidents} open "
        f"incident{'s' if incidents != 1 else ''}. Settings → Silences ends it early.",
    ]


def _silence(attempt: Attempt) -> str:
    planned = plan_silence(attempt.incident)
    silence = create_silence(
        project=planned.project, model=planned.model, start=planned.start, end=planned.end, reason=planned.reason,
        actor=attempt.actor, incident=attempt.incident,
    )  # fmt: skip
    return f"{attempt.incident.model.name} is silenced until {moment(silence.end)}."


def _assign_effects(attempt: Attempt) -> list[str]:
    _refuse_resolved(attempt)
    whom = attempt.visitor.actor if attempt.visitor else "you, once you are signed in"
    now_at = attempt.incident.assignee
    return [f"It is assigned to {whom}" + (f" in place of {now_at}." if now_at else ".")]


def _assign(attempt: Attempt) -> str:
    acting.assign(incident=attempt.incident, assignee=attempt.person.user, actor=attempt.actor)
    return "Assigned to you."


def _roll_back_effects(attempt: Attempt) -> list[str]:
    _refuse_resolved(attempt)
    version = way_back(attempt.incident)
    if version is None:
        raise Problem(
            409,
            "nothing_to_roll_back",
            f"The last change of {attempt.incident.model.name} is no promotion shortly before this incident any more, "
            "so there is nothing to roll back.",
        )
    return rollback_effect(attempt.incident.model.deployment, version)


def _roll_back(attempt: Attempt) -> str:
    incident, version = attempt.incident, way_back(attempt.incident)
    assert version is not None
    rollback(
        model=incident.model,
        expected_generation=generation_of(attempt.request.POST.get("generation", "")),
        actor=attempt.actor,
        reason=f"INC-{incident.pk}: {incident.title}"[:500],
    )
    acting.note_rollback(incident=incident, version=version, actor=attempt.actor)
    what = f"Roll back to version {version.version}"
    report_uptake(attempt.request, incident.model, what)
    return f"{incident.model.name} is rolled back to version {version.version}."


ACTIONS = {
    Act.ACKNOWLEDGE: LinkAction(
        "Acknowledge INC-{attempt.incident.pk}", "Acknowledge", "", _acknowledge_effects, _acknowledge
    ),
    Act.SNOOZE: LinkAction(
        "Snooze INC-{attempt.incident.pk} for a day", "Snooze", "", _snooze_effects, _snooze
    ),
    Act.SILENCE: LinkAction(
        "Silence {attempt.incident.model.name}", "Silence", "silence", _silence_effects, _silence
    ),
    Act.ASSIGN: LinkAction(
        "Assign INC-{attempt.incident.pk} to me", "Assign to me", "incident", _assign_effects, _assign
    ),
    Act.ROLL_BACK: LinkAction(
        "Roll back {attempt.incident.model.name}", "Roll back", "deployment", _roll_back_effects, _roll_back
    ),
}
