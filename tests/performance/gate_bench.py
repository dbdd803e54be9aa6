"""How often the gate errs, and how soon it sees what is true: `python -m tests.performance.gate_bench`.

Challengers as good as their champion, better and worse: two noisy readers of one truth that answer the same requests,
judged by log loss with the product's margins from 2,000 to 6,000 labelled pairs, in worlds where rows are independent
and where they are not. The gate looks after every day. Beside it stands a single look at the last pair, by the same
bound on the same pairs. Printed are the share that was promoted, by the gate and by that look, the share that was
rejected before the last pair, the median of pairs up to promotion, and how many times as wide the interval at the last
pair is as one that takes rows for independent. The other parts are of a rollout: `guards_bench.py`.

    --parts guards,watch                        the guards and the reverse shadow alone

    --challengers 50 --processes 1              smoke, not numbers
"""

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from monitors.stats.promotion.gate import GatePolicy, judge
from monitors.stats.promotion.paired import compare_pairs
from monitors.stats.promotion.sequential import Looks
from tests.performance.guards_bench import table_of_guards, table_of_watches

FIRST, LAST = 2_000, 6_000
CONFIDENCE = 0.9  # of monitors.workflows.judging.pairs, which needs Django
NOISE = 1.0
"""Of a champion's logit, in units of the truth's standard deviation."""
NULL, BETTER = {"as good": 1.0}, {"better": 0.88}
CHALLENGERS = NULL | {"a little better": 0.93} | BETTER | {"much better": 0.8, "worse": 1.1}
"""The noise of the challengers' logits."""
POLICY = GatePolicy("log_loss", min_labelled=FIRST, max_labelled=LAST)
LIKE_YESTERDAY = 0.7  # the autocorrelation of days
ENTITIES, LEAVING = 100, 0.1  # at a time, and how many of them leave in a day


@dataclass(frozen=True)
class Drawn:
    """What moves rows together: of the truth (rows,), of labels (rows,), and of both versions' logits (2, rows)."""

    truth: NDArray[np.float64]
    labels: NDArray[np.float64]
    versions: NDArray[np.float64]


type Together = Callable[[np.random.Generator, NDArray[np.int64]], Drawn]


def alone(rng: np.random.Generator, days: NDArray[np.int64]) -> Drawn:
    """Rows have nothing to do with each other."""
    return Drawn(rng.normal(size=days.size), np.zeros(days.size), np.zeros((2, days.size)))


def good_and_bad_days(rng: np.random.Generator, days: NDArray[np.int64]) -> Drawn:
    """Each version has its own good and bad days."""
    versions = 0.15 * rng.normal(size=(2, days[-1] + 1))[:, days]
    return Drawn(rng.normal(size=days.size), np.zeros(days.size), versions)


def days_like_the_day_before(rng: np.random.Generator, days: NDArray[np.int64]) -> Drawn:
    """Labels of a day resemble those of the day before, and versions lean to either side, one as far as the other."""
    moved = rng.normal(size=days[-1] + 1)
    for day in range(1, moved.size):
        moved[day] = LIKE_YESTERDAY * moved[day - 1] + np.sqrt(1 - LIKE_YESTERDAY**2) * moved[day]
    leaning = np.repeat([[0.1], [-0.1]], days.size, axis=1)
    return Drawn(rng.normal(size=days.size), 0.3 * moved[days], leaning)


def entities_that_come_back(rng: np.random.Generator, days: NDArray[np.int64]) -> Drawn:
    """Each of a hundred customers, of whom a tenth is replaced every day, is misread by either version in its way."""
    here, known = np.arange(ENTITIES), ENTITIES
    who = np.empty(days.size, np.int64)
    for day in range(days[-1] + 1):
        leaves = rng.random(ENTITIES) < LEAVING
        here[leaves] = known + np.arange(leaves.sum())
        known += int(leaves.sum())
        who[days == day] = rng.choice(here, (days == day).sum())
    truth = np.sqrt(0.5) * (rng.normal(size=known)[who] + rng.normal(size=days.size))
    return Drawn(truth, np.zeros(days.size), 0.5 * rng.normal(size=(2, known))[:, who])


def two_percent_positive(rng: np.random.Generator, days: NDArray[np.int64]) -> Drawn:
    return Drawn(rng.normal(size=days.size) - 4.6, np.zeros(days.size), np.zeros((2, days.size)))


