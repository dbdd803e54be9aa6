"""P3: which features moved, and when? P4: what exactly changed in one of them?"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render

from driftline.common.errors import Problem
from driftline.common.periods import Period
from driftline.pages import queries
from driftline.pages.access import PageRequest, page
from driftline.pages.charts import Chart, ChartLine, Dot
from driftline.pages.heat_map import HeatMap, HeatMapRow, heat_map
from driftline.pages.histograms import overlay_of
from driftline.pages.model import COLUMN_METRICS, csv_url, drift_share_chart, frame_of
from driftline.pages.segment_searches import grown_segments
from driftline.pages.templatetags.figures import figure, measured
from driftline.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.definitions.services import drift_method
from monitors.metrics.catalogue import DRIFT_METRICS, METRICS, QUALITY_METRICS
from monitors.metrics.models import MetricPoint
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.rows.value_losses import ValueLosses, value_losses
from monitors.metrics.selectors import joint_rows
from monitors.stats.drift.judging import Method
from monitors.stats.mergeable.sketches import NumericSummary

KINDS = {"": "any", "number": "numbers", "category": "categories"}


@page("GET")
def drift(request: PageRequest, name: str) -> HttpResponse:
    frame = frame_of(request, name, "drift")
    model, chosen = frame["model"], frame["range"]
    metric = _metric(request)
    points = queries.points_in(model, [metric], chosen.start, chosen.end).defer("detail")
    reference = queries.reference_on(model, chosen.end - queries.DAY)
    heat = heat_map(model, points, reference, chosen)
    marks = queries.marks_in(model, chosen.start, chosen.end)
    wanted = request.GET.get("feature", "").strip().lower()
    kind = request.GET.get("kind", "")
    frame |= {
        "metric": metric,
        "metrics": [(name, METRICS[name].title) for name in COLUMN_METRICS],
        "rows": [
            row
            for row in heat.rows
            if wanted in row.feature.lower() and kind in ("", _kind_of(reference, row.feature))
        ],
        "kind": kind,
        "kinds": KINDS,
        "days": heat.days,
        "wanted": wanted,
        "false_discovery_rate": Method(drift_method(model)).false_discovery_rate,
        "share": drift_share_chart(
            model, queries.drifted_by_day(model, chosen.start, chosen.end), chosen, marks
        ),
        "reference": queries.newest_reference(model),
        "in_use": reference,
        "in_use_until": reference and reference.period and reference.period.end - timedelta(microseconds=1),
        "together": joint_rows(model=model, start=chosen.start, end=chosen.end),
        "said": _said(heat),
        "status": _status(heat.rows),
        "csv_url": csv_url(model, metric, chosen),
        **grown_segments(model, chosen),
        "marked_days": {mark.at.astimezone(UTC).date() for mark in marks if mark.kind == "deploy"},
    }
    return render(request, "pages/drift.html", frame)


def _metric(request: PageRequest) -> str:
    metric = request.GET.get("metric", "psi")
    if metric not in COLUMN_METRICS:
        raise Problem(
            400, "unknown_metric", f"{metric[:40]!r} is not a drift metric; use {', '.join(COLUMN_METRICS)}."
        )
    return metric


def _kind_of(reference: LoadedReference | None, name: str) -> str:
    column = queries.column_of(reference.summary, name) if reference else None
    return "" if column is None else "number" if isinstance(column, NumericSummary) else "category"


def _status(rows: list[HeatMapRow]) -> str:
    newest = [row.newest for row in rows if row.newest and row.feature not in queries.NOT_FEATURES]
    if not newest:
        return "no_data"
    return "warning" if any(point.status != "ok" for point in newest) else "ok"


def _said(heat: HeatMap) -> str:
    features = [row for row in heat.rows if row.feature not in queries.NOT_FEATURES]
    moved = [row for row in features if row.drifted]
    if not features:
        return ""
    if not moved:
        return f"None of {len(features)} features drifted in these {len(heat.days)} days."
    names = ", ".join(row.feature for row in moved[:3])
    now = sum(row.newest is not None and row.newest.status in ("warning", "critical") for row in features)
    return (
        f"{len(moved)} of {len(features)} features drifted at some time in these {len(heat.days)} days, "
        f"{now} on the newest one; most often {names}."
    )


# -- one feature -------------------------------------------------------------------------------------------------------
@page("GET")
def feature(request: PageRequest, name: str, feature: str) -> HttpResponse:
    frame = frame_of(request, name, "drift")
    model, chosen = frame["model"], frame["range"]
    points = list(queries.points_in(model, COLUMN_METRICS, chosen.start, chosen.end, feature=feature))
    if not points and not MetricPoint.objects.filter(model=model, feature=feature).exists():
        raise Http404
    day = _day(request, points)
    if request.GET.get("part") == "losses":
        part = {"model": model, "feature": feature, "day": day, "losses": _losses(model, feature, day)}
        return render(request, "partials/value_losses.html", part)
    of_day = [point for point in points if point.start == day]
    days = queries.column_by_day(model, feature, chosen.start, chosen.end)
    reference = queries.reference_on(model, day or chosen.end - queries.DAY)
    known = queries.column_of(reference.summary, feature) if reference else None
    current = [one.column for one in days if one.start == day]
    overlay = overlay_of(feature, known, current) if known and current else None
    frame |= {
        "feature": feature,
        "day": day,
        "overlay": overlay,
        "points": sorted(
            of_day, key=lambda p: (not (p.detail or {}).get("decides"), p.metric in QUALITY_METRICS)
        ),
        "columns": _columns(known, current),
        "course": _course_chart(model, feature, points, chosen),
        "quantiles": _quantile_chart(model, feature, days, known, chosen),
        "said": _feature_said(feature, of_day),
        "status": _feature_status(of_day),
        "reference": reference,
        "movers": _movers(model, day, feature),
        "neighbours": _neighbours(points, day),
        "expected": _expected(model, feature),
        "is_feature": feature not in queries.NOT_FEATURES,
        "losses": _losses(model, feature, day) if request.GET.get("show") == "losses" else None,
    }
    return render(request, "pages/feature.html", frame)


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


def _losses(model: Model, feature: str, day: datetime | None) -> ValueLosses | str:
    """Tell what rows of the day lost by the feature's values, or why that is not told."""
    if day is None:
        return "There is no day to look at."
    try:
        found = value_losses(model=model, feature=feature, window=Period(day, day + queries.DAY))
    except Problem as problem:
        return problem.detail
    return found if found.values else found.reason or f"All judged rows hold the same value of {feature}."


