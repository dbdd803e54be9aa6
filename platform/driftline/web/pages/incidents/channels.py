"""The pages of channels: all of a project, one to change, and the question before one is deleted."""

import json
import time
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.strict_json import read_json
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import channel_item
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from monitors.alerts import selectors
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.masking import mask_target
from monitors.alerts.channels.webhook.formats import FORMATS, preview_of
from monitors.alerts.channels.webhook.template import MAX_TEMPLATE_BYTES
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending import channel_services
from monitors.alerts.stored_routing import unrouted_channels
from monitors.feed.kinds import INCIDENTS, default_of_channels
from monitors.feed.kinds import KINDS as EVENTS
from monitors.rules.models import Severity

TEST_PATIENCE_SECONDS = 8.0
DELIVERIES_SHOWN = 15


def _events_field() -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        choices=[(INCIDENTS, "Incidents, from the severity above"), *EVENTS.items()],
        initial=default_of_channels,
        required=False,
        label="Takes",
        widget=forms.CheckboxSelectMultiple,
        help_text="Without any it gets only tests.",
    )


class ChannelForm(forms.Form):
    kind = forms.ChoiceField(choices=lambda: [(name, kind.title) for name, kind in KINDS.items()])
    name = forms.CharField(max_length=100)
    target = forms.CharField(max_length=500, help_text="An address, a URL or a key: see below.")
    min_severity = forms.ChoiceField(
        choices=Severity.choices,
        initial=Severity.WARNING,
        label="From severity",
        help_text="Less severe ones stay silent.",
    )
    events = _events_field()


class TemplateField(forms.CharField):
    """A JSON template as text; None where it is empty."""

    widget = forms.Textarea({"rows": 8, "spellcheck": "false", "class": "code"})

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text.strip():
            return None
        try:
            return read_json(text.encode())
        except Problem as problem:
            raise forms.ValidationError(problem.detail) from problem

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else json.dumps(value, indent=2)


class PayloadForm(forms.Form):
    """The body of a webhook's messages."""

    payload_format = forms.ChoiceField(choices=list(FORMATS.items()), label="Format")
    template = TemplateField(
        max_length=MAX_TEMPLATE_BYTES,
        required=False,
        help_text="JSON with placeholders, such as {{ text }}, {{ event }} and {{ incident.title }}.",
    )


class ChannelChangesForm(forms.Form):
    """What can be changed of a channel; its target is not shown again, so an empty one stays as it is."""

    name = forms.CharField(max_length=100)
    target = forms.CharField(max_length=500, required=False, label="New target")
    min_severity = forms.ChoiceField(
        choices=Severity.choices, label="From severity", help_text="Less severe ones stay silent."
    )
    events = _events_field()
    enabled = forms.BooleanField(required=False)

    @classmethod
    def of(cls, channel: Channel, data: Any) -> "ChannelChangesForm":
        """Make the form that changes a channel."""
        shown = ("name", "min_severity", "events", "enabled")
        form = cls(data, initial={name: getattr(channel, name) for name in shown})
        kind = KINDS.get(channel.kind)
        form.fields["target"].help_text = f"Empty: it stays {mask_target(channel.target)}." + (
            f" Else {kind.target}." if kind else ""
        )
        return form

    def changes(self) -> dict[str, Any]:
        """Return the fields that somebody changed."""
        return {name: self.cleaned_data[name] for name in self.changed_data}


@page("GET", "POST", writes="channel")
def channels(request: PageRequest) -> HttpResponse:
    """List the channels of a project; a POST adds one, sends a test, or turns one on or off."""
    form = ChannelForm(request.POST if request.POST.get("do") == "create" else None)
    if request.method != "POST":
        return _channels_page(request, form)
    action = request.POST.get("do", "")
    if action == "create":
        return _create(request, form)
    channel = selectors.get_channel(project=request.visitor.project, channel_id=_number(request, "channel"))
    if action == "test":
        return _channels_page(request, form, test=_send_test(request, channel))
    if action not in ("enable", "disable"):
        raise Problem(
            422, "unknown_action", f"{action[:40]!r} is not an action here; use test, enable or disable."
        )
    channel_services.update_channel(channel=channel, actor=request.visitor.actor, enabled=action == "enable")
    messages.success(request, f"{channel.name} is {action}d.")
    return redirect("channels")


def _create(request: PageRequest, form: ChannelForm) -> HttpResponse:
    if not form.is_valid():
        return _channels_page(request, form)
    try:
        channel, secret = channel_services.create_channel(
            project=request.visitor.project, actor=request.visitor.actor, **form.cleaned_data
        )
    except Problem as problem:
        explain(form, problem)
        return _channels_page(request, form)
    if secret is None:
        messages.success(request, f"{channel.name} is added; send it a test.")
        return redirect("channels")
    return _channels_page(request, ChannelForm(), secret=secret)


