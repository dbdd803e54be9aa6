"""What pages read of summaries: one column of a range, day by day, and the outcomes of classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from driftline.base.periods import Period, floor
from inference.registry.models import Model, VectorFeature
from monitors.metrics.periods import merged_summary
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, merge_columns
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER


@dataclass(frozen=True)
class DayOfColumn:
    """One column on one day."""

    start: datetime
    column: ColumnSummary


def column_by_day(model: Model, name: str, start: datetime, end: datetime) -> list[DayOfColumn]:
    """Read one feature (or `prediction`, `score`) of each day, of all champion versions together."""
    days: dict[datetime, list[ColumnSummary]] = {}
    for day, summary in _day_summaries(model, start, end, features=[name]):
        column = column_of(summary, name)
        if column is not None:
            days.setdefault(day, []).append(column)
    return [DayOfColumn(day, merge_columns(parts)) for day, parts in sorted(days.items())]


def column_in(model: Model, name: str, window: Period) -> ColumnSummary | None:
    """Read one feature (or `prediction`, `score`) of a window, of all that callers were answered together."""
    summary = merged_summary(model=model, start=window.start, end=window.end, features=[name])
    return column_of(summary, name) if summary else None


def vector_dimensions(model: Model) -> dict[str, int]:
    """Return how many numbers each vector among the features has, by its name; the newest version has the last word."""
    found = VectorFeature.objects.filter(version__model=model).order_by("version_id")
    return dict(found.values_list("feature", "dimension"))


def column_of(summary: WindowSummary, name: str) -> ColumnSummary | None:
    if name == "prediction":
        return summary.prediction
    return summary.score if name == "score" else summary.features.get(name)


def latency_by_day(model: Model, start: datetime, end: datetime) -> list[tuple[datetime, NumericSummary]]:
    """Read the latencies (ms) of each day, of all champion versions together; days without any are left out."""
    days: dict[datetime, list[NumericSummary]] = {}
    for day, summary in _day_summaries(model, start, end, features=()):
        if summary.latency_ms is not None and summary.latency_ms.n:
            days.setdefault(day, []).append(summary.latency_ms)
    return [(day, merge_numbers(parts)) for day, parts in sorted(days.items())]


@dataclass(frozen=True)
class Outcomes:
    """What labels said about a range: each day, all together, and how late labels came (seconds)."""

    by_day: dict[datetime, OutcomeSummary]
    rows: int
    labelled: int
    lag_p50: float | None
    lag_p95: float | None

    @property
    def total(self) -> OutcomeSummary | None:
        return merge_outcomes(list(self.by_day.values())) if self.by_day else None


def outcomes_in(model: Model, start: datetime, end: datetime) -> Outcomes:
    """Read labelled outcomes and label lags, without unpacking features."""
    days: dict[datetime, list[OutcomeSummary]] = {}
    rows = labelled = 0
    lags = []
    for day, summary in _day_summaries(model, start, end, features=()):
        rows, labelled = rows + summary.rows, labelled + summary.labelled
        if summary.outcome is not None:
            days.setdefault(day, []).append(summary.outcome)
        if summary.label_lag_s is not None and summary.label_lag_s.n:
            lags.append(summary.label_lag_s)
    lag = merge_numbers(lags) if lags else None
    return Outcomes(
        {day: merge_outcomes(parts) for day, parts in sorted(days.items())},
        rows,
        labelled,
        lag.quantile(0.5) if lag else None,
        lag.quantile(0.95) if lag else None,
    )


def _day_summaries(
    model: Model, start: datetime, end: datetime, *, features: Sequence[str]
) -> Iterable[tuple[datetime, WindowSummary]]:
    stored = Summary.objects.filter(
        model=model,
        role="champion",
        span__in=SHORTER,
        segment="",
        start__gte=floor(start, "day"),
        start__lt=end,
    ).order_by("start")  # a month that is kept without its days counts on its first
    for day, payload in stored.values_list("start", "payload"):
        yield day, WindowSummary.decode(bytes(payload), features=features)