def _day(request: PageRequest, points: list[MetricPoint]) -> datetime | None:
    """The day that was chosen, else the newest with enough rows."""
    text = request.GET.get("day", "")
    if text:
        try:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError as error:
            raise Problem(400, "invalid_day", f"{text[:40]!r} is not a date such as 2026-01-31.") from error
    judged = [
        point.start for point in points if point.status in queries.JUDGED and point.metric in DRIFT_METRICS
    ]
    return max(judged, default=max((point.start for point in points), default=None))


def _neighbours(points: list[MetricPoint], day: datetime | None) -> dict[str, datetime | None]:
    days = sorted({point.start for point in points})
    before = [one for one in days if day and one < day]
    after = [one for one in days if day and one > day]
    return {"previous": before[-1] if before else None, "next": after[0] if after else None}


def _feature_status(points: list[MetricPoint]) -> str:
    deciding = next((p for p in points if (p.detail or {}).get("decides")), None)
    if deciding is None or deciding.status not in queries.JUDGED:
        return "no_data"
    return "ok" if deciding.status == "ok" else "warning"


def _feature_said(feature: str, points: list[MetricPoint]) -> str:
    deciding = next((p for p in points if (p.detail or {}).get("decides") and p.value is not None), None)
    if deciding is None:
        return f"{feature} was not compared on this day: there is no reference, or there are no rows."
    title = METRICS[deciding.metric].title
    limit = f"{deciding.threshold:.3g}" if deciding.threshold is not None else "none"
    if deciding.status == "insufficient":
        return f"{feature}: {deciding.n} rows on {deciding.start:%-d %b %Y} are too few to judge."
    times = ""
    if deciding.is_beyond and deciding.threshold and deciding.value:
        times = f", {deciding.value / deciding.threshold:.1f} times"
    moved = "may have moved by chance" if times else "stayed within its limit"
    if deciding.status in ("warning", "critical"):
        moved = "moved"
    return (
        f"{feature} {moved} on {deciding.start:%-d %b %Y}: {title} {deciding.value:.3g}{times}"
        f"{' its limit of' if times else ', limit'} {limit}, on {deciding.n:,} rows."
    )


