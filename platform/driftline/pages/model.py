"""P2: is this model all right, and if not, since when and why? Also its data as CSV, and its making."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from driftline.common.errors import Problem
from driftline.common.exports import write_csv
from driftline.pages import queries, verdict
from driftline.pages.access import PageRequest, page
from driftline.pages.charts import Chart, ChartLine, Dot
from driftline.pages.forms import explain
from driftline.pages.histograms import overlay_of
from driftline.pages.timerange import TimeRange, range_of
from driftline.progress import progress_of
from driftline.stuck_work import retry, stuck_work
from inference.registry.models import Autonomy, Model, ModelTask
from inference.registry.selectors import get_model
from inference.registry.services import create_model
from monitors.metrics.catalogue import DRIFT_METRICS, METRICS, QUALITY_METRICS
from monitors.metrics.models import MetricPoint
from monitors.metrics.periods import days_held_since

TOP_FEATURES = 5
VERSIONS_SHOWN = 5
COLUMN_METRICS = (*DRIFT_METRICS, *QUALITY_METRICS)


def frame_of(request: PageRequest, name: str, tab: str) -> dict[str, Any]:
    """Give what every page of a model shows: header, tabs, sentence and range."""
    model = get_model(project=request.visitor.project, name=name)
    chosen = range_of(request, model)
    return {
        "model": model,
        "range": chosen,
        "days_since": days_held_since(model),
        "tab": tab,
        "verdict": verdict.of_model(model),
        "tabs": [
            ("model", "Health"),
            ("drift", "Drift"),
            ("performance", "Performance"),
            ("latency", "Latency"),
            ("shadow", "Shadow"),
            ("reports", "Reports"),
            ("predictions", "Predictions"),
            ("versions", "Versions"),
            ("runs", "Runs"),
            ("rules", "Rules"),
            ("model_settings", "Settings"),
        ],
    }


@dataclass(frozen=True)
class Tile:
    """One number with its limit and course; it leads to the page with the evidence."""

    title: str
    status: str
    value: str
    said: str
    values: Sequence[float | None]
    url_name: str


@page("GET", "POST", writes="failed_work")
def health(request: PageRequest, name: str) -> HttpResponse:
    if request.method == "POST":
        return _retry(request, name)
    frame = frame_of(request, name, "model")
    model, chosen = frame["model"], frame["range"]
    main = queries.main_metric(model)
    metrics = [main, "label_coverage", "count", "latency_p95", "latency_p99", "error_rate"]
    points = queries.judged_points(model, metrics, chosen.start, chosen.end)
    drifted = queries.drifted_by_day(model, chosen.start, chosen.end)
    newest = queries.drift_on(model, max(drifted)) if drifted else []
    marks = queries.marks_in(model, chosen.start, chosen.end)
    frame |= {
        "tiles": _tiles(model, main, points, _drift_tile(drifted, newest), chosen),
        "performance": _main_chart(model, main, points, chosen, marks),
        "drift": drift_share_chart(model, drifted, chosen, marks),
        "marks": list(reversed(marks))[:12],
        "features": _top_features(model, newest, chosen),
        "prediction": _predictions(model, chosen),
        "versions": queries.versions_with_stage(model, model.versions.order_by("-pk")[:VERSIONS_SHOWN]),
        "deployment": model.deployment,
        "reference": queries.newest_reference(model),
        "computed_until": progress_of(model).computed_until,
        "stuck": stuck_work([model]),
    }
    return render(request, "pages/model.html", frame)


def _retry(request: PageRequest, name: str) -> HttpResponse:
    """Have what could not be computed tried anew."""
    model = get_model(project=request.visitor.project, name=name)
    retried = retry(model=model, actor=request.visitor.actor)
    messages.success(request, f"{retried:,} that failed {'is' if retried == 1 else 'are'} tried again.")
    return redirect("model", name=model.name)


def _tiles(
    model: Model,
    main: str,
    points: dict[str, list[MetricPoint]],
    drift: Tile,
    chosen: TimeRange,
) -> list[Tile]:
    tiles = [
        _quality_tile(main, points),
        drift,
        _data_tile(queries.faults_in(model, chosen.start, chosen.end)),
        _latency_tile(points),
        _freshness_tile(model, points.get("count", []), chosen),
    ]
    order = {"critical": 0, "warning": 1}
    return sorted(tiles, key=lambda tile: order.get(tile.status, 2))


def _quality_tile(main: str, points: dict[str, list[MetricPoint]]) -> Tile:
    series = points.get(main, [])
    newest = queries.newest_judged(series)
    values = [point.value if point.status in queries.JUDGED else None for point in series]
    if newest is None or newest.value is None:
        pending = any(point.status == "unripe" for point in series)
        said = "labels are still coming" if pending else "no labels yet"
        return Tile("Performance", "unripe" if pending else "no_data", "—", said, values, "performance")
    coverage = (newest.detail or {}).get("coverage")
    limit = "" if newest.threshold is None else f"limit {newest.threshold:.3f}, "
    said = f"{METRICS[main].title} on {newest.start:%-d %b}, {limit}{newest.n:,} labels" + (
        f" ({coverage:.0%})" if coverage is not None else ""
    )
    return Tile("Performance", newest.status, f"{newest.value:.3f}", said, values, "performance")


def _drift_tile(drifted: dict[datetime, tuple[int, int]], newest: list[MetricPoint]) -> Tile:
    if not newest:
        return Tile("Drift", "no_data", "—", "no reference, or too few rows", [], "drift")
    worst = newest[0]
    moved, judged = drifted[worst.start]
    said = f"features drifted on {worst.start:%-d %b}"
    if moved:
        said += f"; most: {worst.feature}, PSI {worst.value:.2f}"
    shares = [part / whole for part, whole in drifted.values()]
    return Tile("Drift", "warning" if moved else "ok", f"{moved} of {judged}", said, shares, "drift")


def _data_tile(faults: queries.QualityFaults) -> Tile:
    if not faults.by_day:
        return Tile("Data quality", "no_data", "—", "no rows to judge", [], "drift")
    newest = faults.newest
    worst = max(newest, key=lambda p: p.value or 0, default=None)
    status = "critical" if any(p.status == "critical" for p in newest) else "warning" if newest else "ok"
    said = (
        f"{METRICS[worst.metric].title.lower()} in {worst.feature}: {worst.value:.1%}"
        if worst
        else "columns with faults"
    )
    return Tile("Data quality", status, str(len(newest)), said, list(faults.by_day.values()), "drift")


def _latency_tile(points: dict[str, list[MetricPoint]]) -> Tile:
    title, series = "Latency, errors", points.get("latency_p99", [])
    newest = queries.newest_judged(series)
    values = [point.value for point in series]
    failed = queries.newest_judged(points.get("error_rate", []))
    errors = ""
    if failed and failed.value is not None:
        errors = f"; {failed.value:.1%} of requests failed" if failed.value else "; no request failed"
    if newest is None or newest.value is None:
        return Tile(title, "no_data", "—", f"no latency was logged{errors}", values, "latency")
    p95 = queries.newest_judged(points.get("latency_p95", []))
    limit = f"limit {newest.threshold:g} ms" if newest.threshold else "no limit set"
    said = f"p99, {limit}" + (f"; p95 {p95.value:.1f} ms" if p95 and p95.value is not None else "")
    return Tile(title, newest.status, f"{newest.value:.1f} ms", said + errors, values, "latency")


def _freshness_tile(model: Model, counts: list[MetricPoint], chosen: TimeRange) -> Tile:
    values = [point.value for point in counts]
    if chosen.newest is None:
        return Tile("Freshness", "no_data", "—", "no predictions yet", values, "performance")
    rows = (
        f"{counts[-1].value:,.0f} rows on the last day"
        if counts and counts[-1].value
        else "no rows in this range"
    )
    return Tile(
        "Freshness",
        "ok",
        f"{chosen.newest:%-d %b %H:%M}",
        f"newest event (UTC), {rows}",
        values,
        "performance",
    )


def _main_chart(
    model: Model, main: str, points: dict[str, list[MetricPoint]], chosen: TimeRange, marks: list[Any]
) -> Chart:
    title = METRICS[main].title
    series = points.get(main, [])
    newest = queries.newest_judged(series)
    if newest:
        said = f"{title}: newest {newest.value:.3f} on {newest.start:%-d %b %Y}."
    elif any(point.status == "unripe" for point in series):
        said = f"{title}: labels are still coming, so no day is judged yet."
    else:
        said = f"{title}: nothing measured yet."
    return Chart(
        id=main, title=title, summary=said, start=chosen.start, end=chosen.end, marks=marks,
        series=[ChartLine(title, queries.dots(series))],
        spans=queries.firing_spans(model, main, chosen.start, chosen.end),
        csv_url=csv_url(model, main, chosen),
        note="lower is better" if METRICS[main].lower_is_better else "higher is better",
    )  # fmt: skip


def drift_share_chart(
    model: Model, drifted: dict[datetime, tuple[int, int]], chosen: TimeRange, marks: list[Any]
) -> Chart:
    """Draw the share of features that drifted, a bar a day."""
    dots = [
        Dot(day, day + queries.DAY, moved / judged, judged, status="warning" if moved else "ok")
        for day, (moved, judged) in drifted.items()
    ]
    newest = dots[-1] if dots else None
    said = (
        f"{newest.value:.0%} of features drifted on {newest.start:%-d %b %Y}."
        if newest
        else "No drift was measured."
    )
    return Chart(
        id="drifted", title="Share of features that drifted", summary=said, start=chosen.start, end=chosen.end,
        series=[ChartLine("drifted", dots, "second", bars=True)], marks=marks, from_zero=True, top=1.0, limits=False,
        csv_url=csv_url(model, "psi", chosen),
    )  # fmt: skip


def _top_features(model: Model, newest: list[MetricPoint], chosen: TimeRange) -> list[dict[str, Any]]:
    """The features that stand furthest beyond their limits on the newest judged day, with their course."""
    shown = newest[:TOP_FEATURES]
    courses = queries.courses(model, "psi", [point.feature for point in shown], chosen.start, chosen.end)
    return [{"point": point, "values": courses[point.feature]} for point in shown]


def _predictions(model: Model, chosen: TimeRange) -> Any:
    """What the model answers, against its reference: by score where there is one, else by answer."""
    reference = queries.reference_on(model, chosen.end - queries.DAY)
    if reference is None:
        return None
    for name, known in (("score", reference.summary.score), ("prediction", reference.summary.prediction)):
        days = queries.column_by_day(model, name, chosen.end - queries.DAY * 8, chosen.end) if known else []
        if known and days:
            return {"overlay": overlay_of(_answer_title(model, name), known, [day.column for day in days])}
    return None


def _answer_title(model: Model, name: str) -> str:
    champion = model.deployment.champion
    positive = (champion.signature or {}).get("positive_class") if champion else None
    if name != "score":
        return "Answer"
    others = "the answered class" if model.task == "multiclass" else "the positive class"
    return f"Probability of {positive or others}"


def csv_url(model: Model, metric: str, chosen: TimeRange, feature: str = "", span: str = "day") -> str:
    """The address of the same points as CSV."""
    return f"/models/{model.name}/data.csv{chosen.prefix}metric={metric}&feature={feature}&span={span}"


@page("GET")
def data_csv(request: PageRequest, name: str) -> HttpResponse:
    """One metric of the range as CSV, whatever role and version made it."""
    model = get_model(project=request.visitor.project, name=name)
    metric = request.GET.get("metric", "")
    if metric not in METRICS:
        raise Http404
    chosen = range_of(request, model)
    points = MetricPoint.objects.filter(
        model=model, metric=metric, span=request.GET.get("span", "day"), segment="",
        start__gte=chosen.start, start__lt=chosen.end,
    ).order_by("start", "role", "version", "feature")  # fmt: skip
    if request.GET.get("feature"):
        points = points.filter(feature=request.GET["feature"])
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{model.name}-{metric}.csv"'
    columns = (
        "start",
        "end",
        "metric",
        "feature",
        "role",
        "version",
        "value",
        "n",
        "lower",
        "upper",
        "threshold",
        "status",
        "revision",
    )
    rows = ([getattr(point, column) for column in columns] for point in points.iterator())
    write_csv(response, chain([columns], rows))
    return response


# -- making a model ----------------------------------------------------------------------------------------------------
class ModelForm(forms.Form):
    name = forms.CharField(
        max_length=100, help_text="Letters, digits, dots and dashes, such as flight-delay."
    )
    task = forms.ChoiceField(
        choices=[c for c in ModelTask.choices if c[0] != "ranking"],
        help_text="Binary: one of two classes; multiclass: one of several; regression: a number.",
    )
    description = forms.CharField(
        max_length=500, required=False, help_text="The question that it answers, in words."
    )
    autonomy = forms.ChoiceField(choices=Autonomy.choices, initial=Autonomy.APPROVE)
    label_lag_hours = forms.FloatField(
        required=False, min_value=0, label="Labels arrive within (hours)",
        help_text="Empty: learnt from the labels that come. Younger windows are not judged.",
    )  # fmt: skip
    latency_p99_ms = forms.FloatField(required=False, min_value=0.001, label="99 % of answers within (ms)")


def _fix_autonomy(request: PageRequest, form: ModelForm) -> None:
    """Offer the usual autonomy alone to who may not choose another, and refuse a form that has another."""
    if request.POST.get("autonomy", Autonomy.APPROVE) != Autonomy.APPROVE:
        request.visitor.check_rights({"/autonomy": "model.autonomy"})
    form.fields["autonomy"].disabled = True
    form.fields["autonomy"].help_text = "Only admins of this project choose another."


@page("GET", "POST", writes="model")
def new_model(request: PageRequest) -> HttpResponse:
    form = ModelForm(request.POST or None)
    if not request.visitor.may("model.autonomy"):
        _fix_autonomy(request, form)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        objectives = {
            name: values[name] for name in ("label_lag_hours", "latency_p99_ms") if values[name] is not None
        }
        try:
            model = create_model(
                project=request.visitor.project, actor=request.visitor.actor, objectives=objectives,
                **{name: values[name] for name in ("name", "task", "description", "autonomy")},
            )  # fmt: skip
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(
                request, f"{model.name} is there. Give it a reference, or send its first prediction."
            )
            return redirect("reference", name=model.name)
    return render(request, "pages/model_new.html", {"form": form}, status=422 if form.errors else 200)
