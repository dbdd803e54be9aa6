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


def slowest_answers(latency_ms: ArrayLike | None, requests: ArrayLike | None = None) -> SlowestAnswers:
    """Measure the latencies (ms, one a row) that are known.

    `requests` numbers the request of each row; without it each row is one. The rows of a request waited together: a
    machine that stalls for one batch of a hundred rows says nothing about the next. A request weighs as many rows as it
    has, and so many requests of one size as vary like them count (Kish, Survey Sampling, 1965, section 11.7). The bound
    is the order statistic of a binomial count (David and Nagaraja, Order Statistics, 3rd ed., section 7.1), and never
    above the p99 itself.

    >>> latency, requests = [2.0] * 100 + [40.0] * 100 + [3.0] * 300, [0] * 100 + [1] * 100 + list(range(2, 302))
    >>> slowest_answers(latency, requests)
    SlowestAnswers(p99_ms=40.0, at_least_ms=40.0)
    """
    latency = np.asarray([] if latency_ms is None else latency_ms, dtype=np.float64)
    numbers = np.arange(latency.size) if requests is None else np.asarray(requests)
    is_known = ~np.isnan(latency)
    latency, numbers = latency[is_known], numbers[is_known]
    if not latency.size:
        return SlowestAnswers(None, None)
    p99 = float(np.quantile(latency, QUANTILE))
    _, first, rows = np.unique(numbers, return_index=True, return_counts=True)
    return SlowestAnswers(p99, min(p99, _at_least(latency[first], rows.astype(np.float64))))


def _at_least(latency: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
    """Leave out as large a share of the slowest rows as chance puts above the p99."""
    from scipy.stats import binom  # as long to load as all else that a process needs

    slowest_first = np.argsort(latency)[::-1]
    latency, rows = latency[slowest_first], rows[slowest_first]
    count = int(rows.sum() ** 2 / (rows**2).sum())
    by_chance = binom.ppf(CONFIDENCE, count, 1 - QUANTILE) / count
    slower = (np.cumsum(rows) - rows) / rows.sum()  # the share of the rows that are slower than each request
    return float(latency[np.searchsorted(slower, by_chance + 1e-12, side="right") - 1])
