"""The page of latency: is serving fast and right? Percentiles, throughput and errors of a range, and now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import Q, Sum
from django.db.models.functions import TruncDate
from django.http import HttpResponse
from django.shortcuts import render

from driftline.base.number_format import format_number, format_pair
from driftline.web.charts.svg import Chart, ChartLine, Mark
from driftline.web.pages import chart_marks, column_reads, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.serving_now import serving_now
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.timerange import TimeRange
from driftline.web.pages.verdict import PageSummary
from inference.prediction_log.models import ANSWERING_ROLES, PredictionChunk, RequestCount, SummedDay
from inference.registry.models import Model
from inference.registry.selectors import find_model
from inference.serving.counts.metrics import ANSWERED
from monitors.metrics.limits import JUDGED
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.traffic.request_log import request_outcomes
from monitors.metrics.traffic.request_metrics import REQUEST_METRICS
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers

LATENCIES = ("latency_p50", "latency_p95", "latency_p99")
OF_A_VERSION = (*LATENCIES, "queue_p95")
HOURLY_DAYS, MAX_HOURLY_DAYS = 3, 14
BUDGET = 0.01  # the share of answers that a p99 objective lets be slower
LIMITS_MS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0)
MAX_COLUMNS = 31
FAULT_WORDS = {
    "invalid": "The request could not be used: its values, its shape or its rights",
    "model": "The model failed on these values",
    "overloaded": "Too much was waiting, or the log was full",
    "late": "The caller's deadline passed",
    "upstream": "The server that answers for the version did not",
}


@page("GET")
def latency(request: PageRequest, name: str) -> HttpResponse:
    """Show the range; `?part=live` gives the part that is asked for again and again."""
    if request.GET.get("part") == "live":
        model = find_model(project=request.visitor.project, name=name)
        return render(request, "partials/serving_now.html", {"now": serving_now(model, settings.HOME)})
    frame = frame_of(request, name, "latency")
    model, chosen = frame["model"], frame["range"]
    span, points = _points(model, chosen, request.GET.get("span", ""))
    outcomes = request_outcomes(model=model, start=chosen.start, end=chosen.end)
    marks = chart_marks.marks_in(model, chosen.start, chosen.end)
    days = column_reads.latency_by_day(model, chosen.start, chosen.end)
    frame |= {
        "now": serving_now(model, settings.HOME),
        "span": span,
        "spans": ["day", "hour"] if chosen.days <= MAX_HOURLY_DAYS else ["day"],
        "latency": _latency_chart(model, points, chosen, marks, span),
        "errors": _error_chart(model, points.get("error_rate", []), chosen, marks, span),
        "waits": _wait_chart(model, points.get("queue_p95", []), chosen, marks, span),
        "drops": _drop_chart(model, points.get("shadow_drop_rate", []), chosen, marks, span),
        "throughput": volume_chart(model, points, chosen, marks, span),
        "faults": _faults(outcomes.values()),
        "versions": _versions(model, outcomes, chosen),
        "heat": _heat(days),
        "budget": _budget(model, days),
        "marks": list(reversed(marks)),
    }
    frame["uncounted"] = _uncounted(model, chosen) if frame["faults"].requests else 0
    frame["summary"] = _summary(model, points, frame["faults"], frame["budget"])
    return render_with_charts(request, "pages/quality/latency.html", frame)


def _points(model: Model, chosen: TimeRange, wanted_span: str) -> tuple[str, dict[str, list[MetricPoint]]]:
    """Read the points by the span that was asked for; else by the hour for a few days of enough traffic."""
    spans = (
        [wanted_span]
        if wanted_span in ("hour", "day")
        else ["hour", "day"]
        if chosen.days <= HOURLY_DAYS
        else ["day"]
    )
    if chosen.days > MAX_HOURLY_DAYS:
        spans = ["day"]
    for span in spans:
        points = queries.judged_points(
            model,
            [*LATENCIES, "count", *REQUEST_METRICS],
            chosen.start,
            chosen.end,
            span=span,
        )
        if queries.newest_judged(points.get("latency_p99", [])):
            break
    return span, points


# -- charts ------------------------------------------------------------------------------------------------------------
def _latency_chart(
    model: Model, points: dict[str, list[MetricPoint]], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart:
    looks = {"latency_p99": "main", "latency_p95": "second", "latency_p50": "third"}
    lines = [
        ChartLine(name.removeprefix("latency_"), queries.dots(points.get(name, [])), look)
        for name, look in looks.items()
    ]
    lines += queries.shadow_lines(_shadow_p99(model, chosen, span), "p99, ")
    newest = queries.newest_judged(points.get("latency_p99", []))
    summary = (
        f"99 % of answers took at most {format_number(newest.value)} ms {at(newest)}."
        if newest and newest.value is not None
        else "No latency was logged."
    )
    return Chart(
        id="latency", title="Latency", unit="ms", summary=summary, start=chosen.start, end=chosen.end, series=lines,
        marks=marks, spans=chart_marks.firing_spans(model, "latency_p99", chosen.start, chosen.end), from_zero=True,
        note="lower is better",
    )  # fmt: skip


def _shadow_p99(model: Model, chosen: TimeRange, span: str) -> dict[str, list[MetricPoint]]:
    points = MetricPoint.objects.filter(
        model=model, role="shadow", span=span, segment="", metric="latency_p99",
        start__gte=chosen.start, start__lt=chosen.end,
    ).order_by("version", "start")  # fmt: skip
    lines: dict[str, list[MetricPoint]] = {}
    for point in points:
        lines.setdefault(point.version, []).append(point)
    return lines


def _error_chart(
    model: Model, points: list[MetricPoint], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart:
    newest = queries.newest_judged(points)
    summary = "No request was counted in this range."
    if newest is not None and newest.value is not None:
        share = f"{newest.value:.2%}" if newest.value else "None"
        summary = f"{share} of {newest.n:,} requests that came {at(newest)} went unanswered."
    elif points:
        summary = "Too few requests for an error rate."
    return Chart(
        id="error_rate", title="Error rate", unit="share of requests", summary=summary, start=chosen.start,
        end=chosen.end, series=[ChartLine("not answered", queries.dots(points))], from_zero=True, marks=marks,
        spans=chart_marks.firing_spans(model, "error_rate", chosen.start, chosen.end), note="lower is better",
        compact=True, least_top=0.01,
    )  # fmt: skip


def _wait_chart(
    model: Model, points: list[MetricPoint], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart | None:
    """Draw how long requests waited for a run; None where none was counted."""
    if not points:
        return None
    newest = queries.newest_judged(points)
    summary = "Too few requests to say how long they wait."
    if newest is not None and newest.value is not None:
        within = (
            f"less than {format_number(newest.upper)} ms"
            if newest.upper is not None
            else "longer than can be counted"
        )
        summary = f"19 of 20 requests that came {at(newest)} waited {within} for a run."
    return Chart(
        id="queue_p95", title="Wait for a run, 95th percentile", unit="ms", summary=summary,
        start=chosen.start, end=chosen.end, series=[ChartLine("p95", queries.dots(points))], from_zero=True,
        marks=marks, spans=chart_marks.firing_spans(model, "queue_p95", chosen.start, chosen.end),
        note="lower is better", compact=True,
    )  # fmt: skip


def _drop_chart(
    model: Model, points: list[MetricPoint], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart | None:
    """Draw the share of copies that shadows dropped; None where nothing was copied."""
    if not points:
        return None
    newest = queries.newest_judged(points)
    summary = "Too few rows were copied for a share to say much."
    if newest is not None and newest.value is not None:
        share = f"{newest.value:.2%}" if newest.value else "None"
        summary = f"{share} of {newest.n:,} rows that were to be copied {at(newest)} were dropped."
    return Chart(
        id="shadow_drop_rate", title="Copies that shadows dropped", unit="share of rows", summary=summary,
        start=chosen.start, end=chosen.end, series=[ChartLine("dropped", queries.dots(points))], from_zero=True,
        marks=marks, spans=chart_marks.firing_spans(model, "shadow_drop_rate", chosen.start, chosen.end),
        note="lower is better", compact=True,
        least_top=0.01,
    )  # fmt: skip


def volume_chart(
    model: Model, points: dict[str, list[MetricPoint]], chosen: TimeRange, marks: list[Mark], span: str
) -> Chart:
    """Draw how many predictions were made, a bar a window."""
    dots = queries.dots(points.get("count", []))
    total = sum(dot.value or 0 for dot in dots)
    most = max(dots, key=lambda dot: dot.value or 0, default=None)
    summary = f"{total:,.0f} predictions in this range."
    if most is not None and most.value:
        rate = most.value / (most.end - most.start).total_seconds()
        summary = (
            f"{total:,.0f} predictions in this range; {format_number(rate)} a second in the busiest {span}."
        )
    return Chart(
        id="count", title=f"Predictions a{'n hour' if span == 'hour' else ' day'}", summary=summary,
        start=chosen.start, end=chosen.end, series=[ChartLine("predictions", dots, "second", bars=True)],
        from_zero=True, limits=False, marks=marks, compact=True,
    )  # fmt: skip


def at(point: MetricPoint) -> str:
    """Name a point's window within a sentence."""
    if point.span == "hour":
        return f"in the hour from {point.start:%-d %b %Y %H:%M} UTC"
    return f"on {point.start:%-d %b %Y}"


