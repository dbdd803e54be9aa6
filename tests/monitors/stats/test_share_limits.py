"""How seldom quiet windows pass the limits of shares of rows, and what is noticed nevertheless."""

from collections.abc import Callable

import numpy as np
import pytest

from monitors.stats.share_limits import TOLERANCE, DayCounts, share_limit

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


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "a_day"), [(30, 30), (210, 30), (1_000, 1_000)])
@pytest.mark.parametrize("world", WORLDS)
def test_at_most_one_quiet_window_in_a_thousand_passes_its_limit(world: str, rows: int, a_day: int) -> None:
    assert passed(WORLDS[world], rows=rows, a_day=a_day) <= 1 / 1_000


def test_days_that_differ_by_chance_alone_leave_little_room_and_those_that_truly_do_leave_more() -> None:
    alike, stormy = DayCounts.of([10] * 28, [1_000] * 28), DayCounts.of([0] * 27 + [280], [1_000] * 28)

    assert share_limit(alike, 1_000) < 0.02 + TOLERANCE
    assert 0.28 + TOLERANCE < share_limit(stormy, 1_000) < 1


def test_a_reference_without_rows_excludes_nothing() -> None:
    assert share_limit(DayCounts.of([0, 0], [0, 0]), 100) == 1.0
