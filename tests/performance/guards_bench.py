"""How often the guards of a rollout err, and how soon they see harm: part of `python -m tests.performance.gate_bench`.

A challenger answers 5%, 25% and 50% of 20 requests a second, an hour each; guards look every 15 seconds. Then it is
watched beside the champion of before, with 200 labelled pairs a day, and the watch looks every day.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil, log
from typing import Any

import numpy as np

from monitors.stats.promotion.guards import Events, log_evidence_of_mismatch, log_evidence_of_more
from monitors.stats.promotion.paired import compare_pairs
from monitors.stats.promotion.sequential import Looks

FAILURES_CHANCE, SPLIT_CHANCE = (
    0.004,
    0.001 / 3,
)  # a step; of monitors.workflows.rollouts.checks, which needs Django
WATCH_CONFIDENCE = 0.98  # of monitors.workflows.rollouts.repair
REQUESTS_A_CHECK = 300
SHARES = (0.05, 0.25, 0.5)
CHECKS_A_STEP = 240
FAILURE_RATES = (0.0, 0.001, 0.01, 0.05)
FIRST_PAIRS, LAST_PAIRS, PAIRS_A_DAY = 2_000, 6_000, 200


@dataclass(frozen=True)
class Stop:
    """What stopped a challenger, and after how many of its own requests."""

    guard: str
    requests: int


def roll_out(seed: int, *, champion: float, challenger: float) -> Stop | None:
    """Roll out a challenger that fails this share of its requests; None where no guard stopped it."""
    rng = np.random.default_rng(seed)
    earlier: list[Events] = []
    for share in SHARES:
        answered, failed = np.zeros(2, int), np.zeros(2, int)
        for _ in range(CHECKS_A_STEP):
            own = rng.binomial(REQUESTS_A_CHECK, share)
            requests = np.array([REQUESTS_A_CHECK - own, own])
            answered += requests
            failed += rng.binomial(requests, [champion, challenger])
            now = Events(answered[0], failed[0], answered[1], failed[1])
            seen = sum(step.challenger for step in earlier) + int(answered[1])
            if log_evidence_of_more([*earlier, now]) >= -log(FAILURES_CHANCE):
                return Stop("failures", seen)
            if log_evidence_of_mismatch(int(answered[0]), int(answered[1]), share) >= -log(SPLIT_CHANCE):
                return Stop("split", seen)
        earlier.append(now)
    return None


def watch(seed: int, *, noise: float) -> str:
    """Watch a promoted challenger beside the champion of before; say whether it is rolled back."""
    from tests.performance.gate_bench import GOOD_AND_BAD_DAYS, draw_pairs

    pairs = draw_pairs(GOOD_AND_BAD_DAYS, seed, noise)
    pairs["champion"], pairs["challenger"] = pairs["challenger"], pairs["champion"]  # the new one answers
    for seen in range(PAIRS_A_DAY, LAST_PAIRS + 1, PAIRS_A_DAY):
        until_now: dict[str, Any] = {name: values[:seen] for name, values in pairs.items()}
        looks = Looks(FIRST_PAIRS, LAST_PAIRS)
        compared = compare_pairs(task="binary", **until_now, confidence=WATCH_CONFIDENCE, looks=looks)
        if compared.metrics["log_loss"].gain[0] > 0:
            return "rolled back"
    return "stays"


def table_of_guards(pool: ProcessPoolExecutor, challengers: int) -> Iterator[str]:
    yield f"{'champion fails':16}{'challenger fails':18}{'stopped':>9}{'requests: median':>18}{'95%':>8}"
    for rate in FAILURE_RATES:
        for more in (0.0, 0.01, 0.2):
            draw = partial(roll_out, champion=rate, challenger=rate + more)
            found = [stop for stop in pool.map(draw, range(challengers), chunksize=8) if stop is not None]
            line = f"{rate:<16.1%}{rate + more:<18.1%}{len(found) / challengers:>9.1%}"
            if len(found) >= challengers / 2:
                requests = [stop.requests for stop in found]
                middle, late = (ceil(value) for value in np.quantile(requests, [0.5, 0.95]))
                line += f"{middle:>18,}{late:>8,}"
            yield line


def table_of_watches(pool: ProcessPoolExecutor, champions: int) -> Iterator[str]:
    yield f"{'promoted':17}{'rolled back':>12}"
    for kind, noise in (("as good", 1.0), ("better", 0.88), ("worse", 1.1), ("much worse", 1.3)):
        ends = list(pool.map(partial(watch, noise=noise), range(champions), chunksize=8))
        yield f"{kind:17}{ends.count('rolled back') / champions:>12.1%}"