# -- errors and versions -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class FailureReasons:
    """Why requests of a range were not answered."""

    requests: int
    failed: int
    rows: list[tuple[str, str, int, float]]  # fault, words, requests, share of all requests

    @property
    def share(self) -> float:
        return self.failed / self.requests if self.requests else 0.0


def _faults(outcomes: Iterable[Counter[str]]) -> FailureReasons:
    together: Counter[str] = Counter()
    for counts in outcomes:
        together += counts
    requests = sum(together.values())
    failed = requests - together.pop(ANSWERED, 0)
    rows = [
        (fault, FAULT_WORDS.get(fault, fault.capitalize()), count, count / requests)
        for fault, count in together.most_common()
    ]
    return FailureReasons(requests, failed, rows)


def _uncounted(model: Model, chosen: TimeRange) -> int:
    """Count the predictions of days on which no request came: they were sent at another time than they are of.

    Requests are counted when they come, by this machine's clock, and predictions where their event time puts them.
    """
    came = RequestCount.objects.exclude(role="shadow").filter(
        model=model, hour__gte=chosen.start, hour__lt=chosen.end
    )
    days = set(came.annotate(day=TruncDate("hour", tzinfo=UTC)).values_list("day", flat=True).distinct())
    made = Q(model=model, role__in=ANSWERING_ROLES, day__gte=chosen.start.date(), day__lt=chosen.end.date())
    made &= ~Q(day__in=days)
    parts = PredictionChunk.objects.filter(made), SummedDay.objects.filter(made)  # stored, and dropped
    return sum(part.aggregate(total=Sum("rows"))["total"] or 0 for part in parts)


