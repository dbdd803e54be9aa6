"""The page of routing: the tree of a project as a list, as YAML and as a form, and who gets what."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import FieldFault, Problem, invalid
from driftline.base.yaml_text import write_yaml
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from monitors.alerts.routing.inhibition import InhibitRule
from monitors.alerts.routing.matchers import Matcher, parse_labels
from monitors.alerts.routing.tree import AlertRoute
from monitors.alerts.routing.yaml_text import read_tree
from monitors.alerts.sending.recipients import RouteTaken, complete_labels, routes_taken
from monitors.alerts.stored_routing import (
    ProjectRouting,
    channel_names,
    reset_routing,
    routing_of,
    save_routing,
)
from monitors.alerts.wording import duration
from monitors.rules.models import Severity

OFFICE_HOURS = "office hours"
_NO = ""
_REPEATS = [(_NO, "No reminders"), ("4h", "Every 4 hours"), ("12h", "Every 12 hours"), ("1d", "Every day")]
_ESCALATIONS = [
    (_NO, "Nobody else"),
    ("15m", "After 15 minutes"),
    ("30m", "After 30 minutes"),
    ("1h", "After 1 hour"),
    ("4h", "After 4 hours"),
]
_HOURS = [
    (_NO, "At any time"),
    ("week", "Monday to Friday, in the hours below"),
    ("day", "Every day, in the hours below"),
]


class RoutesForm(forms.Form):
    """The common case: a channel list for each severity, hours for what is not critical, reminders, escalation."""

    critical = forms.MultipleChoiceField(required=False, label="Critical goes to")
    warning = forms.MultipleChoiceField(required=False, label="Warning goes to")
    notice = forms.MultipleChoiceField(required=False, label="Notice goes to")
    hours = forms.ChoiceField(
        choices=_HOURS,
        required=False,
        label="Warnings and notices are sent",
        help_text="What is critical is always sent at once.",
    )
    times = forms.CharField(
        initial="08:00-18:00", max_length=20, required=False, help_text="Such as 08:00-18:00."
    )
    zone = forms.CharField(
        initial="UTC", max_length=60, required=False, label="Time zone", help_text="Such as Europe/Berlin."
    )
    repeat = forms.ChoiceField(
        choices=_REPEATS,
        required=False,
        initial="1d",
        label="Reminders of what is critical and unacknowledged",
    )
    escalate_after = forms.ChoiceField(
        choices=_ESCALATIONS, required=False, label="If nobody acknowledges what is critical, also notify"
    )
    escalate_to = forms.MultipleChoiceField(required=False, label="Then also goes to")

    def offer(self, channels: list[str]) -> None:
        """Offer these channels wherever some can be chosen."""
        for name in (*Severity.values, "escalate_to"):
            field = self.fields[name]
            assert isinstance(field, forms.MultipleChoiceField)
            field.choices = [(channel, channel) for channel in channels]
            field.widget = forms.CheckboxSelectMultiple(choices=field.choices)
            field.initial = [] if name == "escalate_to" else channels

    def document(self) -> dict[str, Any]:
        """Return the routing document that the form describes."""
        values = self.cleaned_data
        routes = [self._route(severity) for severity in reversed(Severity.values)]
        document: dict[str, Any] = {"route": {"channels": [], "routes": routes}}
        if values["hours"]:
            days = {"weekdays": ["monday:friday"]} if values["hours"] == "week" else {}
            interval = {"name": OFFICE_HOURS, "zone": values["zone"] or "UTC", "times": [values["times"]]}
            document["time_intervals"] = [interval | days]
        return document

    def _route(self, severity: str) -> dict[str, Any]:
        values = self.cleaned_data
        route = {"matchers": [str(Matcher("severity", "=", severity))], "channels": values[severity]}
        if severity == Severity.CRITICAL:
            escalation = {"escalate_after": values["escalate_after"], "escalate_to": values["escalate_to"]}
            route |= {"group_wait": "0s"}
            route |= {"repeat_interval": values["repeat"]} if values["repeat"] else {}
            route |= escalation if values["escalate_after"] else {}
        elif values["hours"]:
            route["active_time_intervals"] = [OFFICE_HOURS]
        return route


@dataclass(frozen=True)
class RouteShown:
    """A route in words, with how deep it is in the tree."""

    route: AlertRoute
    depth: int
    lines: list[str]


@page("GET", "POST", writes="routing")
def routing(request: PageRequest) -> HttpResponse:
    """Show the routing tree, and who gets an incident with given labels; a POST replaces the tree."""
    project, action = request.visitor.project, request.POST.get("do", "")
    form = RoutesForm(request.POST if action == "form" else None)
    form.offer(channel_names(project))
    faults: list[FieldFault] = []
    try:
        if request.method == "POST" and _change(request, action, form):
            return redirect("routing")
    except Problem as problem:
        if action == "form":
            explain(form, problem)
        else:
            faults = list(problem.errors)
    current = routing_of(project)
    context = {
        "routing": current,
        "routes": [_shown(route) for route in current.tree.list_routes()],
        "inhibit_rules": [_sentence(rule) for rule in current.tree.inhibit_rules],
        "intervals": _intervals(current),
        "yaml": request.POST.get("yaml") or write_yaml(current.document.plain()),
        "faults": faults,
        "form": form,
        "channels": channel_names(project),
        "may_change": request.visitor.may("routing"),
        "section": "routing",
        **_answer(project, current, request.GET.get("labels", "")),
    }
    return render(
        request, "pages/incidents/routing.html", context, status=422 if faults or form.errors else 200
    )


def _change(request: PageRequest, action: str, form: RoutesForm) -> bool:
    """Store what was sent; False where a field of the form is wrong."""
    project, actor = request.visitor.project, request.visitor.actor
    if action == "reset":
        reset_routing(project=project, actor=actor)
        messages.success(request, "The default tree holds again.")
        return True
    if action == "form":
        if not form.is_valid():
            return False
        document: Any = form.document()
    elif action == "save":
        document = read_tree(request.POST.get("yaml", "").replace("\r\n", "\n"), "/yaml")
    else:
        raise invalid("/do", f"{action[:40]!r} is not an action here; use save, form or reset.")
    save_routing(project=project, document=document, actor=actor)
    messages.success(request, "The routing tree is changed; open incidents follow it from now on.")
    return True


def _answer(project: Project, current: ProjectRouting, text: str) -> dict[str, Any]:
    """Return who gets an incident with the labels that were asked for; nothing where none were."""
    if not text.strip():
        return {"labels": ""}
    try:
        labels = complete_labels(project, parse_labels(text))
    except ValueError as error:
        sentence = str(error)
        return {"labels": text, "labels_fault": f"{sentence[:1].upper()}{sentence[1:]}."}
    routes, notified, taken = routes_taken(project, current.tree, labels), set[str](), []
    for one in routes:
        taken.append(_taken(one, notified, now()))
        notified.update(taken[-1]["direct"])
    return {"labels": text, "known_labels": labels, "taken": taken}


def _taken(one: RouteTaken, notified: Collection[str], at: datetime) -> dict[str, Any]:
    """Describe a route that takes an incident; `notified` are the channels that routes before it notify."""
    mute, opens_at = one.route.describe_mute(at), one.route.next_open(at)
    direct = [recipient.channel.name for recipient in one.recipients if not recipient.escalates]
    return {
        "path": one.chain,
        "direct": direct,
        "who": ", ".join(name for name in direct if name not in notified)
        or ("Nobody else" if direct else "Nobody"),
        "before": [name for name in direct if name in notified],
        "later": [recipient.channel.name for recipient in one.recipients if recipient.escalates],
        "skipped": one.skipped,
        "lines": list(_timing(one.route)),
        "mute": mute,
        "opens_at": opens_at,
    }


# -- a tree in words ---------------------------------------------------------------------------------------------------
def _shown(route: AlertRoute) -> RouteShown:
    channels = (
        "every channel that takes its severity" if route.channels is None else ", ".join(route.channels)
    )
    lines = [f"Goes to {channels or 'nobody'}", *_timing(route)]
    if route.continues:
        lines.append("The routes after it are tried too")
    return RouteShown(route, len(route.path), lines)


def _timing(route: AlertRoute) -> Iterator[str]:
    """Yield when a route sends, a phrase each."""
    yield f"Waits {_length(route.group_wait)} for more alerts" if route.group_wait else "Sends at once"
    if route.group_interval:
        yield f"Changes at most every {_length(route.group_interval)}"
    if route.group_by is not None:
        shared = f" of the same {', '.join(route.group_by)}" if route.group_by else ""
        yield f"One message for the incidents{shared}, to e-mail and chats"
    if route.repeat_interval:
        yield f"Reminds every {_length(route.repeat_interval)} until somebody acknowledges"
    if route.escalate_after:
        to = ", ".join(route.escalate_to)
        yield f"Escalates to {to} after {_length(route.escalate_after)} without acknowledgement"
    if route.active:
        yield f"Only in {', '.join(one.name for one in route.active)}"
    if route.mute:
        yield f"Not in {', '.join(one.name for one in route.mute)}"


def _length(length: timedelta) -> str:
    """Write a length of time as short as it is: `30 s`, `5 min`, `1 d`."""
    if length < timedelta(minutes=1):
        return f"{length.seconds} s"
    return duration(length).removesuffix(" 0 min").removesuffix(" 0 h")


def _sentence(rule: InhibitRule) -> str:
    equal = f", with the same {', '.join(rule.equal)}" if rule.equal else ""
    return f"While {_conditions(rule.source)} fires, nothing is sent about {_conditions(rule.target)}{equal}."


def _conditions(matchers: tuple[Matcher, ...]) -> str:
    return " and ".join(map(str, matchers))


def _intervals(current: ProjectRouting) -> list[tuple[str, str]]:
    """List the names of the time intervals with what they hold, as written."""
    return [
        (
            one.name,
            "; ".join(
                f"{name.replace('_', ' ')} {', '.join(value) if isinstance(value, list) else value}"
                for name, value in one.model_dump(exclude_none=True).items()
                if name != "name"
            ),
        )
        for one in current.document.time_intervals or ()
    ]
