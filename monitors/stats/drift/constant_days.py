"""Columns that hold one value within a day and another one on other days, as the weekday or the month does."""

import numpy as np

from monitors.stats.drift.reference_days import Days

MIN_SHARE_OF_DAY = 0.99  # of a day's rows that have the same value
MIN_SHARE_OF_DAYS = 0.95  # that are so


def is_constant_within_days(days: Days | None) -> bool:
    """Return whether nearly all days of a reference hold one value each, and not all of them the same one.

    >>> counts = np.array([[10.0, 0.0], [0.0, 12.0], [9.0, 0.0]])
    >>> is_constant_within_days(Days(counts, np.arange(3), 1.0, differ=True))
    True
    """
    if days is None or not days.counts.size:
        return False
    rows = days.counts.sum(axis=1)
    is_constant = days.counts.max(axis=1) >= MIN_SHARE_OF_DAY * rows
    values = np.unique(days.counts[is_constant].argmax(axis=1))
    return bool(is_constant.mean() >= MIN_SHARE_OF_DAYS and values.size > 1)
