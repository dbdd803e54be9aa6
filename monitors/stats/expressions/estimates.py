"""Turns the sums of a metric into its value with a 95 % interval."""

from __future__ import annotations

from math import isfinite, sqrt

from monitors.stats.expressions.tree import Aggregate, AggregateFunction
from monitors.stats.mergeable.expression_sums import ExpressionSums
from monitors.stats.mergeable.outcomes import Moments
from monitors.stats.performance.estimate import Estimate, around, mean_loss, share


def estimate_metric(metric: Aggregate, sums: ExpressionSums, hours: float) -> Estimate:
    """Estimate a metric from its sums over a window of `hours` hours; undefined where no row counts.

    A mean has the interval of a normal variable and a share Wilson's. A count, a rate and a sum are of rows that come
    by themselves (compound Poisson: the variance of a sum is the sum of squares). A ratio of sums has the delta
    method's, as value and divisor vary together from row to row. Extremes and quantiles have none.
    """
    values, n = sums.values, sums.n
    match metric.function:
        case AggregateFunction.COUNT:
            return around(values.total, n, sqrt(values.total_sq), method="poisson", least=0.0)
        case AggregateFunction.RATE:
            return around(values.total / hours, n, sqrt(values.total_sq) / hours, method="poisson", least=0.0)
        case _ if not n:
            return Estimate(None, 0)
        case AggregateFunction.SUM:
            return around(values.total, n, sqrt(values.total_sq), method="compound poisson")
        case AggregateFunction.MEAN:
            return mean_loss(values)
        case AggregateFunction.SHARE:
            return share(round(values.total), n)
        case AggregateFunction.RATIO:
            assert sums.divisors is not None
            return _ratio(values, sums.divisors, sums.product)
        case AggregateFunction.MIN:
            return _without_interval(sums.minimum, n)
        case AggregateFunction.MAX:
            return _without_interval(sums.maximum, n)
        case AggregateFunction.QUANTILE:
            assert sums.sketch is not None
            assert metric.q is not None
            return _without_interval(float(sums.sketch.quantile(metric.q)), n)


def _ratio(values: Moments, divisors: Moments, product: float) -> Estimate:
    """Divide sums; each row is off the ratio by value - ratio x divisor, which on average is 0."""
    n = values.n
    if not divisors.total:
        return Estimate(None, n)
    ratio = values.total / divisors.total
    squares = values.total_sq - 2 * ratio * product + ratio * ratio * divisors.total_sq
    error = (
        sqrt(max(squares, 0.0) * n / (n - 1)) / abs(divisors.total)
        if n > 1 and isfinite(squares)
        else float("nan")
    )
    return around(ratio, n, error, method="delta")


def _without_interval(value: float | None, n: int) -> Estimate:
    return Estimate(value if value is not None and isfinite(value) else None, n)
