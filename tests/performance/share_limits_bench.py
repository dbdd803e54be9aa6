"""How often quiet windows pass the limits of shares and of counts, and what is noticed of a fault.

`python -m tests.performance.share_limits_bench`. References have 28 days; 210 rows are a week of 30 rows a day.
Four earlier windows tell how many rows are few; by how much their usual number varies is a share of it.
"""

import numpy as np

from monitors.stats.count_limits import least_count
from monitors.stats.share_limits import DayCounts, share_limit
from tests.worlds.quiet_shares import DAYS, WORLDS, Draw, passed

DRAWS, FAULT = 1_000, 0.12


def noticed(world: Draw, *, rows: int, a_day: int) -> float:
    """Return in which share of draws a first window passes its limit in which 12% of the rows have what is counted."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(DRAWS):
        reference = DayCounts.of(rng.binomial(a_day, world(rng, DAYS)), [a_day] * DAYS)
        found += rng.binomial(rows, FAULT) / rows > share_limit(reference, rows)
    return found / DRAWS


def few_of(usual: int, spread: float) -> tuple[float, float]:
    """Return the shares of quiet windows and of windows with a fifth of their rows that have too few."""
    rng, windows = np.random.default_rng(2), 5
    moved = rng.gamma(1 / spread**2, spread**2, (DRAWS, windows)) if spread else np.ones((DRAWS, windows))
    quiet, fallen = rng.poisson(usual * moved), rng.poisson(usual * moved[:, -1] / 5)
    limits = [least_count(earlier) for earlier in quiet[:, :-1]]
    return float((quiet[:, -1] < limits).mean()), float((fallen < limits).mean())


if __name__ == "__main__":
    print(
        "| days | rows a window (a day) | false in 1,000 windows | 12% noticed, of 100 |\n|---|---|---|---|"
    )
    for name, world in WORLDS.items():
        for rows, a_day in ((30, 30), (210, 30), (200, 200), (1_000, 1_000)):
            false = passed(world, rows=rows, a_day=a_day) * 1_000
            power = noticed(world, rows=rows, a_day=a_day) * 100
            print(f"| {name} | {rows:,} ({a_day:,}) | {false:.2f} | {power:.0f} |")
    print(
        "\n| usual rows | varies by | false in 1,000 windows | a fifth noticed, of 100 |\n|---|---|---|---|"
    )
    for usual in (3, 10, 30, 100, 1_000):
        for spread in (0.0, 0.2):
            false, power = few_of(usual, spread)
            print(f"| {usual:,} | {spread:.0%} | {false * 1_000:.1f} | {power * 100:.0f} |")
