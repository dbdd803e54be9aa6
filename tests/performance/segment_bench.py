"""What a search for segments costs, by loss and by drift, and how often quiet days make the latter name something.

`python -m tests.performance.segment_bench [--searches N]`: 20,000 rows of 30 features (28 numbers, two categories) of
two days beside as many of 28 days; then N searches of quiet days, whose shares differ by the day and by the hour,
beside 28 days and N beside 5. Processor time of one thread.
"""

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.segments.growth import TimedRows, search_growth
from monitors.stats.segments.search import ScoredRows, search_segments
from tests.monitors.stats.segments.airports import AIRPORTS, rows_of

NUMBERS, ROWS, DAYS = 28, 20_000, 28


def wide_rows(rng: np.random.Generator, days: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Make rows of many features and the hours that they are of."""
    columns: dict[str, NDArray[Any]] = {f"x{place}": rng.normal(size=ROWS) for place in range(NUMBERS)}
    columns["airport"] = rng.choice(AIRPORTS, ROWS)
    columns["plan"] = np.array(rng.choice(list("abcdefghij"), ROWS), object)
    return columns, np.sort(rng.integers(0, 24 * days, ROWS))


def cost() -> None:
    rng = np.random.default_rng(0)
    (window, hours), (usual, usual_hours) = wide_rows(rng, 2), wide_rows(rng, DAYS)
    began = time.process_time()
    by_loss = search_segments(
        ScoredRows(window, rng.random(ROWS), hours), ScoredRows(usual, rng.random(ROWS), usual_hours // 24)
    )
    halfway = time.process_time()
    by_drift = search_growth(TimedRows(window, hours), TimedRows(usual, usual_hours // 24), days=2)
    ended = time.process_time()
    print(f"by loss:  {by_loss.tried:,} segments in {halfway - began:.1f} s, {len(by_loss.found)} found")
    print(f"by drift: {by_drift.tried:,} segments in {ended - halfway:.1f} s, {len(by_drift.found)} found")


def false_findings(searches: int, days: int, of_reference: int) -> None:
    named = 0
    for seed in range(searches):
        rng = np.random.default_rng([seed, days, of_reference])
        usual = rows_of(rng, of_reference)
        named += bool(search_growth(rows_of(rng, days, block_hours=1), usual, days=days).found)
    print(f"{days} quiet days beside {of_reference}: {named} of {searches} searches named something")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=150)
    searches = parser.parse_args().searches
    cost()
    for days in (1, 3):
        for of_reference in (DAYS, 5):
            false_findings(searches, days, of_reference)


if __name__ == "__main__":
    main()
