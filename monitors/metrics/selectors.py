"""Reads of metric points: what pages and the API show."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from driftline.common.periods import Period, windows
from inference.registry.models import Model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.drift import drift_points
from monitors.metrics.measuring import context_of, points_of, subjects_of
from monitors.metrics.models import MetricPoint
from monitors.metrics.periods import merged_summary
from monitors.metrics.references import ReferenceInUse, reference_in_use
from monitors.stats.importance import rank_causes
from monitors.summaries.models import Summary


def points(
    *,
    model: Model,
    metric: str,
    start: datetime,
    end: datetime,
    span: str = "day",
    feature: str | None = None,
    segment: str = "",
    role: str = "champion",
    version: str = "",
) -> QuerySet[MetricPoint]:
    """Select the stored points of one metric that start in `[start, end)`, oldest first; feature None is every one."""
    found = MetricPoint.objects.filter(
        model=model,
        metric=metric,
        span=span,
        segment=segment,
        role=role,
        version=version,
        start__gte=start,
        start__lt=end,
    )
    return (found if feature is None else found.filter(feature=feature)).order_by("start", "feature")


def longer_points(
    *,
    model: Model,
    metric: str,
    start: datetime,
    end: datetime,
    step: str,
    feature: str | None = None,
    segment: str = "",
    role: str = "champion",
    version: str = "",
) -> list[MetricPoint]:
    """Measure one metric over weeks or months from the daily summaries; the rows are not stored."""
    context = context_of(model)
    found: list[MetricPoint] = []
    for window in windows(Period(start, end), step):
        days = Summary.objects.filter(
            model=model, span="day", segment=segment, role=role, start__gte=window.start, start__lt=window.end
        ).select_related("version")
        for subject in subjects_of(days):
            if subject.version == version:
                found += points_of(context, subject, step, window.start)
    return [p for p in found if p.metric == metric and (feature is None or p.feature == feature)]


def drift_rows(*, model: Model, start: datetime, end: datetime, segment: str = "") -> dict[str, Any]:
    """Compare one period with the reference: each feature's statistics, limits and why, decision and blame."""
    reference = reference_in_use(model=model, version_id=model.deployment.champion_id)
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    answer: dict[str, Any] = {
        "window": {"start": start, "end": end},
        "n": summary.rows if summary else 0,
        "reference": _reference(reference),
        "items": [],
    }
    if summary is None or reference is None:
        return answer
    monitor = Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).first()
    rows: dict[str, dict[str, Any]] = {}
    for point in drift_points(summary, reference, min_rows=monitor.min_rows if monitor else 200):
        row = rows.setdefault(
            point.feature, {"feature": point.feature, "statistics": {}, "n": point.n, "decision": ""}
        )
        row["statistics"][point.metric] = {
            "value": point.value,
            "threshold": point.threshold,
            "status": point.status,
            **point.detail,
        }
    blame = _blame(rows, reference)
    for row in rows.values():
        row["decision"] = _decision([s["status"] for s in row["statistics"].values()])
        row["share"] = blame.get(row["feature"], 0.0)
    answer["items"] = sorted(rows.values(), key=lambda row: (-row["share"], row["feature"]))
    return answer


def _reference(reference: ReferenceInUse | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    return {"id": reference.id, "version": reference.version, "rows": reference.summary.rows}


def _decision(statuses: list[str]) -> str:
    if any(status in ("warning", "critical") for status in statuses):
        return "drifted"
    for status in ("insufficient", "no_data"):
        if status in statuses:
            return status
    return "stable"


def _blame(rows: dict[str, dict[str, Any]], reference: ReferenceInUse) -> dict[str, float]:
    features = [name for name in rows if name not in ("prediction", "score")]
    causes = rank_causes(
        {name: rows[name]["statistics"]["psi"]["value"] or 0.0 for name in features},
        {name: rows[name]["statistics"]["psi"]["threshold"] or 0.0 for name in features},
        reference.importance,
    )
    return {cause.feature: cause.share for cause in causes}
