"""How soon a silence is no chance any more, and how seldom what is quiet is called one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.metrics.store.points import Point
from monitors.metrics.traffic.volume import IMPOSSIBLE, Usual, lengthen_silence

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
JOBS = [6, 13]
LEARNT_DAYS = 14  # two weeks tell what is usual

type Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""Draws rows by day and hour."""


def counts_of(draw: Draw, hours: list[int], *, days: int, seed: int) -> np.ndarray:
    """Draw how many rows come in each hour of some days, of which only some hours have rows."""
    counts = np.zeros((days, 24))
    counts[:, hours] = draw(np.random.default_rng(seed), (days, len(hours)))
    return counts.ravel()


def alarms(counts: np.ndarray) -> list[int]:
    """List the hours in which a silence becomes impossible."""
    rows = {FIRST + place * HOUR: float(n) for place, n in enumerate(counts) if n}
    usual, silence, found = Usual(rows, since=FIRST), Point("silence", 0.0, 1), []
    for place in range(24 * LEARNT_DAYS, len(counts)):
        was_beyond = (silence.value or 0) > IMPOSSIBLE
        silence = lengthen_silence(silence, usual, FIRST + place * HOUR)
        if (silence.value or 0) > IMPOSSIBLE and not was_beyond:
            found.append(place)
    return found


def test_36_hours_without_the_two_jobs_of_a_day_are_no_chance() -> None:
    begin, noticed = 60 * 24, 0
    for seed in range(20):
        counts = counts_of(lambda rng, shape: rng.poisson(12, shape), JOBS, days=64, seed=seed)
        counts[begin : begin + 36] = 0
        found = alarms(counts)
        noticed += len(found) == 1 and begin <= found[0] < begin + 36

    assert noticed >= 17


@pytest.mark.parametrize(
    ("draw", "hours"),
    [
        pytest.param(lambda rng, shape: rng.poisson(12, shape), JOBS, id="two jobs of twelve rows"),
        pytest.param(lambda rng, shape: rng.poisson(2.5, shape), JOBS, id="two jobs of two or three rows"),
        pytest.param(
            lambda rng, shape: rng.poisson(12, shape) * (rng.random(shape) > 0.02), JOBS, id="jobs that fail"
        ),
        pytest.param(lambda rng, shape: rng.poisson(3, shape), list(range(8, 16)), id="office hours"),
        pytest.param(lambda rng, shape: rng.geometric(1 / 13, shape) - 1, list(range(24)), id="bursts"),
    ],
)
def test_what_is_quiet_is_no_silence(draw: Draw, hours: list[int]) -> None:
    """At most one alarm in a thousand model-days."""
    found = alarms(counts_of(draw, hours, days=1_000 + LEARNT_DAYS, seed=1))

    assert len(found) <= 1