@dataclass(frozen=True)
class World:
    """How rows come: so many pairs a day, moved together in this way."""

    name: str
    together: Together
    pairs_a_day: int = 200
    challengers: dict[str, float] = field(default_factory=lambda: NULL | BETTER)

    @property
    def looks(self) -> range:
        first = -(-FIRST // self.pairs_a_day) * self.pairs_a_day
        return range(first, LAST + 1, self.pairs_a_day)


GOOD_AND_BAD_DAYS = World("good and bad days", good_and_bad_days, challengers=CHALLENGERS)
WORLDS = (
    World("independent rows", alone, challengers=CHALLENGERS),
    GOOD_AND_BAD_DAYS,
    World("days like the day before", days_like_the_day_before),
    World("entities that come back", entities_that_come_back),
    World("2% positive", two_percent_positive),
    World("five days", alone, pairs_a_day=1_200),
    World("five good and bad days", good_and_bad_days, pairs_a_day=1_200),
)


@dataclass(frozen=True)
class Outcome:
    """What the gate decided after how many pairs, what a single look at the last pair did, and that one's width."""

    decision: str
    pairs: int
    at_once: str
    width: float


def draw_pairs(world: World, seed: int, noise: float) -> dict[str, Any]:
    rng, days = np.random.default_rng(seed), np.arange(LAST) // world.pairs_a_day
    drawn = world.together(rng, days)
    champion, challenger = (
        expit(drawn.truth + own * rng.normal(size=LAST) + moved)
        for own, moved in zip((NOISE, noise), drawn.versions, strict=True)
    )
    y = (rng.random(LAST) < expit(drawn.truth + drawn.labels)).astype(float)
    return {"y": y, "champion": champion, "challenger": challenger, "block": days}


def outcome_of(seed: int, world: World, noise: float) -> Outcome:
    pairs = draw_pairs(world, seed, noise)
    decision, seen = _decide(pairs, world.looks)
    whole = compare_pairs(task="binary", **pairs, confidence=CONFIDENCE)
    by_rows = compare_pairs(task="binary", **pairs | {"block": np.arange(LAST)}, confidence=CONFIDENCE)
    widths = [
        one.metrics[POLICY.objective].upper - one.metrics[POLICY.objective].lower for one in (whole, by_rows)
    ]
    return Outcome(decision, seen, judge(whole, POLICY).decision, widths[0] / widths[1])


def _decide(pairs: dict[str, Any], looks: range) -> tuple[str, int]:
    for seen in looks:
        until_now = {name: values[:seen] for name, values in pairs.items()}
        comparison = compare_pairs(
            task="binary", **until_now, confidence=CONFIDENCE, looks=Looks(FIRST, LAST)
        )
        if (decision := judge(comparison, POLICY).decision) != "inconclusive":
            return decision, seen
    raise AssertionError("The gate decides at the last pair.")


def table(pool: ProcessPoolExecutor, challengers: int) -> Iterator[str]:
    yield (
        f"{'world':26}{'challenger':17}{'promoted':>9}{'by one look':>13}{'rejected early':>16}"
        f"{'pairs':>8}{'width':>7}"
    )
    for world in WORLDS:
        for kind, noise in world.challengers.items():
            ask = partial(outcome_of, world=world, noise=noise)
            found = list(pool.map(ask, range(challengers), chunksize=8))
            promoted = [one.pairs for one in found if one.decision == "promote"]
            at_once = sum(one.at_once == "promote" for one in found)
            early = sum(one.decision == "reject" and one.pairs < LAST for one in found)
            yield (
                f"{world.name:26}{kind:17}{len(promoted) / challengers:>9.1%}{at_once / challengers:>13.1%}"
                f"{early / challengers:>16.1%}{int(np.median(promoted)) if promoted else '':>8}"
                f"{np.median([one.width for one in found]):>7.2f}"
            )


PARTS = {"gate": table, "guards": table_of_guards, "watch": table_of_watches}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--challengers", type=int, default=1_000, help="of each kind, in each world")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for part in options.parts.split(","):
            print(f"-- {part} --")
            for line in PARTS[part](pool, options.challengers):
                print(line, flush=True)
    print(f"{options.challengers:,} challengers of each kind, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
