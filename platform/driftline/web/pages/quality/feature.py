"""The page of a feature: what exactly changed in it?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from driftline.base.errors import Problem
from driftline.base.number_format import format_number
from driftline.base.periods import Period, dated, during, end_of, floor, rfc3339
from driftline.web.charts.histograms import overlay_of
from driftline.web.charts.svg import Chart, ChartLine, Dot, milestones
from driftline.web.pages import chart_marks, column_reads, queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.comparison import compare_feature
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.quality.drift import evidence_chart
from driftline.web.pages.quality.expectations import SuggestedRange, suggested_ranges
from driftline.web.pages.rendering import render_with_charts
from driftline.web.pages.templatetags.figures import decision_of, figure, measured, percent
from driftline.web.pages.timerange import TimeRange, window_of
from inference.prediction_log.queries.viewing import record_view
from inference.prediction_log.rows_kept import RowsNotKept
from inference.registry.models import Model, RowsKept
from inference.vector_names import norm_of
from monitors.definitions.expectations import schema_of
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.catalogue import ANSWER_COLUMNS, DRIFT_METRICS, METRICS, QUALITY_METRICS
from monitors.metrics.inputs.impossible import METRIC as IMPOSSIBLE
from monitors.metrics.limits import JUDGED, NOT_SIGNIFICANT, RAISED, PointJudge, is_drifted
from monitors.metrics.rows.changed_examples import ChangedExamples, changed_examples
from monitors.metrics.rows.value_losses import ValueLosses, value_losses
from monitors.metrics.store.models import MetricPoint
from monitors.stats.drift.in_words import describe_change
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary

MAX_MOVERS = 8
METRICS_OF = {MonitorKind.DRIFT: DRIFT_METRICS, MonitorKind.QUALITY: QUALITY_METRICS}


@dataclass(frozen=True)
class ShownWindow:
    """A window that one monitor judges, and what was measured of the feature in it."""

    start: datetime
    span: str
    points: Sequence[MetricPoint]

    @property
    def period(self) -> Period:
        return Period(self.start, end_of(self.start, self.span))

    @property
    def name(self) -> str:
        return dated(self.start, self.span)

    @property
    def rows_query(self) -> str:
        """The parameters that show the window's rows on the page of predictions."""
        return urlencode({"from": rfc3339(self.period.start), "to": rfc3339(self.period.end)})


@page("GET")
def feature(request: PageRequest, name: str, feature: str) -> HttpResponse:
    frame = frame_of(request, name, "drift")
    model, chosen = frame["model"], frame["range"]
    asked, by_quality = window_of(request), request.GET.get("by") == MonitorKind.QUALITY
    points = _points(model, feature, _widened(model, chosen, asked))
    if not any(points.values()) and not MetricPoint.objects.filter(model=model, feature=feature).exists():
        raise Http404
    shown = _windows(model, points, asked, by_quality=by_quality)
    drift, quality = shown.get(MonitorKind.DRIFT), shown.get(MonitorKind.QUALITY)
    window = drift or quality
    dimension = column_reads.vector_dimensions(model).get(feature)
    column = feature if dimension is None else _number_of_vector(feature, drift)
    if request.GET.get("part") == "losses":
        part = {
            "model": model,
            "feature": feature,
            "window": window,
            "losses": _losses(model, column, window),
        }
        return render(request, "partials/value_losses.html", part | {"range": chosen})
    if request.GET.get("part") == "examples":
        part = {
            "model": model,
            "feature": feature,
            "window": drift,
            "examples": _examples(request, model, feature, drift),
        }
        return render(request, "partials/changed_examples.html", part | {"range": chosen})
    reference = queries.reference_of(model, window.period if window else Period(chosen.start, chosen.end))
    known = column_reads.column_of(reference.summary, column) if reference else None
    current = column_reads.column_in(model, column, window.period) if window else None
    changes = describe_change(known, current) if known and current else []
    impossible = _impossible(quality)
    frame |= {
        "feature": feature,
        "window": window,
        "drift_window": drift,
        "quality_window": quality,
        "dimension": dimension,
        "column": column,
        "overlay": overlay_of(column, known, [current]) if known and current else None,
        "columns": _columns(known, current),
        "judged_by": queries.judged_by(model, [MonitorKind.DRIFT, MonitorKind.QUALITY], chosen.newest),
        "course": _course_chart(model, feature, points[MonitorKind.DRIFT], chosen),
        "evidence": evidence_chart(model, "drift_evidence_by_feature", chosen, feature),
        "comparison": compare_feature(request, model, column, chosen),
        "quantiles": _quantile_chart(model, column, known, chosen),
        "summary": _summary(
            feature, drift, changes if column == feature else [f"{column}: {one}" for one in changes]
        ),
        "advice": _advice(drift),
        "status": _status(drift),
        "reference": reference,
        "movers": _movers(model, drift, feature),
        "neighbours": _neighbours(points, shown),
        "expected": _expected(model, feature),
        "is_feature": feature not in ANSWER_COLUMNS,
        "impossible": impossible,
        "impossible_url": _rows_with(model, feature, quality, impossible),
        "suggested": _suggested(model, feature, impossible),
        "losses": _losses(model, column, window) if request.GET.get("show") == "losses" else None,
        "may_have_examples": dimension is not None and drift is not None and _is_changed(drift),
        "examples": _examples(request, model, feature, drift)
        if request.GET.get("show") == "examples"
        else None,
    }
    return render_with_charts(request, "pages/quality/feature.html", frame)


