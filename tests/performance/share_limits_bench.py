"""How often quiet windows pass the limits of shares, and what is noticed of 12% of the rows.

`python -m tests.performance.share_limits_bench`. References have 28 days; 210 rows are a week of 30 rows a day.
"""

import numpy as np

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


if __name__ == "__main__":
    print(
        "| days | rows a window (a day) | false in 1,000 windows | 12% noticed, of 100 |\n|---|---|---|---|"
    )
    for name, world in WORLDS.items():
        for rows, a_day in ((30, 30), (210, 30), (200, 200), (1_000, 1_000)):
            false = passed(world, rows=rows, a_day=a_day) * 1_000
            power = noticed(world, rows=rows, a_day=a_day) * 100
            print(f"| {name} | {rows:,} ({a_day:,}) | {false:.2f} | {power:.0f} |")
