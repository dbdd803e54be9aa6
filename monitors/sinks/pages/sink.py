"""Settings, Sink: where the project's rows and events are sent, and how each stream of them stands."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from pydantic import ValidationError

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import part_item
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain_settings
from inference.connectors.kafka.form import KafkaClusterForm, words_of
from monitors.sinks import services
from monitors.sinks.models import Sink, StreamKind
from monitors.sinks.selectors import find_sink
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams.readers import statuses_of


class SinkForm(KafkaClusterForm):
    """A cluster, the prefix of the topics, and what is sent."""

    secret = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea({"rows": 2, "spellcheck": "false", "autocomplete": "off", "class": "code"}),
        label="Password, or private key of the client's certificate",
        help_text="Kept encrypted and not shown again. Empty: what is stored stays.",
    )
    prefix = forms.CharField(  # type: ignore[assignment]  # a form takes its fields out of its class
        max_length=200,
        required=False,
        initial="driftline.",
        label="Prefix of the topics",
        help_text="driftline. makes driftline.predictions, driftline.labels, driftline.metrics and driftline.events.",
    )
    streams = forms.MultipleChoiceField(
        choices=StreamKind.choices,
        initial=[*StreamKind.values],
        widget=forms.CheckboxSelectMultiple,
        label="What is sent",
    )

    def __init__(self, sink: Sink | None, data: Any) -> None:
        initial = sink.settings | {"brokers": ", ".join(sink.settings["brokers"])} if sink else None
        super().__init__(data, initial=initial)
        if sink is not None and sink.secret:
            self.fields["secret"].widget.attrs["placeholder"] = "••••••••"

    def read_settings(self) -> SinkSettings:
        """Return where to send; raises ValueError with what pydantic says."""
        values = {name: self.cleaned_data[name] for name in SinkSettings.model_fields}
        return SinkSettings.model_validate(values | {"brokers": words_of(values["brokers"])})


@page("GET", "POST", writes="sink")
def sink(request: PageRequest) -> HttpResponse:
    """Show the sink of a project with its streams; a POST sets it, tries it, or stops it."""
    project, do = request.visitor.project, request.POST.get("do", "")
    one = find_sink(project=project)
    if do == "stop" and one is not None:
        services.stop_sink(sink=one, confirm=project.slug, actor=request.visitor.actor)
        messages.success(request, "Nothing is sent any more; what was sent stays where it is.")
        return redirect("sink")
    form = SinkForm(one, request.POST if do in ("save", "test") else None)
    if form.is_bound and form.is_valid():
        try:
            _act(request, form, do)
        except (Problem, ValidationError) as error:
            explain_settings(form, error)
        else:
            if do == "save":
                return redirect("sink")
    context = {
        "form": form,
        "sink": one,
        "streams": statuses_of(one, now=now()) if one else [],
        "may_change": request.visitor.may("sink"),
        "managed": managed(project, part_item("sink")),
        "section": "sink",
    }
    return render(request, "features/sinks/sink.html", context, status=422 if form.errors else 200)


def _act(request: PageRequest, form: SinkForm, do: str) -> None:
    """Store the sink, or only try it; raises Problem and ValidationError."""
    project, secret = request.visitor.project, form.cleaned_data["secret"] or None
    settings = form.read_settings()
    if do == "save":
        services.set_sink(project=project, settings=settings, actor=request.visitor.actor, secret=secret)
        messages.success(request, "The sink is set; what is stored from now on is sent.")
        return
    missing = services.check_connection(project=project, settings=settings, secret=secret)
    if missing:
        messages.warning(
            request,
            f"The brokers answer, but have no {', '.join(missing)}: make them, unless brokers do that themselves.",
        )
    else:
        messages.success(request, "The brokers answer, and have all topics.")


@page("GET")
def stop(request: PageRequest) -> HttpResponse:
    """Ask before a sink is stopped."""
    one = find_sink(project=request.visitor.project)
    if one is None:
        return redirect("sink")
    waiting = sum(status.waiting for status in statuses_of(one, now=now()))
    context = {
        "title": "Stop the sink",
        "effects": [
            f"{waiting:,} rows and events that wait to be sent are not sent, also not by a sink that is set later.",
            "What was sent stays in its topics, and its secret is erased here.",
        ],
        "yes": "Yes, stop it",
        "may_confirm": request.visitor.may("sink"),
        "section": "sink",
    }
    return render(request, "features/sinks/sink_stop.html", context)
