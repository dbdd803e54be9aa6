"""When rows began to be others: the day from which the share of some segment differs from the days before.

A window that holds the onset of a change is a mixture: its days differ by what changed, so that the change looks like
their own variation. For each segment of one column and each day, the mean share of the days from it on is compared with
that of the days before, by Student's t with the spread of days within both parts, which is never less than that of
independent rows. The pair that is least likely by chance is the onset, where its p-value holds for all that was tried
(Bonferroni). What is found from an onset on is still judged by the days of the reference (`growth.py`).
"""

from __future__ import annotations

import numpy as np
import scipy

from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.segments.tables import BlockedRows, Field, single_segments

MIN_DAYS, MIN_PART_DAYS = 5, 2  # of a window, and of its parts before and after an onset
RATE = 0.01


def find_onset(rows: BlockedRows, *, least: int) -> int | None:
    """Return the day from which some segment of at least so many rows has another share; None where none stands out.

    The blocks of `rows` are days.
    """
    days = np.unique(rows.block)
    if days.size < MIN_DAYS or not rows.columns:
        return None
    field = Field.lay_out(rows, None, least=least)
    tables = [batch.window.rows for batch in single_segments(field)]
    counts = np.concatenate(tables) if tables else np.empty((0, days.size))
    counts = counts[counts.sum(axis=1) >= least]
    if not counts.size:
        return None
    p_values = _p_values(counts, field.whole.rows[0])
    if p_values.min() * p_values.size > RATE:
        return None
    return int(days[MIN_PART_DAYS + np.unravel_index(p_values.argmin(), p_values.shape)[1]])


def _p_values(counts: FloatArray, whole: FloatArray) -> FloatArray:
    """Return how likely by chance the days from each one on differ as much: a row a segment, a column an onset."""
    days = whole.size
    shares = counts / whole
    pooled = counts.sum(axis=1) / whole.sum()
    of_rows = pooled * (1 - pooled) * np.mean(1 / whole)
    columns = []
    for split in range(MIN_PART_DAYS, days - MIN_PART_DAYS + 1):
        before, after = shares[:, :split], shares[:, split:]
        squares = split * before.var(axis=1) + (days - split) * after.var(axis=1)
        variance = np.maximum(squares / (days - 2), of_rows) * (1 / split + 1 / (days - split))
        moved = np.abs(after.mean(axis=1) - before.mean(axis=1))
        statistic = np.divide(moved, np.sqrt(variance), out=np.zeros_like(moved), where=variance > 0)
        columns.append(2 * scipy.special.stdtr(days - 2, -statistic))
    return np.stack(columns, axis=1)