def _versions(
    model: Model, outcomes: dict[tuple[str, str], Counter[str]], chosen: TimeRange
) -> list[dict[str, Any]]:
    """Latency and errors of each version in each role, by its newest judged day."""
    points = MetricPoint.objects.exclude(version="").filter(
        model=model, span="day", segment="", metric__in=OF_A_VERSION, status__in=JUDGED, value__isnull=False,
        start__gte=chosen.start, start__lt=chosen.end,
    )  # fmt: skip
    newest: dict[tuple[str, str], dict[str, MetricPoint]] = {}
    for point in points.order_by("role", "version", "metric", "-start").distinct("role", "version", "metric"):
        newest.setdefault((point.role, point.version), {})[point.metric] = point
    return [
        {
            "role": role,
            "version": version,
            "points": [newest.get((role, version), {}).get(metric) for metric in OF_A_VERSION],
            "faults": _faults([outcomes[role, version]]) if (role, version) in outcomes else None,
        }
        for role, version in sorted({*newest, *outcomes})
    ]


# -- how latencies spread ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class HeatCell:
    """The share of a window's answers between two limits."""

    share: float
    look: str


@dataclass(frozen=True)
class Heat:
    """Answers by latency and day: a row for each pair of limits, the slowest first."""

    days: list[datetime]
    rows: list[tuple[str, list[HeatCell]]]


def _heat(days: Sequence[tuple[datetime, NumericSummary]]) -> Heat | None:
    """Share the answers of each of the last days out among limits of latency."""
    days = days[-MAX_COLUMNS:]
    if not days:
        return None
    edges = np.array([0.0, *LIMITS_MS, np.inf])
    shares = np.array([_histogram(summary, edges) / summary.n for _, summary in days])
    used = np.flatnonzero(shares.sum(0))
    rows = [
        (_limit_name(place), [HeatCell(share, _shade(share)) for share in shares[:, place]])
        for place in range(used.max(), used.min() - 1, -1)
    ]
    return Heat([day for day, _ in days], rows)


