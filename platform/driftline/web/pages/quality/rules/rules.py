"""Rules as a plain form, with what each would have done in the stored past."""

import math
from collections.abc import Collection
from copy import copy
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Max, Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from driftline.base.errors import Problem
from driftline.base.periods import STEPS
from driftline.base.yaml_text import NumberReader, read_yaml, write_yaml
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import part_of_model
from driftline.web.pages import queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.quality.rules.rule_preview import preview_of
from driftline.web.pages.rendering import render_with_charts
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.alerts.incidents.precision import precision_of
from monitors.alerts.models import Alert
from monitors.definitions.expectations import judged_features
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.monitors import AUTO
from monitors.metrics.catalogue import METRICS
from monitors.metrics.inputs.fitting import set_span
from monitors.rules.defaults import add_default_rules, missing_default_rules
from monitors.rules.judging.condition_trees import document_of
from monitors.rules.judging.reach import Reach
from monitors.rules.judging.states import explain_state
from monitors.rules.known_names import known_segments
from monitors.rules.models import Rule, Severity
from monitors.rules.sentences import describe_tree, sentence_of
from monitors.rules.services import (
    DEFAULTS,
    IN_CONDITION,
    create_rule,
    delete_rule,
    rights_of_change,
    update_rule,
)
from monitors.rules.services import (
    new_rule as new_rule_of,
)

MAX_CONDITION = 20_000
EXAMPLE = """all:
  - {metric: psi, feature: income, limit: calibrated}
  - {metric: estimated_accuracy, operator: below, threshold: 0.8}"""
MAX_HOURS = 24 * 3_660  # as rules allow: ten years
SPANS = (AUTO, *STEPS, "7d", "28d")
"""The spans that the form suggests."""
KINDS = {
    MonitorKind.PERFORMANCE: "Performance",
    MonitorKind.DRIFT: "Drift",
    MonitorKind.QUALITY: "Data quality",
    MonitorKind.SERVICE: "Volume, errors and latency",
}


def _metric_choices(shown: Collection[str] = METRICS) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (
            title,
            [
                (m.name, f"{m.title} ({m.name})")
                for m in METRICS.values()
                if m.kind == kind and m.name in shown
            ],
        )
        for kind, title in KINDS.items()
    ]


