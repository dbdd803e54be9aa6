"""The page of performance: how good is the model, and how sure is that?"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpResponse

from driftline.base.periods import Period, during
from driftline.web.charts.histograms import overlay_of
from driftline.web.charts.svg import Chart, ChartLine, Dot, Mark, Overlay, milestones
from driftline.web.pages import chart_marks, column_reads, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.comparison import compare_performance
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.quality.label_arrival import coverage_by_class, lag_chart
from driftline.web.pages.quality.latency import MAX_HOURLY_DAYS, volume_chart
from driftline.web.pages.quality.reliability import reliability_of
from driftline.web.pages.quality.segment_searches import found_segments
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.answers.fairness import COMPARED
from monitors.metrics.catalogue import ESTIMATED, METRICS
from monitors.metrics.limits import JUDGED
from monitors.metrics.store.models import MetricPoint
from monitors.stats.mergeable.outcomes import (
    BinaryOutcomeSummary,
    MulticlassOutcomeSummary,
    OutcomeSummary,
    RegressionOutcomeSummary,
)
from monitors.stats.performance.class_averages import classes_apart
from monitors.stats.performance.estimate import Estimate

WORST_SEGMENTS = 10
MAX_CLASSES = 12  # of which a confusion matrix can be read


@page("GET")
def performance(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "performance")
    model, chosen = frame["model"], frame["range"]
    judged = span_of(model, MonitorKind.PERFORMANCE)
    spans = [*dict.fromkeys([judged, "day"]), *(["hour"] if chosen.days <= MAX_HOURLY_DAYS else [])]
    span = wanted if (wanted := request.GET.get("span")) in spans else judged
    shown = queries.SHOWN_METRICS[model.task]
    metrics = {*queries.performance_metrics(model), *ESTIMATED, "label_coverage"}
    points = queries.judged_points(model, metrics, chosen.start, chosen.end, span=span)
    counted_by = span if span == "hour" else "day"
    counts = queries.judged_points(model, ["count"], chosen.start, chosen.end, span=counted_by)
    outcomes = column_reads.outcomes_in(model, chosen.start, chosen.end)
    marks = chart_marks.marks_in(model, chosen.start, chosen.end)
    shadows = _shadow_points(model, shown, chosen, span)
    baselines = _baselines(outcomes) if span == "day" else {}
    frame |= {
        "judged_by": queries.judged_by(model, [MonitorKind.PERFORMANCE], chosen.newest),
        "span": span,
        "spans": spans,
        "charts": [
            _metric_chart(model, metric, points, shadows, baselines, chosen, marks, span) for metric in shown
        ],
        "coverage": _coverage_chart(model, points, chosen, marks, span),
        "lag": lag_chart(model, chosen, marks, span),
        "coverage_by_class": coverage_by_class(model, chosen, span),
        "throughput": volume_chart(model, counts, chosen, marks, counted_by),
        "table": _newest_of_each(points, queries.performance_metrics(model)),
        "outcomes": outcomes,
        "label_share": outcomes.labelled / outcomes.rows if outcomes.rows else None,
        "lag_p50": _duration(outcomes.lag_p50),
        "lag_p95": _duration(outcomes.lag_p95),
        "confusion": _confusion(model, outcomes.total),
        "classes": _classes(outcomes.total),
        "errors": _errors(model, outcomes.total, chosen),
        "curve": reliability_of(outcomes.total, f"class {_binary_classes(model)[0]}"),
        "estimates": _estimates(points),
        "bias": _bias(outcomes.total),
        "segments": _segments(model, shown[0], chosen),
        "segment_metric": shown[0],
        "gaps": _gaps(model, chosen),
        "comparison": compare_performance(request, model, chosen),
        **found_segments(model, chosen, request.GET.get("loss", "")),
        "summary": _summary(shown, points, outcomes),
        "marks": list(reversed(marks)),
    }
    return render_with_charts(request, "pages/quality/performance.html", frame)


def _shadow_points(
    model: Model, shown: tuple[str, ...], chosen: TimeRange, span: str
) -> dict[tuple[str, str], list[MetricPoint]]:
    """Points of versions in the shadow, by metric and version."""
    points = MetricPoint.objects.filter(
        model=model, role="shadow", span=span, segment="", metric__in=shown,
        start__gte=queries.first_start(chosen.start, span), start__lt=chosen.end,
    ).order_by("start")  # fmt: skip
    grouped: dict[tuple[str, str], list[MetricPoint]] = {}
    for point in points:
        grouped.setdefault((point.metric, point.version), []).append(point)
    return grouped


def _metric_chart(
    model: Model,
    metric: str,
    points: dict[str, list[MetricPoint]],
    shadows: dict[tuple[str, str], list[MetricPoint]],
    baselines: dict[str, list[Dot]],
    chosen: TimeRange,
    marks: list[Mark],
    span: str,
) -> Chart:
    title, own = METRICS[metric].title, points.get(metric, [])
    newest = queries.newest_judged(own)
    measured = any(point.value is not None for point in own)
    summary = (
        "No window has enough labelled rows to be judged."
        if measured
        else f"{title} was not measured in this range."
    )
    if newest and newest.value is not None:
        summary = f"{title} {newest.value:.3f} {during(newest.start, newest.span)}" + (
            f", limit {newest.threshold:.3f}." if newest.threshold is not None else "."
        )
    estimates = points.get(f"estimated_{metric}", [])
    if estimates and (guess := _estimate_summary(estimates)):
        summary = f"{summary} {guess}"
    lines = [ChartLine("champion", queries.dots(own))]
    if any(point.value is not None for point in estimates):
        lines.append(ChartLine("estimated without labels", queries.dots(estimates), "estimate"))
    lines += queries.shadow_lines(
        {version: rows for (name, version), rows in shadows.items() if name == metric}
    )
    if baselines.get(metric):
        lines.append(ChartLine("baseline", baselines[metric], "baseline"))
    return Chart(
        id=metric, title=title, summary=summary, start=chosen.start, end=chosen.end, series=lines, marks=marks,
        spans=chart_marks.firing_spans(model, metric, chosen.start, chosen.end),
        note=METRICS[metric].direction,
    )  # fmt: skip


def _estimate_summary(estimates: list[MetricPoint]) -> str:
    newest = next((point for point in reversed(estimates) if point.value is not None), None)
    if newest is None:
        return ""
    sentence = f"Estimated {newest.value:.3f} {during(newest.start, newest.span)}"
    return (
        f"{sentence}, but such estimates were unreliable."
        if newest.status == "unreliable"
        else f"{sentence}."
    )


def _coverage_chart(
    model: Model, points: dict[str, list[MetricPoint]], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart:
    dots = queries.dots(points.get("label_coverage", []))
    newest = dots[-1] if dots else None
    summary = (
        f"{newest.value:.0%} of the newest window's rows have a label."
        if newest and newest.value is not None
        else "No labels yet."
    )
    return Chart(
        id="label_coverage", title="Label coverage", summary=summary, start=chosen.start, end=chosen.end, compact=True,
        series=[ChartLine("share of rows with a label", dots, "second", bars=True)], from_zero=True, top=1.0,
        limits=False,
        marks=milestones(marks),
    )  # fmt: skip


# -- baseline ----------------------------------------------------------------------------------------------------------
def _baselines(outcomes: column_reads.Outcomes) -> dict[str, list[Dot]]:
    """What always giving the same answer would have reached on each day: the majority class, or its rate."""
    lines: dict[str, list[Dot]] = {}
    for start, outcome in outcomes.by_day.items():
        for metric, value in _baseline(outcome).items():
            lines.setdefault(metric, []).append(Dot(start, start + timedelta(days=1), value, outcome.n))
    return lines


def _baseline(outcome: OutcomeSummary) -> dict[str, float]:
    if not outcome.n:
        return {}
    if isinstance(outcome, BinaryOutcomeSummary):
        rate = (outcome.tp + outcome.fn) / outcome.n
        return {"accuracy": max(rate, 1 - rate), "log_loss": _entropy([rate, 1 - rate]), "roc_auc": 0.5}
    if isinstance(outcome, MulticlassOutcomeSummary):
        shares = [float(share) for share in outcome.confusion.sum(axis=1) / max(outcome.n, 1)]
        return {"accuracy": max(shares, default=0.0), "log_loss": _entropy(shares), "roc_auc": 0.5}
    return {"rmse": math.sqrt(outcome.label_spread / outcome.n), "r2": 0.0}


def _entropy(shares: list[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)


# -- tables ------------------------------------------------------------------------------------------------------------
def _newest_of_each(points: dict[str, list[MetricPoint]], names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        newest = queries.newest_measured(points.get(name, []))
        if newest:
            values = [p.value for p in points[name] if p.status in JUDGED]
            rows.append({"point": newest, "values": values, "method": _method(newest)})
    return rows


def _method(point: MetricPoint) -> str:
    """Return how an interval was made, what the metric leaves out, and why its limit says nothing."""
    detail = point.detail or {}
    method = str(detail.get("method", ""))
    if detail.get("blocks"):
        method = f"jackknife over {detail['blocks']} {'hours' if point.span == 'day' else 'days'}"
    if detail.get("zero_labels"):
        method += f"; {detail['zero_labels']:,} zero labels left out"
    if left_out := detail.get("classes_left_out"):
        method += f"; {left_out:,} class{'' if left_out == 1 else 'es'} without labelled rows left out"
    if detail.get("below_chance"):
        method += f"; {BELOW_CHANCE}"
    if point.status == "not_informative":
        method += (
            f"{'; ' if method else ''}no value could be beyond this limit: days of the reference were as bad"
        )
    return method


@dataclass(frozen=True)
class Estimates:
    """The newest estimate of each metric, and what they are made from; or why there are none."""

    points: list[MetricPoint]
    basis: str
    reason: str = ""


def _estimates(points: dict[str, list[MetricPoint]]) -> Estimates | None:
    series = [points[name] for name in ESTIMATED if points.get(name)]
    newest = [
        point
        for own in series
        if (point := next((p for p in reversed(own) if p.value is not None), None)) is not None
    ]
    if newest:
        return Estimates(newest, _basis(newest[0]))
    reasons = [str((point.detail or {}).get("why", "")) for own in series for point in reversed(own)]
    reason = next((reason for reason in reasons if reason), "")
    return Estimates([], "", reason) if reason else None


def _basis(estimate: MetricPoint) -> str:
    """Return what an estimate is made from, and what it cannot tell."""
    detail = estimate.detail or {}
    match detail.get("estimated_by"):
        case "features":
            sentence = (
                "Estimated from the features: the mean errors of the reference's rows with similar features."
            )
        case "prediction":
            sentence = (
                "Estimated from the size of the prediction: the mean errors of the reference's predictions of the same "
                "size. They cannot tell what moves the error and not the prediction."
            )
        case _:
            return (
                "Probabilities, calibrated on the reference, stand for labels. They cannot tell when labels "
                "change their meaning."
            )
    return f"{sentence} {detail.get('why', '')}".rstrip()


@dataclass(frozen=True)
class ClassRow:
    """One class of several: how many rows were it, were answered so, and how well."""

    name: str
    estimates: list[Estimate]
    labelled: int
    answered: int


def _classes(outcome: OutcomeSummary | None) -> list[ClassRow]:
    if not isinstance(outcome, MulticlassOutcomeSummary):
        return []
    rows = [
        ClassRow(
            name,
            list(measured.values()),
            measured["class_recall"].n,
            measured["class_precision"].n,
        )
        for name, measured in classes_apart(outcome).items()
    ]
    return sorted(rows, key=lambda row: -row.labelled)


def _confusion(model: Model, outcome: OutcomeSummary | None) -> dict[str, Any] | None:
    if isinstance(outcome, BinaryOutcomeSummary):
        classes = _binary_classes(model)
        return {
            "classes": classes,
            "rows": _with_shares(classes, [[outcome.tp, outcome.fn], [outcome.fp, outcome.tn]]),
        }
    if isinstance(outcome, MulticlassOutcomeSummary) and len(outcome.classes) <= MAX_CLASSES:
        return {
            "classes": outcome.classes,
            "rows": _with_shares(list(outcome.classes), outcome.confusion.tolist()),
        }
    return None


def _with_shares(classes: list[str], table: list[list[int]]) -> list[tuple[str, list[tuple[int, float]]]]:
    return [
        (name, [(cell, cell / (sum(cells) or 1)) for cell in cells])
        for name, cells in zip(classes, table, strict=True)
    ]


def _binary_classes(model: Model) -> list[str]:
    signature = (model.deployment.champion.signature or {}) if model.deployment.champion else {}
    positive = signature.get("positive_class") or "1"
    others = [name for name in signature.get("classes", []) if name != positive]
    return [positive, others[0] if others else "0"]


@dataclass(frozen=True)
class Bias:
    """The mean of what was said against the mean of what happened."""

    predicted: float
    observed: float


def _bias(outcome: OutcomeSummary | None) -> Bias | None:
    if isinstance(outcome, BinaryOutcomeSummary) and outcome.n:
        return Bias((outcome.tp + outcome.fp) / outcome.n, (outcome.tp + outcome.fn) / outcome.n)
    if isinstance(outcome, RegressionOutcomeSummary) and outcome.n:
        return Bias(outcome.label_mean + outcome.error.mean, outcome.label_mean)
    return None


def _errors(model: Model, outcome: OutcomeSummary | None, chosen: TimeRange) -> Overlay | None:
    """Lay the sizes of a regression's errors over those that the reference shows."""
    if not isinstance(outcome, RegressionOutcomeSummary):
        return None
    reference = queries.reference_of(model, Period(chosen.start, chosen.end))
    known = reference.summary.outcome if reference else None
    if not isinstance(known, RegressionOutcomeSummary):
        return None
    return overlay_of("Absolute error", known.magnitude, [outcome.magnitude])


