"""Whether a share of the newest rows left the range in which it moved before, from counts a day.

A day's share is h of n rows; its log-odds are x = ln((h + 1/2) / (n - h + 1/2)). History's level m is the median of
x over its days, and its spread s the larger of 1.4826 times the median of abs(x - m) and of the standard error of
the newest rows pooled, sqrt(1 / (h + 1/2) + 1 / (n - h + 1/2)). The newest rows jumped when z = (x - m) / s, the
change of the odds and the change of the share are all large. It is the modified z-score (Iglewicz and Hoaglin,
1993, whose limit is 3.5) on log-odds, and wide on purpose: some days pooled are held against the spread of single
days, so seasons and storms stay inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

MIN_Z = 4.0
MIN_ODDS_RATIO = 4.0
MIN_DAYS = 7
MIN_ROWS_A_DAY = 20
MIN_NEW_ROWS = 50
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True)
class ShareShift:
    """A share before (of the median day) and now (of the newest `rows`, pooled)."""

    before: float
    now: float
    z: float
    odds_ratio: float
    rows: int
    jumped: bool


def share_shift(
    hits: ArrayLike, totals: ArrayLike, is_new: ArrayLike, *, least_change: float = 0.0
) -> ShareShift | None:
    """Measure how far the newest days' share stands from the days before; None where too few rows tell.

    Each entry is a day: `hits` of its `totals` rows count. `least_change` is a change of the share, from 0 to 1, below
    which nothing is a jump.

    >>> days = share_shift([20] * 10 + [80], [100] * 11, [False] * 10 + [True])
    >>> days.before, days.now, days.jumped
    (0.2, 0.8, True)
    """
    counted, rows = np.asarray(hits, np.float64), np.asarray(totals, np.float64)
    new = np.asarray(is_new, bool)
    old = ~new & (rows >= MIN_ROWS_A_DAY)
    newest, among = float(counted[new].sum()), float(rows[new].sum())
    if old.sum() < MIN_DAYS or among < MIN_NEW_ROWS:
        return None
    usual = np.log((counted[old] + 0.5) / (rows[old] - counted[old] + 0.5))
    level = float(np.median(usual))
    error = sqrt(1 / (newest + 0.5) + 1 / (among - newest + 0.5))
    spread = max(_MAD_TO_SIGMA * float(np.median(np.abs(usual - level))), error)
    change = log_odds(newest, among) - level
    before, now = float(np.median(counted[old] / rows[old])), newest / among
    is_large = abs(change) >= max(log(MIN_ODDS_RATIO), MIN_Z * spread) and abs(now - before) >= least_change
    return ShareShift(before, now, change / spread, float(np.exp(change)), int(among), is_large)


def log_odds(hits: float, rows: float) -> float:
    """Return the log-odds of a share, finite also for none and for all."""
    return log((hits + 0.5) / (rows - hits + 0.5))
