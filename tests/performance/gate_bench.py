"""How often the gate errs, and how soon it sees what is true: `python -m tests.performance.gate_bench`.

Challengers as good as their champion, better and worse: two noisy readers of one truth that answer the same requests,
200 labelled pairs a day, judged by log loss with the product's margins from 2,000 to 6,000 pairs. In the first world
rows are independent; in the second each version has good and bad days. The gate looks after every day. Beside it stands
what intervals of 95% for one look decide, after every day, and at looks that wait for a fifth more pairs. Printed are
the share that was promoted, the share that was rejected before the last pair, and the median of pairs up to promotion.
The other parts are of a rollout: `guards_bench.py`.

    --parts guards,watch                        the guards and the reverse shadow alone

    --challengers 50 --processes 1              smoke, not numbers
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil
from multiprocessing import get_context
from typing import Any

import numpy as np
from scipy.special import expit

from monitors.stats.promotion.gate import GatePolicy, judge
from monitors.stats.promotion.paired import compare_pairs
from monitors.stats.promotion.sequential import Looks
from tests.performance.guards_bench import table_of_guards, table_of_watches

PAIRS_A_DAY, FIRST, LAST = 200, 2_000, 6_000
CONFIDENCE = 0.9  # of monitors.workflows.pairs, which needs Django
NOISE = 1.0
"""Of a champion's logit, in units of the truth's standard deviation."""
CHALLENGERS = {"as good": 1.0, "a little better": 0.93, "better": 0.88, "much better": 0.8, "worse": 1.1}
"""The noise of the challengers' logits."""
DAY_SPREADS = {"independent rows": 0.0, "good and bad days": 0.15}
"""How far each version's logits move together on a day."""
POLICY = GatePolicy("log_loss", min_labelled=FIRST, max_labelled=LAST)
EVERY_DAY = list(range(FIRST, LAST + 1, PAIRS_A_DAY))


def fifth_more() -> list[int]:
    """List looks that each wait for a fifth more pairs."""
    looks = [FIRST]
    while looks[-1] < LAST:
        looks.append(min(ceil(looks[-1] * 1.2), LAST))
    return looks


@dataclass(frozen=True)
class Contender:
    """How often it looks, and by which intervals it decides."""

    name: str
    at: Sequence[int]
    interval: dict[str, Any]


CONTENDERS = (
    Contender("the gate, every day", EVERY_DAY, {"confidence": CONFIDENCE, "looks": Looks(FIRST, LAST)}),
    Contender("95% of one look, every day", EVERY_DAY, {"confidence": 0.95}),
    Contender("95% of one look, a fifth more", fifth_more(), {"confidence": 0.95}),
)


def draw_pairs(seed: int, noise: float, day_spread: float) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    truth, days = rng.normal(size=LAST), np.arange(LAST) // PAIRS_A_DAY
    sides = [
        expit(truth + own * rng.normal(size=LAST) + day_spread * rng.normal(size=LAST // PAIRS_A_DAY)[days])
        for own in (NOISE, noise)
    ]
    return {
        "y": (rng.random(LAST) < expit(truth)).astype(float), "champion": sides[0], "challenger": sides[1],
        "block": days,
    }  # fmt: skip


def verdicts(seed: int, noise: float, day_spread: float) -> list[tuple[str, int]]:
    """Return of each contender its decision on one challenger, and after how many pairs it fell."""
    pairs = draw_pairs(seed, noise, day_spread)
    return [_decide(pairs, contender) for contender in CONTENDERS]


def _decide(pairs: dict[str, Any], contender: Contender) -> tuple[str, int]:
    for seen in contender.at:
        until_now = {name: values[:seen] for name, values in pairs.items()}
        decision = judge(compare_pairs(task="binary", **until_now, **contender.interval), POLICY).decision
        if decision != "inconclusive":
            return decision, seen
    raise AssertionError("The gate decides at the last pair.")


def table(pool: ProcessPoolExecutor, challengers: int) -> Iterator[str]:
    yield f"{'world':20}{'challenger':17}{'judged by':31}{'promoted':>9}{'rejected early':>16}{'pairs':>8}"
    for world, day_spread in DAY_SPREADS.items():
        for kind, noise in CHALLENGERS.items():
            decide = partial(verdicts, noise=noise, day_spread=day_spread)
            by_seed = list(pool.map(decide, range(challengers), chunksize=8))
            for contender, found in zip(CONTENDERS, zip(*by_seed, strict=True), strict=True):
                promoted = [pairs for decision, pairs in found if decision == "promote"]
                early = sum(decision == "reject" and pairs < LAST for decision, pairs in found)
                yield (
                    f"{world:20}{kind:17}{contender.name:31}{len(promoted) / challengers:>9.1%}"
                    f"{early / challengers:>16.1%}{int(np.median(promoted)) if promoted else '':>8}"
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
