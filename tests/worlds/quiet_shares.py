"""Worlds whose days have a rare event in their share of rows, and how often quiet windows of them pass a limit."""

from collections.abc import Callable

import numpy as np

from monitors.stats.share_limits import DayCounts, share_limit

DAYS, REFERENCES, WINDOWS = 28, 200, 200

type Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Draws the shares that days truly have."""

WORLDS: dict[str, Draw] = {
    "independent rows": lambda rng, days: np.full(days, 0.01),
    "days that differ": lambda rng, days: rng.beta(0.5, 9.5, days),
    "days that fall off exponentially": lambda rng, days: np.minimum(rng.exponential(0.03, days), 1.0),
}


def passed(world: Draw, *, rows: int, a_day: int) -> float:
    """Return the share of quiet windows of so many rows that pass the limit of a reference, over many references."""
    rng, days, beyond = np.random.default_rng(0), rows // a_day, 0
    for _ in range(REFERENCES):
        reference = DayCounts.of(rng.binomial(a_day, world(rng, DAYS)), [a_day] * DAYS)
        limit = share_limit(reference, rows)
        hits = [rng.binomial(a_day, world(rng, days)).sum() for _ in range(WINDOWS)]
        beyond += int((np.array(hits) / rows > limit).sum())
    return beyond / (REFERENCES * WINDOWS)
