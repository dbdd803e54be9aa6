"""The page of a model: is it all right, and if not, since when and why? Also its CSV, and the form of a new model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched, chain
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.feature import features
from driftline.base.http.exports import write_csv
from driftline.base.number_format import format_number
from driftline.base.periods import Period, during, end_of, is_span
from driftline.operations.progress import progress_of
from driftline.operations.stuck_work import retry, stuck_work
from driftline.web.charts.histograms import overlay_of
from driftline.web.charts.svg import Chart, ChartLine, Dot
from driftline.web.pages import chart_marks, column_reads, queries, verdict
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.quality.annotation_form import newest_annotations
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.templatetags.figures import decision_of
from driftline.web.pages.timerange import TimeRange, range_of
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Autonomy, Model, ModelTask
from inference.registry.selectors import get_model
from inference.registry.services import create_model
from monitors.alerts.silences import active_silences
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.catalogue import DRIFT_METRICS, METRICS, QUALITY_METRICS
from monitors.metrics.limits import JUDGED, NOT_SIGNIFICANT, RAISED, PointJudge
from monitors.metrics.periods import days_held_since
from monitors.metrics.store.models import MetricPoint

TOP_FEATURES = 5
_SEVERITY = ("ok", NOT_SIGNIFICANT, *RAISED)
VERSIONS_SHOWN = 5
SERVICE_SHOWN = ("count", "latency_p95", "latency_p99", "error_rate")
JUDGED_KINDS = (MonitorKind.DRIFT, MonitorKind.QUALITY, MonitorKind.PERFORMANCE)
CSV_COLUMNS = (
    "start", "end", "metric", "feature", "role", "version", "value", "n", "lower", "upper", "threshold", "status",
    "is_beyond", "rule", "since", "revision",
)  # fmt: skip
COLUMN_METRICS = (*DRIFT_METRICS, *QUALITY_METRICS)


def frame_of(request: PageRequest, name: str, tab: str) -> dict[str, Any]:
    """Return what every page of a model shows: header, tabs, sentence and range."""
    model = get_model(project=request.visitor.project, name=name)
    chosen = range_of(request, model)
    return {
        "model": model,
        "range": chosen,
        "days_since": days_held_since(model),
        "tab": tab,
        "verdict": verdict.of_model(model),
        "silenced": active_silences(model, now=now()),
        "tabs": [
            ("model", "Health"),
            ("drift", "Drift"),
            ("performance", "Performance"),
            ("latency", "Latency"),
            ("shadow", "Shadow"),
            *((link.route, link.title) for feature in features() for link in feature.tabs),
            ("predictions", "Predictions"),
            ("versions", "Versions"),
            ("runs", "Runs"),
            ("workflow", "Workflow"),
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
    detail: str
    values: Sequence[float | None]
    url_name: str


@page("GET", "POST", writes="failed_work")
def health(request: PageRequest, name: str) -> HttpResponse:
    if request.method == "POST":
        return _retry(request, name)
    frame = frame_of(request, name, "model")
    model, chosen = frame["model"], frame["range"]
    main = main_metric(model)
    points = queries.judged_points(model, SERVICE_SHOWN, chosen.start, chosen.end)
    span = span_of(model, METRICS[main].kind)
    metrics = [*queries.performance_metrics(model), "label_coverage"]
    points |= queries.judged_points(model, metrics, chosen.start, chosen.end, span=span)
    drifted = queries.drifted_by_window(model, chosen.start, chosen.end)
    newest = queries.drift_on(model, max(drifted)) if drifted else []
    marks = chart_marks.marks_in(model, chosen.start, chosen.end)
    frame |= {
        "judged_by": queries.judged_by(model, JUDGED_KINDS, chosen.newest),
        "tiles": _tiles(model, main, points, _drift_tile(drifted, newest), chosen),
        "performance": _main_chart(model, main, points, chosen, marks),
        "drift": drift_share_chart(model, drifted, chosen, marks),
        "marks": list(reversed(marks))[:12],
        "features": _top_features(model, newest, chosen),
        "prediction": _predictions(model, chosen),
        "versions": chart_marks.versions_with_stage(
            model, model.versions.filter(archived_at=None).order_by("-pk")[:VERSIONS_SHOWN]
        ),
        "deployment": model.deployment,
        "reference": queries.newest_reference(model),
        "computed_until": progress_of(model).computed_until,
        "stuck": stuck_work([model]),
        **newest_annotations(model, chosen.newest),
    }
    return render_with_charts(request, "pages/models/model.html", frame)


def _retry(request: PageRequest, name: str) -> HttpResponse:
    """Retry what could not be computed."""
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
        _quality_tile(main, points, chosen),
        drift,
        _data_tile(queries.faults_in(model, chosen.start, chosen.end)),
        _latency_tile(points),
        _freshness_tile(model, points.get("count", []), chosen),
    ]
    order = {"critical": 0, "warning": 1}
    return sorted(tiles, key=lambda tile: order.get(tile.status, 2))


def _quality_tile(main: str, points: dict[str, list[MetricPoint]], chosen: TimeRange) -> Tile:
    """Show the main metric, with the worst status that any metric of performance has in its window."""
    series = points.get(main, [])
    newest = queries.newest_judged(series)
    values = [point.value if point.status in JUDGED else None for point in series]
    if newest is None or newest.value is None:
        status, detail = _unjudged_quality(series, points, chosen)
        return Tile("Performance", status, "—", detail, values, "performance")
    coverage = (newest.detail or {}).get("coverage")
    limit = "" if newest.threshold is None else f"limit {newest.threshold:.3f}, "
    detail = f"{METRICS[main].title} {during(newest.start, newest.span)}, {limit}{newest.n:,} labels" + (
        f" ({coverage:.0%})" if coverage is not None else ""
    )
    beside = queries.judged_with(points, main)
    raised = [one for one in beside if one.status in RAISED]
    if raised and newest.status not in RAISED:
        detail += f"; {len(raised)} of {len(beside)} metrics beyond their limits"
    status = max((newest.status, *(one.status for one in raised)), key=_SEVERITY.index)
    return Tile("Performance", status, f"{newest.value:.3f}", detail, values, "performance")


def _unjudged_quality(
    series: list[MetricPoint], points: dict[str, list[MetricPoint]], chosen: TimeRange
) -> tuple[str, str]:
    """Return why no window of a range has a judged value of the main metric."""
    if any(point.status == "unripe" for point in series):
        return "unripe", "labels are still coming"
    if (measured := queries.newest_measured(series)) is not None:
        return measured.status, "no value could be beyond its limit"
    if not points.get("count"):
        return "no_data", "no predictions in this range" if chosen.newest else "no predictions yet"
    labelled = round(sum((one.value or 0.0) * one.n for one in points.get("label_coverage", ())))
    if labelled:
        return "insufficient", f"{labelled:,} label{'s' if labelled != 1 else ''}, too few to judge"
    return "no_data", "no labels yet"


def _drift_tile(drifted: dict[datetime, tuple[int, int]], newest: list[MetricPoint]) -> Tile:
    if not newest:
        return Tile("Drift", "no_data", "—", "no reference, or too few rows", [], "drift")
    worst = newest[0]
    moved, judged = drifted[worst.start]
    detail = f"features drifted {during(worst.start, worst.span)}"
    if moved:
        title = METRICS[worst.metric].title.lower()
        detail += (
            f"; most: {worst.feature}, {title} {format_number(worst.value or 0.0)}, {decision_of(worst)}"
        )
    shares = [part / whole for part, whole in drifted.values()]
    return Tile("Drift", "warning" if moved else "ok", f"{moved} of {judged}", detail, shares, "drift")


def _data_tile(faults: queries.QualityFaults) -> Tile:
    if not faults.by_window:
        return Tile("Data quality", "no_data", "—", "no rows to judge", [], "drift")
    newest = faults.newest
    worst = max(newest, key=lambda p: p.value or 0, default=None)
    status = "critical" if any(p.status == "critical" for p in newest) else "warning" if newest else "ok"
    detail = (
        f"{METRICS[worst.metric].title.lower()} in {worst.feature}: {worst.value:.1%}"
        if worst
        else "columns with faults"
    )
    return Tile("Data quality", status, str(len(newest)), detail, list(faults.by_window.values()), "drift")


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
    limit = f"limit {format_number(newest.threshold)} ms" if newest.threshold else "no limit set"
    detail = f"p99 on {_day_of(newest)}, {limit}"
    if p95 and p95.value is not None:
        of_another_day = f" on {_day_of(p95)}" if p95.start != newest.start else ""
        detail += f"; p95 {p95.value:.1f} ms{of_another_day}"
    return Tile(title, newest.status, f"{newest.value:.1f} ms", detail + errors, values, "latency")


def _day_of(point: MetricPoint) -> str:
    return f"{point.start:%-d %b}"


def _freshness_tile(model: Model, counts: list[MetricPoint], chosen: TimeRange) -> Tile:
    values = [point.value for point in counts]
    if chosen.newest is None:
        return Tile("Freshness", "no_data", "—", "no predictions yet", values, "performance")
    rows = "no rows in this range"
    if counts and counts[-1].value:
        so_far = "" if counts[-1].end <= event_now(model=model, now=now()) else " so far"
        rows = f"{counts[-1].value:,.0f} rows{so_far} on {_day_of(counts[-1])}"
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
        summary = f"{title}: newest {newest.value:.3f} {during(newest.start, newest.span)}."
    elif any(point.status == "unripe" for point in series):
        summary = f"{title}: labels are still coming, so no window is judged yet."
    else:
        summary = f"{title}: nothing measured yet."
    return Chart(
        id=main, title=title, summary=summary, start=chosen.start, end=chosen.end, marks=marks,
        series=[ChartLine(title, queries.dots(series))],
        spans=chart_marks.firing_spans(model, main, chosen.start, chosen.end),
        note=METRICS[main].direction,
    )  # fmt: skip


def drift_share_chart(
    model: Model, drifted: dict[datetime, tuple[int, int]], chosen: TimeRange, marks: list[Any]
) -> Chart:
    """Draw the share of features that drifted, a bar a window."""
    span = span_of(model, MonitorKind.DRIFT)
    dots = [
        Dot(start, end_of(start, span), moved / judged, judged, status="warning" if moved else "ok")
        for start, (moved, judged) in drifted.items()
    ]
    newest = dots[-1] if dots else None
    summary = (
        f"{newest.value:.0%} of features drifted {during(newest.start, span)}."
        if newest
        else "No drift was measured."
    )
    return Chart(
        id="drifted", title="Share of features that drifted", summary=summary, start=chosen.start, end=chosen.end,
        series=[ChartLine("drifted", dots, "second", bars=True)], marks=marks, from_zero=True, top=1.0, limits=False,
    )  # fmt: skip


def _top_features(model: Model, newest: list[MetricPoint], chosen: TimeRange) -> list[dict[str, Any]]:
    """The features that stand furthest beyond their limits on the newest judged day, with their course."""
    shown = newest[:TOP_FEATURES]
    courses = queries.courses(model, [point.feature for point in shown], chosen.start, chosen.end)
    return [{"point": point, "values": courses[point.feature]} for point in shown]


def _predictions(model: Model, chosen: TimeRange) -> Any:
    """What the model answers, against its reference: by score where there is one, else by answer; or why not."""
    newest = Period(chosen.end - queries.DAY * 8, chosen.end)
    reference = queries.reference_of(model, newest)
    if reference is None:
        return {"reason": "There is no reference to compare with."}
    for name, known in (("score", reference.summary.score), ("prediction", reference.summary.prediction)):
        days = column_reads.column_by_day(model, name, newest.start, newest.end) if known else []
        if known and days:
            return {"overlay": overlay_of(_answer_title(model, name), known, [day.column for day in days])}
    if reference.summary.score or reference.summary.prediction:
        return {"reason": "The last days of this range have no predictions."}
    lacks = "The reference holds no predictions to compare with."
    return {"reason": f"{lacks} Add the columns prediction and probability to it."}


def _answer_title(model: Model, name: str) -> str:
    champion = model.deployment.champion
    positive = (champion.signature or {}).get("positive_class") if champion else None
    if name != "score":
        return "Answer"
    others = "the answered class" if model.task == "multiclass" else "the positive class"
    return f"Probability of {positive or others}"


def csv_url(
    model: Model, metric: str, chosen: TimeRange, feature: str = "", span: str = "day", segment: str = ""
) -> str:
    """The address of the same points as CSV."""
    url = reverse("data_csv", args=[model.name])
    of_segment = f"&{urlencode({'segment': segment})}" if segment else ""
    return f"{url}{chosen.prefix}metric={metric}&feature={feature}&span={span}{of_segment}"


@page("GET")
def data_csv(request: PageRequest, name: str) -> HttpResponse:
    """One metric of the range as CSV, whatever role and version made it."""
    model = get_model(project=request.visitor.project, name=name)
    metric, feature = request.GET.get("metric", ""), request.GET.get("feature") or None
    segment = request.GET.get("segment", "")
    if metric not in (*METRICS, queries.DECISION):
        raise Http404
    chosen = range_of(request, model)
    if metric == queries.DECISION:
        points = queries.decisions_in(model, chosen.start, chosen.end, feature=feature, segment=segment)
    else:
        span = request.GET.get("span", "day")
        points = _points_of_every_role(model, metric, chosen, span, feature, segment)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{model.name}-{metric}.csv"'
    # In each window another statistic may decide: since when one of them is beyond its limit would say little.
    columns = [name for name in CSV_COLUMNS if metric != queries.DECISION or name != "since"]
    judge = PointJudge(model)
    judged = chain.from_iterable(judge.judge(some) for some in batched(points.iterator(), 1_000))
    rows = ([getattr(point, column) for column in columns] for point in judged)
    write_csv(response, chain([columns], rows))
    return response


def _points_of_every_role(
    model: Model, metric: str, chosen: TimeRange, span: str, feature: str | None, segment: str
) -> QuerySet[MetricPoint]:
    if not is_span(span):
        raise Problem(400, "unknown_span", f"{span[:40]!r} is not a span; use hour, day, week, month or 7d.")
    points = MetricPoint.objects.defer("detail").filter(
        model=model, metric=metric, span=span, segment=segment,
        start__gte=queries.first_start(chosen.start, span), start__lt=chosen.end,
    )  # fmt: skip
    points = points if feature is None else points.filter(feature=feature)
    return points.order_by("start", "role", "version", "feature")


# -- making a model ----------------------------------------------------------------------------------------------------
class ModelForm(forms.Form):
    name = forms.CharField(
        max_length=100, help_text="Letters, digits, dots and dashes, such as flight-delay."
    )
    task = forms.ChoiceField(
        choices=[c for c in ModelTask.choices if c[0] != "ranking"],
        help_text="Binary: one of two classes; multiclass: one of several; regression: a number.",
    )
    description = forms.CharField(max_length=500, required=False, help_text="What it predicts, in words.")
    autonomy = forms.ChoiceField(choices=Autonomy.choices, initial=Autonomy.APPROVE)
    label_lag_hours = forms.FloatField(
        required=False, min_value=0, label="Labels arrive within (hours)",
        help_text="Empty: learnt from the labels that arrive. Younger windows are not judged.",
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
                request, f"{model.name} is added. Upload a reference, or send its first prediction."
            )
            return redirect("reference", name=model.name)
    return render(request, "pages/models/model_new.html", {"form": form}, status=422 if form.errors else 200)
