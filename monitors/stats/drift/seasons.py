"""Which days of a long reference a window is compared with: those of its season, and of its weekday where that matters.

A year has 13 seasons of four weeks. Near a window are all days, of any year, within eight weeks of the middle of its
season: so many that each weekday is among them often enough to be compared with alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np
import scipy
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray

SEASONS = 13
REACH_WEEKS = 8
_LENGTH, _YEAR = 28, 365.25
# Weekdays differ where the chance of counts so different is below this: asked of every column, and of each season.
_SIGNIFICANT = 1e-3


def covers_a_year(days: Sequence[date]) -> bool:
    """Return whether ascending days reach from one season to the same one of the next year."""
    return bool(days) and (days[-1] - days[0]).days >= SEASONS * _LENGTH


def season_of(day: date) -> int:
    """Number a day's season, from 0.

    >>> season_of(date(2026, 1, 28)), season_of(date(2026, 1, 29)), season_of(date(2028, 12, 31))
    (0, 1, 12)
    """
    return min((day.timetuple().tm_yday - 1) // _LENGTH, SEASONS - 1)


def middle_of(season: int, year: int) -> date:
    """Return the day in the middle of a season."""
    return date.fromordinal(date(year, 1, 1).toordinal() + season * _LENGTH + _LENGTH // 2)


def days_near(days: Iterable[date], season: int) -> list[date]:
    """Choose the days of any year that lie within eight weeks of a season's middle."""
    return [day for day in days if _distance(day, season) <= REACH_WEEKS * 7]


def _distance(day: date, season: int) -> float:
    between = abs((day - middle_of(season, day.year)).days)
    return min(between, _YEAR - between)


def weekdays_differ(bins: FloatArray, dates: IntArray) -> bool:
    """Return whether days of one weekday resemble each other more than days do; `bins` has a row per day's ordinal.

    Pearson's statistic of the weekdays' table over that of the days in each of them is an F ratio. Bins move together,
    so that its degrees of freedom are taken to be those of one of them, which errs on the side of no difference.
    """
    table: FloatArray = bins[:, bins.sum(axis=0) > 0]
    of_weekday: NDArray[np.bool] = dates[:, np.newaxis] % 7 == np.unique(dates % 7)
    between, within = of_weekday.shape[1] - 1, len(dates) - of_weekday.shape[1]
    if between < 1 or within < 1 or table.shape[1] < 2:
        return False
    weekdays = of_weekday.T.astype(np.float64) @ table
    among_weekdays = _distance_from(weekdays, table.sum(axis=0))
    among_days = _distance_from(table, table.sum(axis=0)) - among_weekdays
    if among_days <= 0:
        return among_weekdays > 0
    ratio = (among_weekdays / between) / (among_days / within)
    return float(scipy.special.fdtrc(between, within, ratio)) < _SIGNIFICANT


def _distance_from(table: FloatArray, totals: FloatArray) -> float:
    """Add up the chi-square distances of a table's rows from the shares of `totals`."""
    expected = table.sum(axis=1, keepdims=True) * totals / totals.sum()
    squares = np.divide((table - expected) ** 2, expected, out=np.zeros_like(table), where=expected > 0)
    return float(squares.sum())