# -- which windows -----------------------------------------------------------------------------------------------------
def _widened(model: Model, chosen: TimeRange, asked: datetime | None) -> Period:
    """Widen a range to the windows that are asked for, which may lie outside of it."""
    if asked is None:
        return Period(chosen.start, chosen.end)
    ends = [end_of(asked, span_of(model, kind)) for kind in METRICS_OF]
    return Period(min(chosen.start, floor(asked, "day")), max(chosen.end, *ends))


def _points(model: Model, feature: str, read: Period) -> dict[MonitorKind, list[MetricPoint]]:
    """Read what was measured of the feature, by the monitor that judges it."""
    judge = PointJudge(model)
    return {
        kind: judge.judge(
            queries.points_in(
                model, metrics, read.start, read.end, feature=feature, span=span_of(model, kind)
            )
        )
        for kind, metrics in METRICS_OF.items()
    }


def _windows(
    model: Model,
    points: Mapping[MonitorKind, Sequence[MetricPoint]],
    asked: datetime | None,
    *,
    by_quality: bool,
) -> dict[MonitorKind, ShownWindow]:
    """Choose the windows to show: of drift, or `by_quality`, what is asked for or the newest; of the other beside it.

    The monitors may judge windows of different lengths: beside a week is its last day, beside a day the week around it.
    """
    first, second = MonitorKind.DRIFT, MonitorKind.QUALITY
    if by_quality or not points[first]:
        first, second = second, first
    spans = {kind: span_of(model, kind) for kind in METRICS_OF}
    start = _start(points[first], asked, spans[first])
    if start is None:
        return {}
    window = Period(start, end_of(start, spans[first]))
    overlapping = [one for one in points[second] if one.start < window.end and one.end > window.start]
    beside = max(overlapping, key=lambda one: (one.end <= window.end, one.start), default=None)
    starts = {first: start} | ({second: beside.start} if beside else {})
    return {
        kind: ShownWindow(
            begin, spans[kind], _deciding_first(one for one in points[kind] if one.start == begin)
        )
        for kind, begin in starts.items()
    }


def _start(points: Sequence[MetricPoint], asked: datetime | None, span: str) -> datetime | None:
    """The window that starts at the moment that is asked for, or holds it; else the newest with enough rows."""
    if asked is not None:
        return asked if any(point.start == asked for point in points) else floor(asked, span)
    judged = [point.start for point in points if point.status in (*JUDGED, "not_informative")]
    return max(judged, default=max((point.start for point in points), default=None))


def _neighbours(
    points: Mapping[MonitorKind, Sequence[MetricPoint]], shown: Mapping[MonitorKind, ShownWindow]
) -> dict[str, ShownWindow]:
    """The windows before and after the one that is shown, of drift where it is measured."""
    kind = MonitorKind.DRIFT if MonitorKind.DRIFT in shown else MonitorKind.QUALITY
    if kind not in shown:
        return {}
    here = shown[kind]
    starts = sorted({point.start for point in points[kind]})
    before, after = [one for one in starts if one < here.start], [one for one in starts if one > here.start]
    return {
        name: ShownWindow(start, here.span, ())
        for name, starts in (("previous", before[-1:]), ("next", after[:1]))
        for start in starts
    }


def _deciding_first(points: Iterable[MetricPoint]) -> list[MetricPoint]:
    return sorted(points, key=lambda point: not (point.detail or {}).get("decides"))


# -- what they say -----------------------------------------------------------------------------------------------------
def _deciding(points: Iterable[MetricPoint]) -> MetricPoint | None:
    """The point of the statistic that decided whether the feature drifted."""
    return next((one for one in points if (one.detail or {}).get("decides") and one.value is not None), None)


