"""The pages of custom metrics: all of a model's, one with its chart, and the question before it is deleted."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from driftline.base.errors import Problem
from driftline.operations.configuration.differences import managed
from driftline.operations.configuration.items import part_of_model
from driftline.web.charts.svg import Chart, ChartLine
from driftline.web.pages import chart_marks, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.templatetags.figures import figure
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.definitions.custom_metrics.preview import PREVIEW_DAYS, preview_metric
from monitors.definitions.custom_metrics.services import (
    MAX_CUSTOM_METRICS,
    MAX_NAME_LENGTH,
    MAX_UNIT_LENGTH,
    change_metric,
    columns_of,
    define_metric,
    delete_metric,
    describe_metric,
)
from monitors.definitions.models import CUSTOM, CUSTOM_OF_LABELS, CustomMetric
from monitors.dependents import users_of
from monitors.metrics.limits import PointJudge
from monitors.metrics.store.models import MetricPoint


class ExpressionForm(forms.Form):
    """A metric that has its name already."""

    expression = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="Such as mean(amount * probability) where region == 'north', or cost(fp=5, fn=100).",
    )
    unit = forms.CharField(required=False, max_length=MAX_UNIT_LENGTH, help_text="Such as EUR.")
    lower_is_better = forms.BooleanField(required=False, label="Lower is better")


class CustomMetricForm(ExpressionForm):
    name = forms.CharField(max_length=MAX_NAME_LENGTH, help_text="What rules and charts call it.")
    field_order = ("name", "expression", "unit", "lower_is_better")


@page("GET", "POST", writes="custom_metric")
def custom_metrics(request: PageRequest, name: str) -> HttpResponse:
    """List a model's custom metrics; a POST previews or defines one."""
    frame = frame_of(request, name, "model_settings")
    model = frame["model"]
    form = CustomMetricForm(request.POST or None)
    if form.is_valid():
        try:
            if request.POST.get("do") == "preview":
                frame["preview"] = _preview(model, form.cleaned_data["expression"])
            else:
                custom = define_metric(model=model, actor=request.visitor.actor, **form.cleaned_data)
                messages.success(
                    request, f"{custom.name} is measured; the rows that are kept are read again."
                )
                return redirect("custom_metric", name=name, pk=custom.pk)
        except Problem as problem:
            explain(form, problem)
    frame |= _names(model) | {
        "form": form,
        "custom_metrics": _with_newest_day(model),
        "most": MAX_CUSTOM_METRICS,
    }
    return render(request, "pages/quality/custom_metrics.html", frame, status=422 if form.errors else 200)


