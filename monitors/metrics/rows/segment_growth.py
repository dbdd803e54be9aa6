"""Segments that grew: which rows of a period there are more of than in the reference (`stats.segments.growth`).

The reference is the file that the champion's windows are compared with; without one, the four weeks before the period.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from driftline.base.periods import EPOCH, Period
from inference.registry.models import Model
from monitors.definitions.choosing import file_reference
from monitors.definitions.models import Reference
from monitors.metrics.rows.segment_rows import LONG_DAYS, reference_rows, timed_rows
from monitors.stats.segments.growth import MIN_ROWS, GrowthFindings, TimedRows, search_growth
from monitors.stats.segments.onset import find_onset

BEFORE = timedelta(days=28)  # that a period is compared with where there is no file
MIN_USUAL_ROWS = 500  # rows to compare with
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Growth:
    """What a search found, in comparison with `n_usual` rows of what `usual` says, none if 0.

    With an `onset` the rows before it were left out: from then on some segment had another share.
    """

    found: GrowthFindings
    n_usual: int
    usual: str
    onset: datetime | None = None


def compared_with(model: Model) -> str:
    """Return what a period is compared with, as the end of a sentence."""
    reference = _file_of(model)
    return f"the file of reference {reference.pk}" if reference else "the four weeks before"


def find_growth(*, model: Model, window: Period) -> Growth:
    """Search a window now. Raises FileNotFoundError where the reference's file is gone."""
    rows, reference = timed_rows(model, window), _file_of(model)
    if reference is not None:
        usual = reference_rows(reference, rows.columns.keys())
    else:
        usual = _by_day(timed_rows(model, Period(window.start - BEFORE, window.start)))
    compared = compared_with(model)
    if len(usual) < MIN_USUAL_ROWS:
        return Growth(GrowthFindings((), 0, len(rows)), 0, compared)
    onset = find_onset(_by_day(rows), least=MIN_ROWS)
    if onset is not None:
        rows, window = _since(rows, onset), Period(EPOCH + onset * _DAY, window.end)
    length, by_day = (window.end - window.start) / _DAY, _by_day(rows)
    days = min(length, float(np.unique(by_day.block).size))
    found = search_growth(by_day if length >= LONG_DAYS else rows, usual, days=days)
    return Growth(found, len(usual), compared, None if onset is None else window.start)


def _since(rows: TimedRows, day: int) -> TimedRows:
    keep = rows.block // 24 >= day
    return TimedRows({name: values[keep] for name, values in rows.columns.items()}, rows.block[keep])


def _by_day(rows: TimedRows) -> TimedRows:
    return TimedRows(rows.columns, rows.block // 24)


def _file_of(model: Model) -> Reference | None:
    return file_reference(model=model, version_id=model.deployment.champion_id)