class RuleForm(forms.Form):
    name = forms.CharField(max_length=120, help_text="What people read in the e-mail's subject.")
    metric = forms.ChoiceField(choices=_metric_choices, initial="psi")
    feature = forms.CharField(
        max_length=200,
        required=False,
        help_text="For drift and data quality a feature's name, for metrics of a class the class, for a custom metric "
        "its name; * for any.",
        widget=forms.TextInput(attrs={"list": "features"}),
    )
    segment = forms.CharField(
        max_length=200,
        required=False,
        help_text="Empty: all rows. Else such as origin:JFK.",
        widget=forms.TextInput(attrs={"list": "segments"}),
    )
    span = forms.CharField(
        max_length=8,
        label="Window",
        help_text="auto: what fits the traffic. Else hour, day, week, month, or the last days such as 7d.",
        widget=forms.TextInput(attrs={"list": "spans"}),
    )
    operator = forms.ChoiceField(choices=Rule.Operator.choices, label="Operator")
    threshold = forms.FloatField(required=False, initial=0.2)
    critical_threshold = forms.FloatField(
        required=False, label="Critical beyond", help_text="Empty: it never gets critical."
    )
    for_windows = forms.IntegerField(
        min_value=1, label="Windows beyond it", help_text="With auto: days, where weeks or months are judged."
    )
    of_windows = forms.IntegerField(
        min_value=1,
        required=False,
        label="Among so many in a row",
        help_text="Empty: each of them is beyond it.",
    )
    recover_windows = forms.IntegerField(min_value=1, label="Good windows to resolve")
    recovery_threshold = forms.FloatField(
        required=False, label="Good when back at", help_text="Empty: at the threshold."
    )
    min_rows = forms.IntegerField(min_value=1, label="Minimum rows")
    no_data = forms.ChoiceField(
        choices=Rule.NoData.choices,
        required=False,
        label="A window without data says",
        help_text="Where the model was measured, and the metric has no value or too few rows.",
    )
    severity = forms.ChoiceField(choices=Severity.choices)
    action = forms.ChoiceField(choices=Rule.Action.choices, label="Action")
    cooldown_hours = forms.FloatField(
        min_value=0,
        max_value=MAX_HOURS,
        label="Cooldown (hours)",
        help_text="Event time until a rule that still fires acts again.",
    )
    notify_within_hours = forms.FloatField(
        min_value=0,
        max_value=MAX_HOURS,
        label="Don't notify about windows older than (hours)",
        help_text="They open incidents silently.",
    )
    enabled = forms.BooleanField(required=False, initial=True)
    owner = forms.CharField(max_length=200, required=False, help_text="Who answers for it, such as a team.")
    runbook = forms.CharField(
        max_length=500,
        required=False,
        help_text="The address of what to do, http or https. It is on the incident and in every message.",
        widget=forms.URLInput(),
    )
    description = forms.CharField(
        max_length=1_000,
        required=False,
        help_text="What it means when it fires.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    condition = forms.CharField(
        max_length=MAX_CONDITION,
        required=False,
        help_text="Several comparisons, as YAML or JSON, in place of metric to thresholds above.",
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "placeholder": EXAMPLE}),
    )

    def offer_metrics(self, names: Collection[str]) -> None:
        """Offer these metrics alone."""
        metric = self.fields["metric"]
        assert isinstance(metric, forms.ChoiceField)
        metric.choices = _metric_choices(names)

    def offer_alerts_alone(self) -> None:
        """Offer no action but the alert: retraining needs a right that the visitor lacks."""
        action = self.fields["action"]
        assert isinstance(action, forms.ChoiceField)
        action.choices = [Rule.Action.choices[0]]

    def fields_of_rule(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        for name in ("cooldown", "notify_within"):
            values[name] = timedelta(hours=values.pop(f"{name}_hours"))
        values["no_data"] = values["no_data"] or Rule.NoData.KEEP
        values["condition"] = _read_condition(values["condition"])
        if values["condition"] is not None:
            values = {name: value for name, value in values.items() if name not in IN_CONDITION}
        return values


def _read_condition(text: str) -> Any:
    """Read what somebody wrote as a condition; None where that is nothing. Raises Problem."""
    return read_yaml(text, NumberReader, pointer="/condition") if text.strip() else None


def _initial(rule: Rule | None) -> dict[str, Any]:
    values = {**DEFAULTS, "threshold": 0.2, "metric": "psi"}
    if rule is not None:
        values = {name: getattr(rule, name) for name in ("name", "metric", "threshold", *DEFAULTS)}
    values["condition"] = ""
    if rule is not None and rule.condition is not None:
        of_comparison = dict.fromkeys(("feature", "segment", "threshold"))
        values |= of_comparison | {"condition": write_yaml(document_of(rule.tree))}
    for name in ("cooldown", "notify_within"):
        values[f"{name}_hours"] = values.pop(name).total_seconds() / 3600
    return {name: int(v) if isinstance(v, float) and v == int(v) else v for name, v in values.items()}


@page("GET")
def rules(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "rules")
    with_firing = frame["model"].rules.select_related("state").annotate(
        last_fired=Max("transitions__window_end", filter=Q(transitions__kind="opened"))
    )  # fmt: skip
    listed = list(with_firing.select_related("model").order_by("-enabled", "name"))
    reach = Reach(listed)
    for rule in listed:
        rule.explained = explain_state(rule)
        rule.asks_for = describe_tree(rule.tree, rule.judged_span)
        rule.cannot_fire = reach.cannot_fire_because(rule) if rule.enabled else ""
    frame |= {
        "rules": listed,
        "channels": request.visitor.project.channels.filter(enabled=True),
        "defaults": missing_default_rules(frame["model"]),
        "monitors": _monitors(frame["model"]),
        "spans": SPANS,
    }
    return render(request, "pages/quality/rules/rules.html", frame)


@page("POST", writes="monitor")
def change_monitor(request: PageRequest, name: str, monitor: str) -> HttpResponse:
    """Make a monitor judge the windows that were chosen, or follow the traffic again."""
    found = get_object_or_404(frame_of(request, name, "rules")["model"].monitors, kind=monitor)
    try:
        set_span(monitor=found, span=request.POST.get("span", ""), actor=request.visitor.actor)
    except Problem as problem:
        messages.error(request, problem.detail)
    else:
        found.refresh_from_db()
        messages.success(request, f"{found.get_kind_display()}: judged by {found.span_text} from now on.")
    return redirect("rules", name=name)


def _monitors(model: Model) -> list[tuple[Monitor, str]]:
    """List the monitors that judge windows by their rows, each with how many its newest windows have."""
    newest = newest_event(model)
    monitors = list(model.monitors.exclude(kind=MonitorKind.SERVICE).order_by("kind"))
    windows = queries.windows_judged(model, [one for one in monitors if one.enabled], newest)
    return [(one, windows.get(str(one.kind), "")) for one in monitors]


@page("POST", writes="rule")
def add_defaults(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "rules")
    visitor = request.visitor
    try:
        added = add_default_rules(project=visitor.project, model=frame["model"], actor=visitor.actor)
    except Problem as problem:
        messages.error(request, problem.detail)
    else:
        many = f"{len(added)} rule{'s' if len(added) != 1 else ''}"
        messages.success(request, f"{many} added; change or delete what does not fit this model.")
    return redirect("rules", name=name)


@page("GET", "POST", writes="rule")
def new_rule(request: PageRequest, name: str) -> HttpResponse:
    return _edit(request, name, None)


@page("GET", "POST", writes="rule")
def edit_rule(request: PageRequest, name: str, pk: int) -> HttpResponse:
    return _edit(request, name, pk)


def _edit(request: PageRequest, name: str, pk: int | None) -> HttpResponse:
    frame = frame_of(request, name, "rules")
    model = frame["model"]
    rule = model.rules.filter(pk=pk).first() if pk is not None else None
    if pk is not None and rule is None:
        raise Http404
    action = request.POST.get("do", "save")
    if request.method == "POST" and action != "preview":
        request.visitor.check_rights(rights_of_change(rule, request.POST.get("action", "")))
    tried = _tried(rule, request.GET.get("threshold", ""))
    form = RuleForm(request.POST or None, initial=_initial(tried))
    of_task = {name for name, metric in METRICS.items() if metric.is_of_task(model.task)}
    form.offer_metrics(of_task | ({rule.metric} if rule else set()))
    if not request.visitor.may("rule.retrain") and not (rule and rule.action == Rule.Action.RETRAIN):
        form.offer_alerts_alone()
    would_fire = preview_of(tried, frame["range"]) if tried and request.method == "GET" else None
    shown = tried
    if request.method == "POST":
        if action == "delete" and rule is not None:
            delete_rule(rule=rule, actor=request.visitor.actor)
            messages.success(request, f"The rule {rule.name!r} is deleted; its incidents stay.")
            return redirect("rules", name=name)
        if form.is_valid():
            try:
                fields = form.fields_of_rule()
                if action == "preview":
                    shown = new_rule_of(project=request.visitor.project, model=model, **fields)
                    would_fire = preview_of(shown, frame["range"])
                else:
                    _save(request, model, rule, fields)
                    return redirect("rules", name=name)
            except Problem as problem:
                explain(form, problem)
    frame |= {
        "form": form,
        "rule": rule,
        "may_save": _may_change(request, rule),
        "would_fire": would_fire,
        "chart": would_fire.chart if would_fire else None,
        "sentence": sentence_of(shown) if shown and would_fire else "",
        "features": ["*", *sorted(judged_features(model)), "prediction", "score"],
        "custom_metrics": model.custom_metrics.order_by("name"),
        "segments": known_segments(model),
        "spans": SPANS,
        "state": explain_state(rule) if rule else None,
        "precision": precision_of(rule) if rule else None,
        "managed": managed(model.project, part_of_model("rule", model.name, rule.name)) if rule else None,
    }
    if request.method == "GET":
        return render_with_charts(request, "pages/quality/rules/rule.html", frame)
    return render(request, "pages/quality/rules/rule.html", frame, status=422 if form.errors else 200)


def _tried(rule: Rule | None, threshold: str) -> Rule | None:
    """Return a rule with another limit to look at, which is not saved; the rule itself where none is given."""
    if rule is None or not threshold or rule.condition is not None:
        return rule
    try:
        limit = float(threshold)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise Problem(
            400, "invalid_parameter", f"threshold is {threshold[:40]!r}; use a number such as 0.25."
        )
    tried = copy(rule)
    tried.threshold = limit
    return tried


@page("GET")
def delete(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show what deleting a rule takes along, before it is done on the rule's own page."""
    frame = frame_of(request, name, "rules")
    rule = frame["model"].rules.filter(pk=pk).first()
    if rule is None:
        raise Http404
    firing = rule.alerts.filter(state=Alert.State.FIRING).select_related("incident").first()
    closes = f" INC-{firing.incident_id} is closed unless another rule keeps it open." if firing else ""
    frame |= {
        "rule": rule,
        "title": f"Delete the rule {rule.name}",
        "effects": [
            "It judges nothing any more, and nobody hears from it.",
            f"Its incidents stay.{closes}",
        ],
        "yes": "Yes, delete it",
        "may_confirm": _may_change(request, rule),
    }
    return render(request, "pages/quality/rules/rule_delete.html", frame)


def _may_change(request: PageRequest, rule: Rule | None) -> bool:
    return all(map(request.visitor.may, ["rule", *rights_of_change(rule).values()]))


def _save(request: PageRequest, model: Model, rule: Rule | None, fields: dict[str, Any]) -> None:
    actor = request.visitor.actor
    if rule is None:
        saved = create_rule(project=request.visitor.project, model=model, actor=actor, **fields)
    else:
        saved = update_rule(rule=rule, actor=actor, **fields)
    judged = "windows that close from now on are judged by it"
    if rule is None:
        hours = saved.notify_within.total_seconds() / 3600
        judged = f"it judges the windows of the last {hours:g} hours at once, and later ones as they close"
    messages.success(request, f"The rule {saved.name!r} is saved; {judged}.")
