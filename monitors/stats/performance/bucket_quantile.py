"""A quantile of values of which only a histogram with fixed limits is known.

Within a bucket, values count as evenly spread: what Prometheus' `histogram_quantile` takes for granted as well. The
quantile's bounds are the limits of the bucket that holds it, which are sure.
"""

from collections.abc import Sequence

from monitors.stats.performance.estimate import Estimate


def bucket_quantile(limits: Sequence[float], counts: Sequence[int], q: float) -> Estimate:
    """Estimate the quantile `q` of values from 0 on, of which `counts[i]` are at most `limits[i]` and above the last.

    The last count is of values beyond all limits; of a quantile among these the largest limit is told, and no upper
    bound.

    >>> bucket_quantile([1.0, 2.0, 4.0], [50, 40, 10, 0], 0.95)
    Estimate(value=3.0, n=100, lower=2.0, upper=4.0, method='bucket', detail={})
    """
    n = sum(counts)
    if not n:
        return Estimate(None, 0)
    wanted, below, lower = q * n, 0, 0.0
    for limit, count in zip(limits, counts, strict=False):
        if count and below + count >= wanted:
            value = lower + (limit - lower) * (wanted - below) / count
            return Estimate(value, n, lower, limit, "bucket")
        below, lower = below + count, limit
    return Estimate(lower, n, lower, None, "bucket")