def _channels_page(
    request: PageRequest, form: ChannelForm, *, secret: str = "", test: Delivery | None = None
) -> HttpResponse:
    project = request.visitor.project
    context = {
        "channels": selectors.channels(project=project),
        "unrouted": unrouted_channels(project),
        "may_change": request.visitor.may("channel"),
        "deliveries": selectors.deliveries(project=project)[:DELIVERIES_SHOWN],
        "form": form,
        "kinds": KINDS.values(),
        "secret": secret,
        "test": test,
        "section": "channels",
        "mail_folder": None if settings.EMAIL_URL else settings.HOME / "mail",
    }
    return render(request, "pages/incidents/channels.html", context, status=422 if form.errors else 200)


def _send_test(request: PageRequest, channel: Channel) -> Delivery:
    """Send a test and wait a few seconds for what the receiver really answers."""
    delivery = channel_services.send_test(channel=channel, actor=request.visitor.actor)
    deadline = time.monotonic() + TEST_PATIENCE_SECONDS
    while True:
        fresh = selectors.get_delivery(project=request.visitor.project, delivery_id=delivery.pk)
        if fresh.state != Delivery.State.PENDING or time.monotonic() > deadline:
            return fresh
        time.sleep(0.1)


def _number(request: PageRequest, name: str) -> int:
    text = request.POST.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


@page("GET", "POST", writes="channel")
def channel(request: PageRequest, pk: int) -> HttpResponse:
    """Show a channel; a POST changes it, previews its payload, rotates its secret, sends a test, or deletes it."""
    one = selectors.get_channel(project=request.visitor.project, channel_id=pk)
    action, secret, test = request.POST.get("do", ""), "", None
    form = ChannelChangesForm.of(one, request.POST if action == "save" else None)
    if action == "delete":
        channel_services.delete_channel(channel=one, actor=request.visitor.actor)
        messages.success(request, f"{one.name} is deleted; its messages stay listed.")
        return redirect("channels")
    if action == "rotate":
        one, secret = channel_services.rotate_secret(channel=one, actor=request.visitor.actor, now=now())
    elif action == "test":
        test = _send_test(request, one)
    elif action == "save" and form.is_valid():
        try:
            channel_services.update_channel(channel=one, actor=request.visitor.actor, **form.changes())
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"{one.name} is changed.")
            return redirect("channels")
    payload = PayloadForm(
        request.POST if action in ("preview", "save payload") else None,
        initial={"payload_format": one.payload_format, "template": one.template},
    )
    preview = _preview(one, payload)
    if action == "save payload" and preview:
        channel_services.update_channel(channel=one, actor=request.visitor.actor, **payload.cleaned_data)
        messages.success(request, f"Messages to {one.name} have another body from now on.")
        return redirect("channel", one.pk)
    context = {
        "channel": one,
        "may_change": request.visitor.may("channel"),
        "has_secret": bool(one.secret),
        "payload": payload,
        "preview": preview,
        "overlaps_until": one.previous_secret_until if _overlaps(one) else None,
        "form": form,
        "secret": secret,
        "test": test,
        "section": "channels",
        "managed": managed(one.project, channel_item(one.name)),
    }
    is_refused = form.errors or payload.errors
    return render(request, "pages/incidents/channel.html", context, status=422 if is_refused else 200)


def _preview(channel: Channel, form: PayloadForm) -> str:
    """Write what a made-up event looks like in the format of a form; empty where it was not sent, or is refused."""
    if not form.is_bound or not form.is_valid():
        return ""
    try:
        return preview_of(receiver=channel.name, **form.cleaned_data)
    except Problem as problem:
        explain(form, problem)
        return ""


def _overlaps(channel: Channel) -> bool:
    until = channel.previous_secret_until
    return until is not None and until > now()


@page("GET")
def delete(request: PageRequest, pk: int) -> HttpResponse:
    """Ask before a channel is deleted."""
    one = selectors.get_channel(project=request.visitor.project, channel_id=pk)
    pending = one.deliveries.filter(state=Delivery.State.PENDING).count()
    waiting = (
        f" {pending:,} that wait{'s' if pending == 1 else ''} to be sent will not be." if pending else ""
    )
    context = {
        "channel": one,
        "title": f"Delete the channel {one.name}",
        "effects": [
            "It gets no more notifications, and its target and its secret are erased.",
            f"Its messages of the past stay listed, and cannot be sent again.{waiting}",
        ],
        "yes": "Yes, delete it",
        "may_confirm": request.visitor.may("channel"),
        "section": "channels",
    }
    return render(request, "pages/incidents/channel_delete.html", context)
