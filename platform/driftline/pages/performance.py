"""P5: how good is it, and how sure? With latency and throughput below."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from driftline.pages import queries
from driftline.pages.access import PageRequest, page
from driftline.pages.charts import Chart, Dot, Mark, Series
from driftline.pages.model import csv_url, frame_of
from driftline.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.metrics.catalogue import METRICS
from monitors.metrics.models import MetricPoint
from monitors.stats.outcomes import (
    BinaryOutcomeSummary,
    MulticlassOutcomeSummary,
    OutcomeSummary,
    RegressionOutcomeSummary,
)

SHOWN = {
    "binary": ("roc_auc", "log_loss", "accuracy"),
    "multiclass": ("accuracy", "log_loss", "f1"),
    "regression": ("mae", "rmse", "r2"),
}
LATENCIES = ("latency_p50", "latency_p95", "latency_p99")
WORST_SEGMENTS = 10


@page("GET")
def performance(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "performance")
    model, chosen = frame["model"], frame["range"]
    span = "hour" if request.GET.get("span") == "hour" and chosen.days <= 14 else "day"
    shown = SHOWN.get(model.task, SHOWN["binary"])
    wanted = {*_all_metrics(model), "label_coverage", *LATENCIES, "throughput", "count"}
    points = queries.by_metric(queries.points_in(model, wanted, chosen.start, chosen.end, span=span))
    outcomes = queries.outcomes_in(model, chosen.start, chosen.end)
    marks = queries.marks_in(model, chosen.start, chosen.end)
    shadows = _shadow_points(model, shown, chosen, span)
    baselines = _baselines(outcomes) if span == "day" else {}
    frame |= {
        "span": span,
        "charts": [
            _metric_chart(model, metric, points, shadows, baselines, chosen, marks, span) for metric in shown
        ],
        "coverage": _coverage_chart(model, points, chosen, marks, span),
        "latency": _latency_chart(model, points, shadows, chosen, marks, span),
        "throughput": _volume_chart(model, points, chosen, marks, span),
        "table": _newest_of_each(points, _all_metrics(model)),
        "outcomes": outcomes,
        "label_share": outcomes.labelled / outcomes.rows if outcomes.rows else None,
        "lag_p50": _duration(outcomes.lag_p50),
        "lag_p95": _duration(outcomes.lag_p95),
        "confusion": _confusion(model, outcomes.total),
        "bias": _bias(outcomes.total),
        "segments": _segments(model, shown[0], chosen),
        "segment_metric": shown[0],
        "said": _said(shown, points, outcomes),
        "marks": list(reversed(marks)),
    }
    return render(request, "pages/performance.html", frame)


def _all_metrics(model: Model) -> list[str]:
    shown = list(SHOWN.get(model.task, SHOWN["binary"]))
    rest = {
        "binary": ["precision", "recall", "f1", "brier"],
        "multiclass": ["precision", "recall"],
        "regression": ["bias"],
    }
    return shown + rest.get(model.task, [])


def _shadow_points(
    model: Model, shown: tuple[str, ...], chosen: TimeRange, span: str
) -> dict[tuple[str, str], list[MetricPoint]]:
    """Points of versions in the shadow, by metric and version."""
    found = MetricPoint.objects.filter(
        model=model, role="shadow", span=span, segment="", metric__in=[*shown, "latency_p99"],
        start__gte=chosen.start, start__lt=chosen.end,
    ).order_by("start")  # fmt: skip
    grouped: dict[tuple[str, str], list[MetricPoint]] = {}
    for point in found:
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
    said = (
        "No window has enough labelled rows to be judged."
        if measured
        else f"{title} was not measured in this range."
    )
    if newest and newest.value is not None:
        said = f"{title} {newest.value:.3f} on {newest.start:%-d %b %Y}" + (
            f", limit {newest.threshold:.3f}." if newest.threshold is not None else "."
        )
    lines = [Series("champion", queries.dots(own))]
    lines += [
        Series(f"version {version} in the shadow", queries.dots(rows), "shadow")
        for (name, version), rows in shadows.items()
        if name == metric
    ]
    if baselines.get(metric):
        lines.append(Series("baseline", baselines[metric], "baseline"))
    return Chart(
        id=metric, title=title, summary=said, start=chosen.start, end=chosen.end, series=lines, marks=marks,
        spans=queries.firing_spans(model, metric, chosen.start, chosen.end),
        csv_url=csv_url(model, metric, chosen, span=span),
        note="lower is better" if METRICS[metric].lower_is_better else "higher is better",
    )  # fmt: skip


def _coverage_chart(
    model: Model, points: dict[str, list[MetricPoint]], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart:
    dots = queries.dots(points.get("label_coverage", []))
    newest = dots[-1] if dots else None
    said = (
        f"{newest.value:.0%} of the newest window's rows have a label."
        if newest and newest.value is not None
        else "No labels yet."
    )
    return Chart(
        id="label_coverage", title="Label coverage", summary=said, start=chosen.start, end=chosen.end, compact=True,
        series=[Series("share of rows with a label", dots, "second", bars=True)], from_zero=True, top=1.0,
        limits=False, csv_url=csv_url(model, "label_coverage", chosen, span=span),
        marks=[m for m in marks if m.kind == "deploy"],
    )  # fmt: skip


def _latency_chart(
    model: Model,
    points: dict[str, list[MetricPoint]],
    shadows: dict[tuple[str, str], list[MetricPoint]],
    chosen: TimeRange,
    marks: list[Mark],
    span: str,
) -> Chart:
    looks = {"latency_p99": "main", "latency_p95": "second", "latency_p50": "third"}
    lines = [
        Series(name.removeprefix("latency_"), queries.dots(points.get(name, [])), look)
        for name, look in looks.items()
    ]
    lines += [
        Series(f"p99, version {version} in the shadow", queries.dots(rows), "shadow")
        for (name, version), rows in shadows.items()
        if name == "latency_p99"
    ]
    newest = queries.newest_judged(points.get("latency_p99", []))
    said = (
        f"99 % of answers took at most {newest.value:.3g} ms on {newest.start:%-d %b %Y}."
        if newest
        else "No latency was logged."
    )
    return Chart(
        id="latency", title="Latency", unit="ms", summary=said, start=chosen.start, end=chosen.end, series=lines,
        marks=marks, from_zero=True, csv_url=csv_url(model, "latency_p99", chosen, span=span), note="lower is better",
    )  # fmt: skip


def _volume_chart(
    model: Model, points: dict[str, list[MetricPoint]], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart:
    dots = queries.dots(points.get("count", []))
    total = sum(dot.value or 0 for dot in dots)
    return Chart(
        id="count", title=f"Predictions a{'n hour' if span == 'hour' else ' day'}",
        summary=f"{total:,.0f} predictions in this range.", start=chosen.start, end=chosen.end,
        series=[Series("predictions", dots, "second", bars=True)], from_zero=True, limits=False, marks=marks,
        csv_url=csv_url(model, "count", chosen, span=span), compact=True,
    )  # fmt: skip


# -- baseline ----------------------------------------------------------------------------------------------------------
def _baselines(outcomes: queries.Outcomes) -> dict[str, list[Dot]]:
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
        return {"accuracy": max(shares, default=0.0), "log_loss": _entropy(shares)}
    return {"rmse": math.sqrt(outcome.label_spread / outcome.n), "r2": 0.0}


def _entropy(shares: list[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)


# -- tables ------------------------------------------------------------------------------------------------------------
def _newest_of_each(points: dict[str, list[MetricPoint]], names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        newest = queries.newest_judged(points.get(name, []))
        if newest:
            rows.append(
                {"point": newest, "values": [p.value for p in points[name] if p.status in queries.JUDGED]}
            )
    return rows


def _confusion(model: Model, outcome: OutcomeSummary | None) -> dict[str, Any] | None:
    if isinstance(outcome, BinaryOutcomeSummary):
        classes = _binary_classes(model)
        return {
            "classes": classes,
            "rows": _with_shares(classes, [[outcome.tp, outcome.fn], [outcome.fp, outcome.tn]]),
        }
    if isinstance(outcome, MulticlassOutcomeSummary) and len(outcome.classes) <= 12:
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


def _segments(model: Model, metric: str, chosen: TimeRange) -> list[MetricPoint]:
    sign = -1 if METRICS[metric].lower_is_better else 1
    found = queries.segment_points(model, metric, chosen.start, chosen.end)
    return sorted(found, key=lambda point: sign * (point.value or 0.0))[:WORST_SEGMENTS]


def _duration(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None else None


def _said(shown: tuple[str, ...], points: dict[str, list[MetricPoint]], outcomes: queries.Outcomes) -> str:
    """Name the main metric, its interval, since when it is beyond its limit, and how many labels say so."""
    series = points.get(shown[0], [])
    newest = queries.newest_judged(series)
    if newest is None or newest.value is None:
        if outcomes.labelled:
            return f"{outcomes.labelled:,} labels have come; no window has enough of them to be judged yet."
        return "No label has come in this range, so nothing can be said about how right the answers were."
    interval = (
        f" (95 % interval {newest.lower:.3f} to {newest.upper:.3f})"
        if newest.lower is not None and newest.upper is not None
        else ""
    )
    text = f"{METRICS[shown[0]].title} is {newest.value:.3f}{interval} on {newest.start:%-d %b %Y}"
    if newest.threshold is not None:
        since = _beyond_since(series)
        text += f", limit {newest.threshold:.3f}"
        text += f"; beyond it since {since:%-d %b %Y}" if since else "; within it"
    return f"{text}. {outcomes.labelled:,} of {outcomes.rows:,} predictions have a label."


def _beyond_since(series: list[MetricPoint]) -> datetime | None:
    since = None
    for point in reversed([p for p in series if p.status in queries.JUDGED]):
        if point.status == "ok":
            break
        since = point.start
    return since