def _columns(known: Any, current: list[Any]) -> list[tuple[str, Any, Any]]:
    """Rows that describe the two columns: name, in the reference, now."""
    now = current[0] if current else None
    rows = [("Rows", known.rows if known else None, now.rows if now else None)]
    rows.append(("Missing", known.missing if known else None, now.missing if now else None))
    if isinstance(known, NumericSummary) or isinstance(now, NumericSummary):
        for title, q in (("5th percentile", 0.05), ("Median", 0.5), ("95th percentile", 0.95)):
            rows.append((title, _quantile(known, q), _quantile(now, q)))
        rows.append(("Mean", _mean(known), _mean(now)))
    return rows


def _quantile(column: Any, q: float) -> float | None:
    return float(column.quantile(q)) if isinstance(column, NumericSummary) and column.n else None


def _mean(column: Any) -> float | None:
    return column.mean if isinstance(column, NumericSummary) and column.n else None


def _course_chart(model: Model, feature: str, points: list[MetricPoint], chosen: TimeRange) -> Chart:
    deciding = next((p.metric for p in reversed(points) if (p.detail or {}).get("decides")), "psi")
    series = [point for point in points if point.metric == deciding]
    title = METRICS[deciding].title
    return Chart(
        id="course", title=f"{title} of {feature}", summary=f"{title} of {feature} by day, with its limit.",
        start=chosen.start, end=chosen.end, series=[ChartLine(title, queries.dots(series))], from_zero=True,
        marks=queries.marks_in(model, chosen.start, chosen.end), csv_url=csv_url(model, deciding, chosen, feature),
        note="lower is better",
    )  # fmt: skip


def _quantile_chart(
    model: Model, feature: str, days: list[queries.DayOfColumn], known: Any, chosen: TimeRange
) -> Chart | None:
    """The middle 90 % of the values by day, with the reference's median as the limit line's place."""
    numeric = [
        (day.start, day.column) for day in days if isinstance(day.column, NumericSummary) and day.column.n
    ]
    if not numeric:
        return None
    dots = []
    for start, column in numeric:
        low, middle, high = (float(value) for value in column.quantile([0.05, 0.5, 0.95]))
        dots.append(Dot(start, start + queries.DAY, middle, column.n, low, high))
    lines = [ChartLine("median, with the 5th to 95th percentile", dots)]
    usual = _quantile(known, 0.5)
    if usual is not None:
        flat = [Dot(start, start + queries.DAY, usual, known.n) for start, _ in numeric]
        lines.append(ChartLine("median of the reference", flat, "baseline"))
    return Chart(
        id="quantiles", title=f"Values of {feature}", summary=f"Median of {feature} by day, with its middle 90 %.",
        start=chosen.start, end=chosen.end, series=lines, limits=False,
        marks=[mark for mark in queries.marks_in(model, chosen.start, chosen.end) if mark.kind == "deploy"],
    )  # fmt: skip


def _movers(model: Model, day: datetime | None, feature: str) -> list[MetricPoint]:
    """Other features that drifted on the same day."""
    if day is None:
        return []
    found = queries.points_in(model, ["psi"], day, day + queries.DAY).filter(queries.RAISED)
    return queries.furthest_first(found.exclude(feature__in=(feature, *queries.NOT_FEATURES)))[:8]
