"""How good the answers probably are, before any label has come."""

import zlib
from datetime import timedelta
from functools import lru_cache

import numpy as np

from monitors.metrics.answers.performance import describe_estimate, limit_of
from monitors.metrics.catalogue import ESTIMATED, METRICS
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.rows.expected_errors import ExpectedRows, expected_rows
from monitors.metrics.store.models import PointStatus
from monitors.metrics.store.points import Point, judged_by_rows
from monitors.stats.estimation.day_errors import DayErrors, allow_for_days, errors_by_day
from monitors.stats.estimation.error_profile import estimate_errors
from monitors.stats.estimation.expectation import estimate_performance
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.metrics import measure_outcomes


def measure_estimates(measured: MeasuredSummary) -> list[Point]:
    """Estimate by the version's own reference; the draws are the same whenever and wherever they are made.

    A day has no estimate until its rows are read: rules would take two ways of estimating for a change.
    """
    segment, reference, context = measured.segment, measured.reference, measured.context
    if reference is None or reference.lacks or reference.version_id != segment.version_id:
        return []
    if not (segment.is_whole and measured.may_be_judged):
        return []
    errors = _expected_rows(measured, reference) if context.model.task == "regression" else None
    if errors is not None and errors.is_awaited:
        return []
    population = zlib.crc32(f"{segment.role} {segment.version}".encode())
    return estimated_points(
        segment.summary,
        reference,
        length=measured.window.length,
        min_rows=measured.monitor.min_rows,
        positive_class=context.signature_of(segment.version_id).positive_class,
        errors=errors,
        rng=np.random.default_rng([reference.seed, int(measured.window.start.timestamp()), population]),
    )


def _expected_rows(measured: MeasuredSummary, reference: LoadedReference) -> ExpectedRows:
    return expected_rows(
        measured.context.model,
        reference,
        role=measured.segment.role,
        version=measured.segment.version,
        rows=measured.segment.summary.rows,
        span=measured.span,
        window=measured.window,
    )


def estimated_points(
    summary: WindowSummary,
    reference: LoadedReference,
    *,
    length: timedelta,
    min_rows: int,
    positive_class: str | None,
    errors: ExpectedRows | None,
    rng: np.random.Generator,
) -> list[Point]:
    """Estimate the task's metrics from scores or predictions alone, by names such as `estimated_accuracy`.

    The limit is that of the realised metric; the interval of a window of this `length` allows for what rows of one day
    share, where the reference has days. A regression's `errors` are its rows by what is expected of their features, or
    why the size of its predictions stands in. Where the reference cannot tell, the points have no data and say why;
    where it has no labels there are none.
    """
    if isinstance(reference.estimator, str):
        return [
            Point(name, None, 0, PointStatus.NO_DATA, detail={"why": reference.estimator})
            for name in ESTIMATED
            if name.removeprefix("estimated_") in reference.performance
        ]
    if errors is not None and errors.counts is not None and reference.learnt_errors is not None:
        estimates = estimate_errors(reference.learnt_errors.profile, errors.counts)
        days = reference.learnt_errors.days
    else:
        estimates = _estimates(summary, reference, positive_class, rng)
        days = _day_errors(reference, positive_class) if estimates else {}
    return [
        _point(
            f"estimated_{metric}",
            allow_for_days(metric, estimate, days.get(metric), length=length.days),
            reference.performance,
            min_rows,
            _basis(errors),
        )
        for metric, estimate in estimates.items()
    ]


def _basis(errors: ExpectedRows | None) -> dict[str, str]:
    """Return what a regression's errors were estimated by, and why."""
    if errors is None:
        return {}
    by = {"estimated_by": "prediction" if errors.counts is None else "features"}
    return by | ({"why": errors.why} if errors.why else {})


@lru_cache(maxsize=64)
def _day_errors(reference: LoadedReference, positive_class: str | None) -> dict[str, DayErrors]:
    """Estimate the reference's own days like windows, and hold that against their labels."""
    rng = np.random.default_rng([reference.seed, 1])
    return errors_by_day(
        [
            (_estimates(day, reference, positive_class, rng), measure_outcomes(day.outcome))
            for _, day in reference.read_days(reference.dates)
            if day.outcome is not None
        ]
    )


def _estimates(
    summary: WindowSummary,
    reference: LoadedReference,
    positive_class: str | None,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    if reference.error_profile is not None and isinstance(summary.prediction, NumericSummary):
        profile, predictions = reference.error_profile, summary.prediction
        return estimate_errors(profile, profile.count(predictions.positions, predictions.counts))
    estimator, answers, score = reference.estimator, summary.prediction, summary.score
    if estimator is None or isinstance(estimator, str) or score is None:
        return {}
    if not isinstance(answers, CategoricalSummary):
        return {}
    # Rows without a score are taken to be answered like the others.
    answered = answers.counts.get(positive_class or "", 0)
    answered = round(answered * score.n / max(summary.rows, 1))
    return estimate_performance(estimator, score, answered=answered, rng=rng)


def _point(
    metric: str,
    estimate: Estimate,
    usual: dict[str, dict[str, float]],
    min_rows: int,
    basis: dict[str, str],
) -> Point:
    limit, _ = limit_of(metric.removeprefix("estimated_"), usual, estimate)
    return Point(
        metric,
        estimate.value,
        estimate.n,
        estimate_status(metric, estimate.value, estimate.n, limit, min_rows),
        lower=estimate.lower,
        upper=estimate.upper,
        threshold=limit,
        detail=describe_estimate(estimate) | basis | {"min_rows": min_rows},
    )


def estimate_status(metric: str, value: float | None, n: int, limit: float | None, min_rows: int) -> str:
    """Judge an estimate by its rows and its limit."""
    status = judged_by_rows(value, n, min_rows)
    if status == PointStatus.OK and value is not None and limit is not None:
        is_beyond = value > limit if METRICS[metric].lower_is_better else value < limit
        return PointStatus.WARNING if is_beyond else PointStatus.OK
    return status
