"""Rows of flights by airport."""

import numpy as np
from numpy.typing import NDArray

from monitors.stats.segments.growth import TimedRows

AIRPORTS = np.array(list("abcdef"), object)


def rows_of(
    rng: np.random.Generator, days: int, *, a_day: int = 500, more_of_d: float = 0.0, block_hours: int = 24
) -> TimedRows:
    """Flights of airports with shares that differ by the day and by the hour although nothing drifts."""
    usual = 150 * np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    by_day = (1 - more_of_d) * rng.dirichlet(usual, days) + more_of_d * (AIRPORTS == "d")
    by_hour = rng.standard_gamma(
        80 * np.repeat(by_day, 24, axis=0)
    )  # of which each row's shares are Dirichlet's
    reached = np.cumsum(by_hour / by_hour.sum(axis=1, keepdims=True), axis=1)
    hours = np.sort(rng.integers(0, 24 * days, a_day * days))
    airport = AIRPORTS[(rng.random(hours.size)[:, None] > reached[hours, :-1]).sum(axis=1)]
    columns: dict[str, NDArray[np.generic]] = {
        "airport": airport,
        "carrier": rng.choice(np.array(list("xyz"), object), hours.size),
        "wind": np.where(rng.random(hours.size) < 0.05, np.nan, rng.normal(size=hours.size)),
    }
    return TimedRows(columns, hours // block_hours)