def _segments(model: Model, metric: str, chosen: TimeRange) -> list[MetricPoint]:
    sign = -1 if METRICS[metric].lower_is_better else 1
    points = queries.segment_points(model, metric, chosen.start, chosen.end)
    return sorted(points, key=lambda point: sign * (point.value or 0.0))[:WORST_SEGMENTS]


def _gaps(model: Model, chosen: TimeRange) -> list[MetricPoint]:
    """The newest gap of each metric between the groups of each segment's feature."""
    names = [f"{name}_gap" for name in COMPARED]
    span = span_of(model, MonitorKind.PERFORMANCE)
    points = queries.points_in(model, names, chosen.start, chosen.end, span=span).filter(value__isnull=False)
    newest = {(point.metric, point.feature): point for point in points}
    return [newest[key] for key in sorted(newest)]


def _duration(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None else None


BELOW_CHANCE = (
    "below 0.5, as if the probability were that of the other class: see the positive class in Settings, or of several "
    "classes their order in the version"
)


def _summary(
    shown: tuple[str, ...], points: dict[str, list[MetricPoint]], outcomes: column_reads.Outcomes
) -> str:
    """Name the main metric, its interval, since when it is beyond its limit, and how many labels say so."""
    series = points.get(shown[0], [])
    newest = queries.newest_judged(series)
    if newest is None or newest.value is None:
        if outcomes.labelled:
            return f"{outcomes.labelled:,} labels arrived; no window has enough of them to be judged yet."
        guess = _estimate_summary(points.get(f"estimated_{shown[0]}", []))
        if guess:
            return f"No labels in this range. {METRICS[shown[0]].title}: {guess[0].lower()}{guess[1:]}"
        return "No labels in this range, so performance is not known."
    interval = (
        f" (95 % interval {newest.lower:.3f} to {newest.upper:.3f})"
        if newest.lower is not None and newest.upper is not None
        else ""
    )
    text = f"{METRICS[shown[0]].title} is {newest.value:.3f}{interval} {during(newest.start, newest.span)}"
    if newest.threshold is not None:
        since = newest.since
        text += f", limit {newest.threshold:.3f}"
        text += f"; beyond it without a break since {since:%-d %b %Y}" if since else "; within it"
    if (newest.detail or {}).get("below_chance"):
        text += f"; {BELOW_CHANCE}"
    return f"{text}. {outcomes.labelled:,} of {outcomes.rows:,} predictions have a label."
