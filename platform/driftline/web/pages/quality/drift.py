"""The page of drift: which features moved, and when?"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpResponse

from driftline.base.errors import Problem
from driftline.base.periods import counted, end_of, overlap, window
from driftline.operations.long_work import wait_of
from driftline.web.charts.heat_map import HeatMap, HeatMapRow, heat_map
from driftline.web.charts.svg import Chart, ChartLine, Mark
from driftline.web.pages import chart_marks, column_reads, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import COLUMN_METRICS, csv_url, drift_share_chart, frame_of
from driftline.web.pages.quality.segment_searches import grown_segments
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import Model
from inference.vector_names import vectors_in
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.definitions.services import drift_method
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS
from monitors.metrics.evidence import evidence_sentence
from monitors.metrics.limits import RAISED, PointJudge, is_drifted
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.selectors import joint_rows
from monitors.metrics.store.models import MetricPoint
from monitors.stats.drift.judging import Method
from monitors.stats.mergeable.sketches import NumericSummary

DECISION_TITLE = "Deciding statistic"
LISTED_SEGMENTS = 50
NO_SLOW_DRIFT = "The windows add up to no slow drift; one that is beyond its own limit counts by itself"
"""True also among windows that drift: where most are beyond their limits, there is no evidence of many."""
KINDS = {"": "any", "number": "numbers", "category": "categories", "vector": "vectors"}


@page("GET")
def drift(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "drift")
    model, chosen = frame["model"], frame["range"]
    metric = _metric(request)
    kind_of_windows = METRICS[metric].kind if metric in METRICS else MonitorKind.DRIFT
    span = span_of(model, kind_of_windows)
    by_segment = queries.drift_by_segment(model, chosen.start, chosen.end)
    segment = request.GET.get("segment", "")
    names = [one.segment for one in by_segment]
    points = PointJudge(model, looks_back=False).judge(_stored(model, metric, chosen, span, segment))
    newest = window(chosen.last_day, span)
    reference, asked_for = queries.reference_of(model, newest), queries.newest_reference(model)
    heat = heat_map(
        model, points, reference, chosen, span, links=not segment
    )  # a feature's page is of all rows
    marks = chart_marks.marks_in(model, chosen.start, chosen.end)
    dimensions = column_reads.vector_dimensions(model)
    wanted = request.GET.get("feature", "").strip().lower()
    kind = request.GET.get("kind", "")
    frame |= {
        "judged_by": queries.judged_by(model, [kind_of_windows], chosen.newest),
        "span": span,
        "metric": metric,
        "title": METRICS[metric].title if metric in METRICS else DECISION_TITLE,
        "metrics": [
            (queries.DECISION, DECISION_TITLE),
            *((name, METRICS[name].title) for name in COLUMN_METRICS),
        ],
        "without_verdict": _without_verdict(heat.rows),
        "rows": [
            replace(row, dimension=dimensions.get(row.feature))
            for row in heat.rows
            if wanted in row.feature.lower() and kind in ("", _kind_of(reference, row.feature))
        ],
        "kind": kind,
        "kinds": KINDS,
        "days": heat.days,
        "wanted": wanted,
        "false_discovery_rate": Method(drift_method(model)).false_discovery_rate,
        "drift_segment": segment,
        "kept_query": f"&{urlencode({'segment': segment})}" if segment else "",
        "by_segment": by_segment[:LISTED_SEGMENTS],
        "segments": [(name, name or "all rows") for name in sorted({"", segment, *names})],
        "share": drift_share_chart(
            model, queries.drifted_by_window(model, chosen.start, chosen.end, segment), chosen, marks
        ),
        "evidence": evidence_chart(model, "drift_evidence", chosen, segment=segment),
        "reference": asked_for,
        "wait_of_reference": wait_of(asked_for) if asked_for and not reference else None,
        "in_use": reference,
        "in_use_until": reference and reference.period and reference.period.end - timedelta(microseconds=1),
        "together": _together(model, chosen, segment),
        "alone": [row.feature for row in heat.rows if row.newest and is_drifted(row.newest)],
        "summary": _summary(heat, span),
        "status": _status(heat.rows),
        "csv_url": csv_url(model, metric, chosen, span=span, segment=segment),
        **grown_segments(model, chosen),
        "marked": _with_deployments(heat.days, span, marks),
    }
    return render_with_charts(request, "pages/quality/drift.html", frame)


def _with_deployments(starts: Sequence[datetime], span: str, marks: Sequence[Mark]) -> set[datetime]:
    """List the windows in which another version began to answer: of windows that roll, those that end with its day."""
    moments = [mark.at for mark in marks if mark.kind == "deploy"]
    return {
        start
        for start in starts
        if any(start + overlap(span) <= moment < end_of(start, span) for moment in moments)
    }


def _metric(request: PageRequest) -> str:
    metric = request.GET.get("metric") or queries.DECISION
    if metric != queries.DECISION and metric not in COLUMN_METRICS:
        names = ", ".join((queries.DECISION, *COLUMN_METRICS))
        raise Problem(400, "unknown_metric", f"{metric[:40]!r} is not a drift metric; use {names}.")
    return metric


def _stored(model: Model, metric: str, chosen: TimeRange, span: str, segment: str) -> QuerySet[MetricPoint]:
    """Select what the cells show: of each feature what decided, or one metric."""
    if metric == queries.DECISION:
        return queries.decisions_in(model, chosen.start, chosen.end, segment=segment)
    points = queries.points_in(model, [metric], chosen.start, chosen.end, span=span, segment=segment)
    return points.defer("detail")


def _without_verdict(rows: Sequence[HeatMapRow]) -> dict[str, list[str]]:
    """List the features that the newest window cannot tell anything of, by the advice what would."""
    without_verdict: dict[str, list[str]] = {}
    for row in rows:
        advice = row.advice
        if advice:
            without_verdict.setdefault(advice, []).append(row.feature)
    return without_verdict


def _kind_of(reference: LoadedReference | None, name: str) -> str:
    if reference and name in vectors_in(reference.summary.features):
        return "vector"
    column = column_reads.column_of(reference.summary, name) if reference else None
    return "" if column is None else "number" if isinstance(column, NumericSummary) else "category"


def _together(model: Model, chosen: TimeRange, segment: str) -> dict[str, Any]:
    """Return what all features say together, with the day that it is of."""
    found = joint_rows(model=model, start=chosen.start, end=chosen.end, segment=segment)
    return found | {"day": date.fromisoformat(found["items"][0]["day"]) if found["items"] else None}


def _status(rows: list[HeatMapRow]) -> str:
    newest = [row.newest for row in rows if row.newest and row.feature not in ANSWER_COLUMNS]
    if not newest:
        return "no_data"
    return "warning" if any(is_drifted(point) or point.status in RAISED for point in newest) else "ok"


def _summary(heat: HeatMap, span: str) -> str:
    features = [row for row in heat.rows if row.feature not in ANSWER_COLUMNS]
    moved = [row for row in features if row.drifted]
    if not features:
        return ""
    if not moved:
        return f"None of {len(features)} features drifted in these {counted(len(heat.days), span)}."
    names = ", ".join(row.feature for row in moved[:3])
    now = sum(row.newest is not None and is_drifted(row.newest) for row in features)
    return (
        f"{len(moved)} of {len(features)} features drifted at some time in these {counted(len(heat.days), span)}, "
        f"{now} on the newest one; most often {names}."
    )


def evidence_chart(
    model: Model, metric: str, chosen: TimeRange, feature: str = "", segment: str = ""
) -> Chart | None:
    """The evidence of successive windows beside its limit; None where no window has any.

    The windows are those that drift is judged by, or days where drift is judged by windows that are not added up.
    """
    spans = dict.fromkeys([span_of(model, MonitorKind.DRIFT), "day"])
    of_spans = (
        list(
            queries.points_in(
                model, [metric], chosen.start, chosen.end, span=span, feature=feature, segment=segment
            )
        )
        for span in spans
    )
    points = next(filter(None, of_spans), [])
    if not points:
        return None
    newest = points[-1]
    sentence = evidence_sentence(metric, newest.value, newest.detail or {}, newest.end - newest.start)
    return Chart(
        id="evidence", title="Evidence of slow drift", unit=METRICS[metric].unit,
        summary=f"{sentence or NO_SLOW_DRIFT}.",
        start=chosen.start, end=chosen.end, series=[ChartLine("evidence", queries.dots(points))], from_zero=True,
        marks=chart_marks.marks_in(model, chosen.start, chosen.end),
        note="lower is better",
    )  # fmt: skip