def _histogram(summary: NumericSummary, edges: Any) -> Any:
    """Count a day's latencies between limits; each belongs to the limit that it does not exceed."""
    counts = np.zeros(len(edges) - 1)
    np.add.at(counts, np.clip(np.searchsorted(edges, summary.positions) - 1, 0, None), summary.counts)
    return counts


def _limit_name(place: int) -> str:
    if place == 0:
        return f"to {LIMITS_MS[0]:g}"
    if place == len(LIMITS_MS):
        return f"beyond {LIMITS_MS[-1]:,.0f}"
    return f"{LIMITS_MS[place - 1]:g} to {LIMITS_MS[place]:,g}"


def _shade(share: float) -> str:
    return next((f"s{step}" for step, limit in enumerate((0.001, 0.05, 0.25, 0.6)) if share < limit), "s4")


# -- the objective -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ErrorBudget:
    """How many answers were slower than the objective allows one in a hundred to be."""

    objective_ms: float
    answers: int
    slower: int

    @property
    def share(self) -> float:
        return self.slower / self.answers

    @property
    def left(self) -> float:
        """The share of the budget that is left; negative once it is overspent."""
        return 1 - self.share / BUDGET

    @property
    def sentence(self) -> str:
        """Return what was allowed, what was used, and what is left."""
        slow_answers = (
            f"1 % of answers may take longer than {format_number(self.objective_ms)} ms; "
            f"of {self.answers:,} in this range {self.slower:,} did ({self.share:.2%})"
        )
        if self.left >= 0:
            return f"{slow_answers}, so {self.left:.0%} of the error budget is left."
        return f"{slow_answers}, {self.share / BUDGET:.1f} times the error budget."


def _budget(model: Model, days: Sequence[tuple[datetime, NumericSummary]]) -> ErrorBudget | None:
    objective = model.objectives.get("latency_p99_ms")
    if objective is None or not days:
        return None
    together = merge_numbers([summary for _, summary in days])
    slower = int(together.counts[together.positions > objective].sum())
    return ErrorBudget(float(objective), together.n, slower)


# -- the sentence ------------------------------------------------------------------------------------------------------
def _summary(
    model: Model, points: dict[str, list[MetricPoint]], faults: FailureReasons, budget: ErrorBudget | None
) -> PageSummary:
    """Return how p99 stands to its objective and since when, and how many requests had no answer."""
    series = points.get("latency_p99", [])
    newest = queries.newest_judged(series)
    firing = [one for one in queries.unresolved(model) if one.rule.metric in (*LATENCIES, "error_rate")]
    status, text = _latency_summary(newest, series)
    if status == "ok" and budget is not None and budget.left < 0:
        status, text = "warning", f"{text.removesuffix(': fine.')}; but the range is over its error budget."
    if firing:
        status = firing[0].severity
        text = f"{firing[0].title}, since {firing[0].since:%-d %b %Y}. {text}"
    return PageSummary(status, f"{text} {_errors_summary(faults)}")


def _latency_summary(newest: MetricPoint | None, series: list[MetricPoint]) -> tuple[str, str]:
    if newest is None or newest.value is None:
        if series:
            return "no_data", "Too few latencies were logged in this range to say how fast answers were."
        return "no_data", "No latency was logged in this range."
    if newest.threshold is None:
        value = f"p99 is {format_number(newest.value)} ms {at(newest)}"
        return "ok", f"{value}. No objective is set, so nothing says whether that is fast enough."
    p99, objective = format_pair(newest.value, newest.threshold)
    value = f"p99 is {p99} ms {at(newest)}"
    if newest.since is None:
        return "ok", f"{value}, objective {objective} ms: fine."
    return newest.status, f"{value}, beyond the objective of {objective} ms since {newest.since:%-d %b %Y}."


def _errors_summary(faults: FailureReasons) -> str:
    if not faults.requests:
        return "No requests to this server in this range, so errors are not known."
    if not faults.failed:
        return f"All {faults.requests:,} requests in this range succeeded."
    fault, _, count, _ = faults.rows[0]
    most = f"all of them {fault}" if count == faults.failed else f"most of them {fault}"
    return (
        f"{faults.failed:,} of {faults.requests:,} requests that came in this range ({faults.share:.2%}) were not "
        f"answered, {most}."
    )
