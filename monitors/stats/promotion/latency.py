"""How slow a version's slowest answers are, and at least are where chance is allowed for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

QUANTILE = 0.99
CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class SlowestAnswers:
    """The p99 latency in ms of the rows, and what the p99 of such requests is at least, with 99% confidence.

    Both are None where no latency is known.
    """

    p99_ms: float | None
    at_least_ms: float | None


def slowest_answers(latency_ms: ArrayLike | None) -> SlowestAnswers:
    """Measure the latencies (ms, one a row, in the order of time) that are known.

    Rows that follow each other with one latency are one request, which counts once: a machine that stalls for one
    batch of a hundred rows says nothing about the next. The bound is the order statistic of a binomial count
    (David and Nagaraja, Order Statistics, 3rd ed., section 7.1), and never above the p99 itself.

    >>> slowest_answers([2.0] * 100 + [40.0] * 100 + [3.0] * 300)
    SlowestAnswers(p99_ms=40.0, at_least_ms=3.0)
    """
    latency = np.asarray([] if latency_ms is None else latency_ms, dtype=np.float64)
    latency = latency[~np.isnan(latency)]
    if not latency.size:
        return SlowestAnswers(None, None)
    p99 = float(np.quantile(latency, QUANTILE))
    return SlowestAnswers(p99, min(p99, _at_least(_of_requests(latency))))


def _of_requests(latency: NDArray[np.float64]) -> NDArray[np.float64]:
    return latency[np.append(True, latency[1:] != latency[:-1])]


def _at_least(latency: NDArray[np.float64]) -> float:
    """Leave out as many of the slowest as chance puts above the p99."""
    from scipy.stats import binom  # as long to load as all else that a process needs

    by_chance = int(binom.ppf(CONFIDENCE, latency.size, 1 - QUANTILE))
    place = max(latency.size - 1 - by_chance, 0)
    return float(np.partition(latency, place)[place])