def _status(drift: ShownWindow | None) -> str:
    deciding = _deciding(drift.points) if drift else None
    if deciding is None or deciding.status not in JUDGED:
        return "no_data"
    return "warning" if is_drifted(deciding) or deciding.status in RAISED else "ok"


def _advice(drift: ShownWindow | None) -> str:
    """Return what would tell more, where the window cannot tell whether the feature drifted."""
    deciding = _deciding(drift.points) if drift else None
    if deciding is None or deciding.status != "not_informative":
        return ""
    return str((deciding.detail or {}).get("advice", ""))


def _summary(feature: str, drift: ShownWindow | None, changes: Sequence[str]) -> str:
    """Return whether the feature drifted, what changed in words, and by which statistic that was decided."""
    if drift is None:
        return f"{feature} was not compared in this range: there is no reference, or there are no rows."
    when = during(drift.start, drift.span)
    unjudged = next((p for p in drift.points if p.status == "insufficient"), None)
    if unjudged is not None:
        why = (unjudged.detail or {}).get("why", f"{unjudged.n} rows are too few to judge.")
        return f"{feature} {when}: {why}"
    deciding = _deciding(drift.points)
    if deciding is None:
        return f"{feature} was not compared {when}: there is no reference, or there are no rows."
    title = METRICS[deciding.metric].title
    limit = format_number(deciding.threshold) if deciding.threshold is not None else "none"
    evidence = f"{title} {format_number(deciding.value or 0.0)}, limit {limit}"
    if deciding.status == "not_informative":
        return f"{feature} cannot be judged {when}: {evidence}, which not even a large effect would reach."
    if is_drifted(deciding):
        moved = "drifted"
    elif deciding.status == NOT_SIGNIFICANT:
        moved = "may have moved by chance"
    else:
        moved = "went beyond the limit of a rule" if deciding.status in RAISED else "stayed within its limit"
    what = f"{'; '.join(changes)}. " if changes and moved != "stayed within its limit" else ""
    distance = f" ({decision_of(deciding)})" if decision_of(deciding) else ""
    return f"{feature} {moved} {when}: {what}{evidence}{distance}, on {deciding.n:,} rows."


def _movers(model: Model, drift: ShownWindow | None, feature: str) -> list[MetricPoint]:
    """Other features that drifted in the same window."""
    if drift is None:
        return []
    others = [
        one for one in queries.drift_on(model, drift.start) if is_drifted(one) and one.feature != feature
    ]
    return others[:MAX_MOVERS]


def _number_of_vector(feature: str, drift: ShownWindow | None) -> str:
    """Name the number that is kept of a vector which stands out most in the window; its length where none does."""
    deciding = _deciding(drift.points) if drift else None
    return str((deciding.detail or {}).get("column", norm_of(feature)) if deciding else norm_of(feature))


# -- impossible values, and what is expected ---------------------------------------------------------------------------
def _impossible(quality: ShownWindow | None) -> dict[str, Any] | None:
    """Return which values of the window the feature cannot have."""
    points = quality.points if quality else ()
    return next((one.detail for one in points if one.metric == IMPOSSIBLE and one.detail), None)


def _rows_with(
    model: Model, feature: str, quality: ShownWindow | None, impossible: Mapping[str, Any] | None
) -> str:
    """Lead to the rows that have the furthest impossible value: whoever looks at rows leaves an audit row there."""
    if quality is None or not impossible or "value" not in impossible or model.rows_kept == RowsKept.NONE:
        return ""
    segment = urlencode({"segment": f"{feature}:{impossible['value']!r}"})
    return f"{reverse('predictions', args=[model.name])}?{quality.rows_query}&{segment}"


def _suggested(model: Model, feature: str, impossible: Mapping[str, Any] | None) -> list[SuggestedRange]:
    described = next((one for one in schema_of(model) if one["feature"] == feature), None)
    odd = impossible.get("value") if impossible else None
    return [] if described is None else suggested_ranges(described, odd)


def _expected(model: Model, feature: str) -> list[str]:
    """List what a person expects of the feature, one clause each; empty where nobody wrote anything down."""
    expectation = model.expectations.filter(feature=feature).first()
    clauses: list[str] = []
    if expectation is None:
        return clauses
    if expectation.least is not None:
        clauses.append(f"at least {figure(expectation.least)}")
    if expectation.most is not None:
        clauses.append(f"at most {figure(expectation.most)}")
    if expectation.categories:
        clauses.append(f"one of {len(expectation.categories)} values")
    if expectation.missing_share is not None:
        clauses.append(f"missing in at most {measured(expectation.missing_share, 'missing_share')} of rows")
    return clauses


