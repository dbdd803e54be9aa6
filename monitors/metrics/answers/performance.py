"""How good the answers were, as far as labels have arrived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import hypot, inf, sqrt
from typing import Any

import scipy

from monitors.metrics.catalogue import METRICS
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.store.models import PointStatus
from monitors.metrics.store.points import MAX_FEATURE_LENGTH, Point
from monitors.stats.mergeable.outcomes import BinaryOutcomeSummary, MulticlassOutcomeSummary, OutcomeSummary
from monitors.stats.mergeable.sketches import CategoricalSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.stats.performance.blocks import measure_blocks
from monitors.stats.performance.class_averages import classes_apart
from monitors.stats.performance.estimate import Z95, Z95_ONE_SIDED, Estimate, wilson_interval
from monitors.stats.streams.evidence import Chance

SELECTIVE_P = 1e-3
SELECTIVE_GAP = 0.05
SELECTIVE_ROWS = 20  # answers of a class from which the share that has a label says something
MIN_USUAL_DAYS = 5  # of a reference, from which their spread is known well enough to count with
COMPLETE_COVERAGE = 0.99  # from which on no label is waited for any more
RANKED_BY_CHANCE = ("roc_auc", "weighted_roc_auc")
CHANCE_AUC = 0.5  # of a score that knows nothing; below it the other class has the higher ones
CLASSES_APART = 50  # the classes of which most rows were labelled; the rest is seen only in the averages


@dataclass(frozen=True)
class Ripeness:
    """What a window needs before its labels may be judged: age beyond the usual lag, and coverage."""

    min_rows: int
    min_coverage: float
    label_lag: timedelta
    ended_until: datetime

    def ripe_at(self, end: datetime, coverage: float) -> datetime:
        """Return when a window may be judged: as soon as it ends where its labels are complete."""
        return end if coverage >= COMPLETE_COVERAGE else end + self.label_lag

    def status(self, *, end: datetime, coverage: float, labelled: int) -> str:
        is_ripe = self.ended_until >= self.ripe_at(end, coverage)
        if labelled == 0:
            return PointStatus.NO_DATA if is_ripe else PointStatus.UNRIPE
        if not is_ripe:
            return PointStatus.UNRIPE
        enough = labelled >= self.min_rows and coverage >= self.min_coverage
        return PointStatus.OK if enough else PointStatus.INSUFFICIENT


def ripeness_of(measured: MeasuredSummary) -> Ripeness:
    """Return what the window of a summary needs before its labels may be judged."""
    monitor, context = measured.monitor, measured.context
    return Ripeness(monitor.min_rows, monitor.min_label_coverage, context.label_lag, context.ended_until)


def measure_performance(measured: MeasuredSummary) -> list[Point]:
    """Measure the labelled rows of a summary; of a segment there are no limits.

    Of an hour that nobody judges and that has too few rows it is only counted how many have a label.
    """
    segment, context, reference = measured.segment, measured.context, measured.reference
    is_judged = measured.span in ("day", *measured.monitor.spans)
    has_rows = segment.summary.labelled >= measured.monitor.min_rows
    return performance_points(
        segment.summary if is_judged or has_rows else replace(segment.summary, outcome=None),
        reference.performance if reference and segment.is_whole else {},
        reference_id=reference.id if reference and measured.span != "hour" else None,
        end=measured.window.end,
        ripeness=ripeness_of(measured),
        positive_class=context.signature_of(segment.version_id).positive_class,
        quantile=context.model.objectives.get("quantile"),
        blocks=list(segment.blocks.values()),
        only=context.metric,
    )


def performance_points(
    summary: WindowSummary,
    usual: dict[str, dict[str, float]],
    *,
    end: datetime,
    ripeness: Ripeness,
    positive_class: str | None,
    reference_id: int | None = None,
    quantile: float | None = None,
    blocks: Sequence[OutcomeSummary] = (),
    only: str = "",
) -> list[Point]:
    """Measure the task's metrics on labelled rows, or `only` one of them, and the share of rows that have a label.

    The limit of a metric is the worse end of what single days of the reference showed; an AUC whose interval lies below
    0.5 is beyond it, whatever the reference showed. `blocks` are the outcomes
    of the shorter windows that this one consists of: intervals then allow for rows of one hour being alike. The
    points of a class (`class_recall` and its like) have it as their feature. With a `reference_id` points say what
    `evidence.py` goes by.
    """
    coverage = summary.labelled / summary.rows if summary.rows else 0.0
    ripe_at = ripeness.ripe_at(end, coverage)
    detail: dict[str, Any] = {"coverage": round(coverage, 4)}
    if ripeness.ended_until < ripe_at:
        detail["ripe_at"] = ripe_at.isoformat()  # when the status must be told anew
    if _is_selective(summary, positive_class):
        detail["selective_labels"] = True
    status = ripeness.status(end=end, coverage=coverage, labelled=summary.labelled)
    lower, upper = wilson_interval(summary.labelled, summary.rows) if summary.rows else (None, None)
    points = [
        Point(
            "label_coverage", coverage, summary.rows, _coverage_status(status), lower=lower, upper=upper,
            detail=detail,
        )
    ]  # fmt: skip
    if summary.outcome is None:
        return points
    measured = measure_blocks(summary.outcome, blocks, quantile=quantile, metric=only)
    points += [
        _point(metric, estimate, status, usual, detail | _basis(metric, usual, estimate, reference_id))
        for metric, estimate in measured.items()
    ]
    return points + _class_points(summary.outcome, status, ripeness.min_rows, detail)


def _point(
    metric: str, estimate: Estimate, status: str, usual: dict[str, dict[str, float]], detail: dict[str, Any]
) -> Point:
    limit, is_beyond = limit_of(metric, usual, estimate)
    if metric in RANKED_BY_CHANCE and estimate.value is not None and estimate.value < CHANCE_AUC:
        detail = detail | {"below_chance": True}
        is_beyond = is_beyond or (estimate.upper is not None and estimate.upper < CHANCE_AUC)
    if estimate.value is None:
        status = PointStatus.NO_DATA
    elif status == PointStatus.OK and is_beyond:
        status = PointStatus.WARNING
    return Point(
        metric,
        estimate.value,
        estimate.n,
        status,
        lower=estimate.lower,
        upper=estimate.upper,
        threshold=limit,
        detail=detail | describe_estimate(estimate),
    )


def describe_estimate(estimate: Estimate) -> dict[str, Any]:
    """Return what an estimate is read with: how its interval was made, and what its kernel counted apart."""
    method = {"method": estimate.method} if estimate.method else {}
    return method | dict(estimate.detail)


def _class_points(outcome: OutcomeSummary, status: str, min_rows: int, detail: dict[str, Any]) -> list[Point]:
    """Measure each class apart; a class of few rows is insufficient, whatever the window is."""
    if not isinstance(outcome, MulticlassOutcomeSummary):
        return []
    rows = outcome.confusion.sum(axis=1)
    most = {outcome.classes[i] for i in rows.argsort(kind="stable")[::-1][:CLASSES_APART]}
    found = []
    for name, metrics in classes_apart(outcome).items():
        if name not in most or not 0 < len(name) <= MAX_FEATURE_LENGTH:
            continue
        for metric, estimate in metrics.items():
            judged = status
            if estimate.value is None:
                judged = PointStatus.NO_DATA
            elif status == PointStatus.OK and estimate.n < min_rows:
                judged = PointStatus.INSUFFICIENT
            found.append(
                Point(
                    metric, estimate.value, estimate.n, judged, feature=name,
                    lower=estimate.lower, upper=estimate.upper, detail=detail | describe_estimate(estimate),
                )
            )  # fmt: skip
    return found


def _coverage_status(status: str) -> str:
    return status if status == PointStatus.UNRIPE else PointStatus.OK


def limit_of(
    metric: str, usual: Mapping[str, dict[str, float]], estimate: Estimate
) -> tuple[float | None, bool]:
    """Return the end of the usual that the value must not pass, and whether it has; a bias may pass neither end.

    A reference of one day, or without times, does not know how days differ: its limit lies where the difference of two
    samples of these sizes is beyond chance, which leaves out what rows of a day share.
    """
    value = estimate.value
    if metric not in usual or value is None:
        return None, False
    low, high = usual[metric]["low"], usual[metric]["high"]
    if usual[metric].get("days") == 1:
        mean, half = usual[metric]["mean"], _half_width(estimate)
        low, high = mean - hypot(mean - low, half), mean + hypot(high - mean, half)
    falls = value < (low + high) / 2 if metric == "bias" else not METRICS[metric].lower_is_better
    return (low, value < low) if falls else (high, value > high)


def _basis(
    metric: str, usual: Mapping[str, dict[str, float]], estimate: Estimate, reference_id: int | None
) -> dict[str, Any]:
    chance = chance_of(metric, usual, estimate) if reference_id is not None else None
    if chance is None:
        return {}
    return {
        "reference_id": reference_id,
        "p_value": chance.p_value,
        "reference_windows": round(chance.reference_windows, 1),
    }


def chance_of(metric: str, usual: Mapping[str, dict[str, float]], estimate: Estimate) -> Chance | None:
    """Estimate how often a window that is as good as the reference is as bad as this one; None where that is not known.

    Days of a reference scatter around their mean as a normal variable does, of which they show the spread (Student's
    t), but for what fewer rows than theirs add. A bias has no worse direction, and a few days no spread.
    """
    known, value = usual.get(metric), estimate.value
    if known is None or value is None or metric == "bias":
        return None
    days, half = int(known.get("days", 0)), _half_width(estimate) / Z95
    if days == 1:
        own = (known["mean"] - known["low"]) / Z95
        error, windows, freedom = hypot(own, half), (hypot(own, half) / own) ** 2 if own else 0.0, inf
    else:
        spread = (known["high"] - known["low"]) / (2 * Z95_ONE_SIDED)
        error, windows, freedom = max(spread * sqrt(1 + 1 / max(days, 1)), half), float(days), days - 1.0
    if error <= 0 or 1 < days < MIN_USUAL_DAYS or not days:
        return None
    worse = value - known["mean"] if METRICS[metric].lower_is_better else known["mean"] - value
    below = (
        scipy.special.ndtr(-worse / error) if freedom == inf else scipy.special.stdtr(freedom, -worse / error)
    )
    return Chance(float(below), windows)


def _half_width(estimate: Estimate) -> float:
    if estimate.lower is None or estimate.upper is None:
        return 0.0
    return (estimate.upper - estimate.lower) / 2


def _is_selective(summary: WindowSummary, positive_class: str | None) -> bool:
    """Return whether one predicted class gets its labels more often than another: such labels mislead."""
    table = [(rows, labelled) for rows, labelled in _by_answer(summary, positive_class) if rows]
    labelled = [known for _, known in table]
    missing = [rows - known for rows, known in table]
    if len(table) < 2 or sum(missing) == 0 or sum(labelled) == 0 or min(missing) < 0:
        return False
    shares = [known / rows for rows, known in table]
    if max(shares) - min(shares) <= SELECTIVE_GAP:
        return False
    from scipy.stats import chi2_contingency  # as long to load as all else that a process needs

    return bool(chi2_contingency([labelled, missing]).pvalue < SELECTIVE_P)


def _by_answer(summary: WindowSummary, positive_class: str | None) -> list[tuple[int, int]]:
    """Count the rows of each answered class and how many of them have a label; rare ones of many are left out."""
    outcome, answers = summary.outcome, summary.prediction
    if not isinstance(answers, CategoricalSummary):
        return []
    if isinstance(outcome, BinaryOutcomeSummary):
        positive = answers.counts.get(positive_class or "", 0)
        return [
            (positive, outcome.tp + outcome.fp),
            (summary.rows - positive, outcome.tn + outcome.fn),
        ]
    if isinstance(outcome, MulticlassOutcomeSummary):
        labelled = outcome.confusion.sum(axis=0)
        counted = [(answers.counts.get(name, 0), int(labelled[i])) for i, name in enumerate(outcome.classes)]
        return [(rows, known) for rows, known in counted if rows >= SELECTIVE_ROWS]
    return []
