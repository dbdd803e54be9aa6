"""How good the answers were, as far as labels have arrived."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scipy.stats import chi2_contingency

from monitors.metrics.models import PointStatus
from monitors.metrics.points import Point
from monitors.stats.outcomes import BinaryOutcomeSummary
from monitors.stats.performance import measure_outcomes
from monitors.stats.sketches import CategoricalSummary
from monitors.stats.window_summary import WindowSummary

LOWER_IS_BETTER = {"log_loss", "brier", "mae", "rmse"}
SELECTIVE_P = 1e-3
SELECTIVE_GAP = 0.05


@dataclass(frozen=True)
class Ripeness:
    """What a window needs before its labels may be judged: age beyond the usual lag, and coverage (promise 11)."""

    min_rows: int
    min_coverage: float
    label_lag: timedelta
    event_now: datetime

    def status(self, *, end: datetime, coverage: float, labelled: int) -> str:
        if labelled == 0:
            return PointStatus.NO_DATA if self.event_now >= end + self.label_lag else PointStatus.UNRIPE
        if self.event_now < end + self.label_lag:
            return PointStatus.UNRIPE
        enough = labelled >= self.min_rows and coverage >= self.min_coverage
        return PointStatus.OK if enough else PointStatus.INSUFFICIENT


def performance_points(
    summary: WindowSummary,
    usual: dict[str, dict[str, float]],
    *,
    end: datetime,
    ripeness: Ripeness,
    positive_class: str | None,
) -> list[Point]:
    """Measure the task's metrics on labelled rows, and the share of rows that have a label.

    The limit of a metric is the worse end of what single days of the reference showed.
    """
    coverage = summary.labelled / summary.rows if summary.rows else 0.0
    ripe_at = end + ripeness.label_lag
    detail: dict[str, Any] = {"coverage": round(coverage, 4)}
    if ripeness.event_now < ripe_at:
        detail["ripe_at"] = ripe_at.isoformat()  # when the status must be told anew
    if _is_selective(summary, positive_class):
        detail["selective_labels"] = True
    status = ripeness.status(end=end, coverage=coverage, labelled=summary.labelled)
    points = [Point("label_coverage", coverage, summary.rows, _coverage_status(status), detail=detail)]
    if summary.outcome is None:
        return points
    for metric, estimate in measure_outcomes(summary.outcome).items():
        limit = _limit(metric, usual)
        judged = status
        if status == PointStatus.OK and limit is not None and estimate.value is not None:
            worse = estimate.value > limit if metric in LOWER_IS_BETTER else estimate.value < limit
            judged = PointStatus.WARNING if worse else PointStatus.OK
        points.append(
            Point(
                metric,
                estimate.value,
                estimate.n,
                judged if estimate.value is not None else PointStatus.NO_DATA,
                lower=estimate.lower,
                upper=estimate.upper,
                threshold=limit,
                detail=detail,
            )
        )
    return points


def _coverage_status(status: str) -> str:
    return status if status == PointStatus.UNRIPE else PointStatus.OK


def _limit(metric: str, usual: dict[str, dict[str, float]]) -> float | None:
    if metric not in usual:
        return None
    return usual[metric]["high" if metric in LOWER_IS_BETTER else "low"]


def _is_selective(summary: WindowSummary, positive_class: str | None) -> bool:
    """Tell whether one predicted class gets its labels more often than the other: such labels mislead."""
    outcome, answers = summary.outcome, summary.prediction
    if not isinstance(outcome, BinaryOutcomeSummary) or not isinstance(answers, CategoricalSummary):
        return False
    positive = answers.counts.get(positive_class or "", 0)
    rows = [positive, summary.rows - positive]
    labelled = [outcome.tp + outcome.fp, outcome.tn + outcome.fn]
    missing = [total - known for total, known in zip(rows, labelled, strict=True)]
    if min(rows) == 0 or sum(missing) == 0 or sum(labelled) == 0 or min(missing) < 0:
        return False
    gap = abs(labelled[0] / rows[0] - labelled[1] / rows[1])
    return gap > SELECTIVE_GAP and bool(chi2_contingency([labelled, missing]).pvalue < SELECTIVE_P)