@page("GET", "POST", writes="custom_metric")
def custom_metric(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show one custom metric over time; a POST previews, changes or deletes it."""
    frame = frame_of(request, name, "model_settings")
    model, custom = frame["model"], _find(frame["model"], pk)
    action = request.POST.get("do", "save")
    form = ExpressionForm(
        request.POST if request.method == "POST" and action != "delete" else None,
        initial=describe_metric(custom),
    )
    try:
        if action == "delete":
            delete_metric(custom=custom, actor=request.visitor.actor)
            messages.success(request, f"{custom.name} is not measured any more.")
            return redirect("custom_metrics", name=name)
        if form.is_valid() and action == "preview":
            frame["preview"] = _preview(model, form.cleaned_data["expression"])
        elif form.is_valid():
            change_metric(custom=custom, actor=request.visitor.actor, **form.cleaned_data)
            messages.success(request, f"{custom.name} is changed.")
            return redirect("custom_metric", name=name, pk=pk)
    except Problem as problem:
        if action == "delete":
            messages.error(request, problem.detail)
            return redirect("custom_metric", name=name, pk=pk)
        explain(form, problem)
    frame |= _names(model) | {
        "form": form,
        "custom": custom,
        "users": users_of(custom),
        "charts": [_chart(custom, frame["range"])],
        "managed": managed(model.project, part_of_model("custom_metric", model.name, custom.name)),
    }
    if request.method == "POST":
        return render(request, "pages/quality/custom_metric.html", frame, status=422 if form.errors else 200)
    return render_with_charts(request, "pages/quality/custom_metric.html", frame)


@page("GET")
def delete(request: PageRequest, name: str, pk: int) -> HttpResponse:
    """Show what depends on a custom metric and what is deleted with it."""
    frame = frame_of(request, name, "model_settings")
    custom = _find(frame["model"], pk)
    users = users_of(custom)
    frame |= {
        "custom": custom,
        "title": f"Delete the custom metric {custom.name}",
        "effects": [
            *users.reasons,
            "Its points are deleted, on every page and for everybody.",
            "Defined again, only rows that the log still has come back.",
        ],
        "yes": "Yes, delete it",
        "may_confirm": request.visitor.may_edit,
        "is_refused": bool(users),
    }
    return render(request, "pages/quality/custom_metric_delete.html", frame)


def _find(model: Model, pk: int) -> CustomMetric:
    return get_object_or_404(CustomMetric.objects.select_related("model__project"), model=model, pk=pk)


def _names(model: Model) -> dict[str, Any]:
    """List what expressions of the model may name."""
    columns = columns_of(model)
    return {"names": sorted(name for name in columns.features if name not in columns.hidden)}


def _preview(model: Model, expression: str) -> str:
    """Return what an expression comes to over the newest rows."""
    found = preview_metric(model=model, expression=expression)
    if found is None:
        return f"No rows of the newest {PREVIEW_DAYS} days are kept, so nothing can be computed before it is saved."
    one = found.estimate
    interval = "" if one.lower is None else f" (95 % interval {figure(one.lower)} to {figure(one.upper)})"
    value = "not defined" if one.value is None else f"{figure(one.value)}{interval}"
    left_out = f"; {found.left_out:,} rows lack a value and are left out" if found.left_out else ""
    return (
        f"Over {found.rows:,} rows from {found.start:%-d %b %Y %H:%M} to {found.end:%-d %b %Y %H:%M} it is {value}, of "
        f"{one.n:,} rows that count{left_out}."
    )


def _with_newest_day(model: Model) -> QuerySet[CustomMetric]:
    """Read the custom metrics of a model, each with start and value of its newest day that has one."""
    valued = _points(model).filter(feature=OuterRef("name"), value__isnull=False)
    return model.custom_metrics.order_by("name").annotate(
        newest_day=Subquery(valued.order_by("-start").values("start")[:1]),
        newest_value=Subquery(valued.order_by("-start").values("value")[:1]),
    )


def _points(model: Model) -> QuerySet[MetricPoint]:
    """Select the points of days of a model's custom metrics."""
    return MetricPoint.objects.filter(
        model=model,
        metric__in=(CUSTOM, CUSTOM_OF_LABELS),
        segment="",
        role="champion",
        version="",
        span="day",
    )


def _chart(custom: CustomMetric, chosen: TimeRange) -> Chart:
    points = (
        _points(custom.model)
        .filter(feature=custom.name, start__gte=chosen.start, start__lt=chosen.end)
        .order_by("start")
    )
    judged = PointJudge(custom.model).judge(points)
    newest = queries.newest_judged(judged)
    summary = "It was not measured in this range."
    if newest is not None and newest.value is not None:
        summary = f"{custom.name} {figure(newest.value)} {custom.unit} on {newest.start:%-d %b %Y}, {newest.n:,} rows."
    return Chart(
        id="custom", title=custom.name, summary=summary, start=chosen.start, end=chosen.end,
        series=[ChartLine("champion", queries.dots(judged))], unit=custom.unit,
        marks=chart_marks.marks_in(custom.model, chosen.start, chosen.end),
        note="lower is better" if custom.lower_is_better else "higher is better",
    )  # fmt: skip