def _losses(model: Model, feature: str, window: ShownWindow | None) -> ValueLosses | str:
    """Return what rows of the window lost by the feature's values, or why nothing is shown."""
    if window is None:
        return "There is no window to look at."
    try:
        losses = value_losses(model=model, feature=feature, window=window.period)
    except Problem as problem:
        return problem.detail
    return losses if losses.values else losses.reason or f"All judged rows hold the same value of {feature}."


def _is_changed(drift: ShownWindow) -> bool:
    deciding = _deciding(drift.points)
    return deciding is not None and (is_drifted(deciding) or deciding.status in RAISED)


def _examples(request: PageRequest, model: Model, feature: str, drift: ShownWindow | None) -> ChangedExamples:
    """Find rows of the window that are unlike the reference, or say why none are shown; leaves an audit row."""
    if drift is None:
        return ChangedExamples([], note="There is no window to look at.")
    try:
        found = changed_examples(model=model, feature=feature, window=drift.period)
    except RowsNotKept as problem:
        return ChangedExamples([], note=problem.detail)
    given = {"from": rfc3339(drift.period.start), "to": rfc3339(drift.period.end)}
    record_view(model=model, given=given, rows=len(found.items), actor=request.visitor.actor)
    return found


# -- the column itself -------------------------------------------------------------------------------------------------
def _columns(
    known: ColumnSummary | None, now: ColumnSummary | None
) -> list[tuple[str, str | None, str | None]]:
    """Rows that describe the two columns: name, in the reference, now."""
    rows: list[tuple[str, str | None, str | None]] = [
        ("Rows", f"{known.rows:,}" if known else None, f"{now.rows:,}" if now else None),
        ("Missing", _missing(known), _missing(now)),
    ]
    if isinstance(known, NumericSummary) or isinstance(now, NumericSummary):
        for title, q in (("5th percentile", 0.05), ("Median", 0.5), ("95th percentile", 0.95)):
            rows.append((title, figure(_quantile(known, q)), figure(_quantile(now, q))))
        rows.append(("Mean", figure(_mean(known)), figure(_mean(now))))
    return rows


def _missing(column: ColumnSummary | None) -> str | None:
    return f"{percent(column.missing / column.rows)} ({column.missing:,})" if column and column.rows else None


def _quantile(column: ColumnSummary | None, q: float) -> float | None:
    return float(column.quantile(q)) if isinstance(column, NumericSummary) and column.n else None


def _mean(column: ColumnSummary | None) -> float | None:
    return column.mean if isinstance(column, NumericSummary) and column.n else None


def _course_chart(model: Model, feature: str, points: Sequence[MetricPoint], chosen: TimeRange) -> Chart:
    deciding = next((p.metric for p in reversed(points) if (p.detail or {}).get("decides")), "psi")
    title = METRICS[deciding].title
    series = [
        one for one in points if one.metric == deciding and one.start < chosen.end and one.end > chosen.start
    ]
    return Chart(
        id="course", title=f"{title} of {feature}", summary=f"{title} of {feature} by window, with its limit.",
        start=chosen.start, end=chosen.end, series=[ChartLine(title, queries.dots(series))], from_zero=True,
        marks=chart_marks.marks_in(model, chosen.start, chosen.end),
        note="lower is better",
    )  # fmt: skip


def _quantile_chart(
    model: Model, feature: str, known: ColumnSummary | None, chosen: TimeRange
) -> Chart | None:
    """The middle 90 % of the values by day, with the reference's median as the limit line's place."""
    days = column_reads.column_by_day(model, feature, chosen.start, chosen.end)
    numeric = [
        (day.start, day.column) for day in days if isinstance(day.column, NumericSummary) and day.column.n
    ]
    if not numeric:
        return None
    dots = []
    for start, column in numeric:
        low, middle, high = (float(value) for value in column.quantile([0.05, 0.5, 0.95]))
        dots.append(Dot(start, start + queries.DAY, middle, column.n, low, high))
    lines = [ChartLine("median", dots)]
    usual = _quantile(known, 0.5)
    if usual is not None and known is not None:
        flat = [Dot(start, start + queries.DAY, usual, known.rows) for start, _ in numeric]
        lines.append(ChartLine("median of the reference", flat, "baseline"))
    return Chart(
        id="quantiles", title=f"Values of {feature}", summary=f"Median of {feature} by day, with its middle 90 %.",
        start=chosen.start, end=chosen.end, series=lines, limits=False,
        band="5th to 95th percentile", holds_band=True,
        marks=milestones(chart_marks.marks_in(model, chosen.start, chosen.end)),
    )  # fmt: skip
