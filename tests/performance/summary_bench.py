"""What it costs to summarise a million rows of 30 numbers: `python -m tests.performance.summary_bench [--json PATH]`.

Ours makes counts and sums of each column on the grid, as a worker does with a window in memory. Beside it, on the same
memory: one `np.sum`, the least that any reader of it can take, and `np.histogram` with the ten edges that a stability
index needs. Rounds are interleaved; times are processor time, so that other work on the machine counts less. What the
summaries hold is compared with the rows.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from monitors.stats.mergeable.sketches import NumericSummary, choose_centre, summarise_numbers

COLUMNS = 30


def table_of(rows: int) -> np.ndarray:
    """Draw columns of five awkward shapes, one after another in memory."""
    rng = np.random.default_rng(20130101)
    shapes: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(size=rows),
        lambda: rng.lognormal(size=rows),
        lambda: np.floor(rng.gamma(2, 3, size=rows)),
        lambda: np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(size=rows)),
        lambda: rng.normal(1e6, 100, size=rows),
    ]
    return np.stack([shapes[place % len(shapes)]() for place in range(COLUMNS)])


def measure(rows: int, rounds: int) -> dict[str, Any]:
    table = table_of(rows)
    centres = [choose_centre(column) for column in table]
    edges = [np.unique(np.quantile(column, np.arange(11) / 10)) for column in table]
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: [
            summarise_numbers(column, centre=centre) for column, centre in zip(table, centres, strict=True)
        ],
        "sum": lambda: table.sum(),
        "histogram": lambda: [
            np.histogram(column, inner) for column, inner in zip(table, edges, strict=True)
        ],
    }
    ms: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            began = time.process_time()
            found = work()
            ms[name].append((time.process_time() - began) * 1e3)
            if name == "ours":
                check(found, table)
    return {
        "rows": rows,
        "ms": {name: spread(values) for name, values in ms.items()},
        "ratios": {
            name: spread([peer / own for peer, own in zip(ms[name], ms["ours"], strict=True)])
            for name in ("sum", "histogram")
        },
    }


def check(found: list[NumericSummary], table: np.ndarray) -> None:
    """Hold every row once, at its place; raises AssertionError."""
    for summary, column in zip(found, table, strict=True):
        total = summary.total + summary.n * summary.centre
        if summary.n != column.size or not np.isclose(total, column.sum(), rtol=1e-9, atol=1e-6):
            raise AssertionError(f"{summary.n} rows with the sum {total}, and not {column.sum()}.")


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    results = measure(options.rows, options.rounds)
    print(f"\nsummarise {results['rows']:,} rows x {COLUMNS} numbers, counts and sums; processor time")
    for name, ms in results["ms"].items():
        ratio = results["ratios"].get(name)
        beside = f"ours takes {1 / ratio['median']:.1f} times as long" if ratio and ratio["median"] else ""
        print(f"  {name:<10}{ms['median']:>9.1f} ms [{ms['min']:.1f}-{ms['max']:.1f}]  {beside}")
    if options.json:
        options.json.write_text(json.dumps({"summary": results}, indent=2))


if __name__ == "__main__":
    main()
