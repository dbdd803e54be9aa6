"""Reference and current of one column in the same bins on one axis."""

from collections.abc import Sequence

import numpy as np

from driftline.base.number_format import format_number
from driftline.web.charts.svg import Bin, Overlay
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, merge_columns

NUMBER_BINS = 36
LEVELS_SHOWN = 14
_TAIL = 0.002


type Wording = tuple[str, str]
"""How a sentence says of which of the two columns a number is."""
_USUAL: Wording = ("in the reference", "now")


def overlay_of(
    name: str, reference: ColumnSummary, current: Sequence[ColumnSummary], words: Wording = _USUAL
) -> Overlay | None:
    """Lay a window over its reference; None where the two are of different kinds or empty."""
    now = merge_columns(list(current))
    if isinstance(reference, NumericSummary) and isinstance(now, NumericSummary):
        return _numbers(name, reference, now, words) if reference.n and now.n else None
    if isinstance(reference, CategoricalSummary) and isinstance(now, CategoricalSummary):
        return _categories(name, reference, now) if reference.n and now.n else None
    return None


def _numbers(name: str, reference: NumericSummary, now: NumericSummary, words: Wording) -> Overlay:
    edges = _edges(reference, now)
    before, after = _shares(reference, edges), _shares(now, edges)
    bins = [
        Bin(f"{format_number(float(edges[i]))} to {format_number(float(edges[i + 1]))}", before[i], after[i])
        for i in range(len(edges) - 1)
    ]
    summary = (
        f"{name}: median {format_number(float(reference.quantile(0.5)))} {words[0]}, "
        f"{format_number(float(now.quantile(0.5)))} {words[1]}, on {now.n:,} rows."
    )
    ticks = [format_number(float(value)) for value in np.linspace(edges[0], edges[-1], 5)]
    return Overlay(bins, is_numeric=True, summary=summary, axis=ticks)


def _edges(reference: NumericSummary, now: NumericSummary) -> np.ndarray:
    """Bins over both columns, without the farthest tails, which would press everything else into one bin."""
    low = min(float(reference.quantile(_TAIL)), float(now.quantile(_TAIL)))
    high = max(float(reference.quantile(1 - _TAIL)), float(now.quantile(1 - _TAIL)))
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, NUMBER_BINS + 1)


def _shares(column: NumericSummary, edges: np.ndarray) -> list[float]:
    """Shares of all values; the outer bins hold what lies beyond them."""
    counts = column.histogram(edges).astype(float)
    counts[0] += column.counts[column.positions < edges[0]].sum()
    counts[-1] += column.counts[column.positions > edges[-1]].sum()
    return [float(share) for share in counts / max(column.n, 1)]


def _categories(name: str, reference: CategoricalSummary, now: CategoricalSummary) -> Overlay:
    levels = sorted({*reference.counts, *now.counts}, key=lambda level: -_change(reference, now, level))
    shown = levels if len(levels) == LEVELS_SHOWN + 1 else levels[:LEVELS_SHOWN]
    folded = levels[len(shown) :]
    bins = [_level(reference, now, level) for level in shown]
    if folded:
        bins.append(
            Bin(
                f"{len(folded)} others",
                sum(reference.counts.get(level, 0) for level in folded) / reference.n,
                sum(now.counts.get(level, 0) for level in folded) / now.n,
            )
        )
    most = bins[0]
    summary = f"{name}: {most.name} went from {most.reference:.1%} to {most.current:.1%} of {now.n:,} rows."
    return Overlay(bins, is_numeric=False, summary=summary)


def _change(reference: CategoricalSummary, now: CategoricalSummary, level: str) -> float:
    return abs(now.counts.get(level, 0) / now.n - reference.counts.get(level, 0) / reference.n)


def _level(reference: CategoricalSummary, now: CategoricalSummary, level: str) -> Bin:
    return Bin(
        level,
        reference.counts.get(level, 0) / reference.n,
        now.counts.get(level, 0) / now.n,
        is_new=level not in reference.counts,
    )
