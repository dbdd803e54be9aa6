"""Days dealt from a shuffled table: each day gets the next rows, at random times, the same in every replay.

Such days differ by chance alone, so that what a story does to them is all that happens. The table begins anew when all
of its rows were dealt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd

DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class DealtRow:
    """One row of one day, and the place of the table's row that it is."""

    id: str
    at: datetime
    place: int


class DailyDraws:
    """`rows_a_day` of the rows of a table a day; a label is known `label_lag` after its row."""

    def __init__(self, table: pd.DataFrame, *, rows_a_day: int, label_lag: timedelta, seed: int) -> None:
        self.table = table.reset_index(drop=True)
        self.label_lag = label_lag
        self.rows_a_day = rows_a_day
        self._seed = seed
        self._day = lru_cache(maxsize=3)(self._deal)

    def between(self, start: datetime, end: datetime) -> list[DealtRow]:
        """List the rows of `[start, end)` in order of time."""
        return [row for day in _days(start, end) for row in self._day(day) if start <= row.at < end]

    def labelled_between(self, start: datetime, end: datetime) -> list[DealtRow]:
        """List the rows of which the label becomes known in `[start, end)`."""
        return self.between(start - self.label_lag, end - self.label_lag)

    def values(self, rows: Sequence[DealtRow], columns: Sequence[str]) -> list[list[object]]:
        """Read columns of the table's rows, as plain values."""
        read: list[list[object]] = (
            self.table.loc[[row.place for row in rows], list(columns)].to_numpy(object).tolist()
        )
        return read

    def _deal(self, day: datetime) -> list[DealtRow]:
        rng = np.random.default_rng([self._seed, day.toordinal()])
        moments = np.sort(rng.integers(0, DAY // MILLISECOND, self.rows_a_day))
        first = day.toordinal() * self.rows_a_day
        return [
            DealtRow(
                f"{day:%Y-%m-%d}.{number}",
                day + int(moment) * MILLISECOND,
                (first + number) % len(self.table),
            )
            for number, moment in enumerate(moments)
        ]


def spread_over_days(rows: pd.DataFrame, *, end: datetime, days: int) -> pd.DataFrame:
    """Give rows a `time`, evenly over the whole days before `end`: what a model was trained on has days as well."""
    start = end - days * DAY
    seconds = np.linspace(0, days * DAY // timedelta(seconds=1), len(rows), endpoint=False, dtype=np.int64)
    return rows.assign(time=start + pd.to_timedelta(seconds, unit="s"))


def _days(start: datetime, end: datetime) -> Iterator[datetime]:
    day = midnight(start)
    while day < end:
        yield day
        day += DAY


def midnight(moment: datetime) -> datetime:
    """Return the start of a moment's day in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
