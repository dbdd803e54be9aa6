"""The rows that a story sends, day by day: of a shuffled table each day gets the next, or rows have days of their own.

They are the same in every replay, however the time is cut.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from driftline.base.ids import row_ids

DAY = timedelta(days=1)
MILLISECOND = timedelta(milliseconds=1)
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class DemoRow:
    """One row of one day, and the place of the table's row that it is."""

    at: datetime
    place: int
    known_at: datetime | None
    """When its label is known; None where it never is."""
    alone: str
    """Its id where it is asked about alone."""
    hour: str
    """The id of the request that asks about all rows of its hour at once."""
    in_hour: str
    """Its id in that request."""


class DailyRows(ABC):
    """Rows of a table by the day; each label is known at most `max_lag` after its row."""

    def __init__(self, table: pd.DataFrame, *, max_lag: timedelta) -> None:
        self.table = table.reset_index(drop=True)
        self._max_lag = max_lag
        self._day = lru_cache(maxsize=max_lag // DAY + 3)(self._read_day)

    @abstractmethod
    def moments(self, day: datetime) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return when each row of a day comes (milliseconds of the day, ascending), its place, and its label's lag in
        milliseconds, negative where it never has one."""

    def between(self, start: datetime, end: datetime) -> list[DemoRow]:
        """List the rows of `[start, end)` in order of time."""
        return [row for day in _days(start, end) for row in self._day(day) if start <= row.at < end]

    def labelled_between(self, start: datetime, end: datetime) -> list[DemoRow]:
        """List the rows of which the label becomes known in `[start, end)`."""
        rows = self.between(start - self._max_lag, end)
        return [row for row in rows if row.known_at is not None and start <= row.known_at < end]

    def values(self, rows: Sequence[DemoRow], columns: Sequence[str]) -> list[list[object]]:
        """Read columns of the table's rows, as plain values."""
        places = [row.place for row in rows]
        read: list[list[object]] = self.table.loc[places, list(columns)].to_numpy(object).tolist()
        return read

    def _read_day(self, day: datetime) -> list[DemoRow]:
        moments, places, lags = self.moments(day)
        rows = []
        for hour in range(24):
            first, last = np.searchsorted(moments, [hour * HOUR_MS, (hour + 1) * HOUR_MS]).tolist()
            request = f"{day:%Y-%m-%d}T{hour:02}"
            for number, in_hour in zip(
                range(first, last), row_ids(request, last - first, 0, last - first), strict=True
            ):
                at, lag = day + int(moments[number]) * MILLISECOND, int(lags[number])
                rows.append(
                    DemoRow(
                        at=at,
                        place=int(places[number]),
                        known_at=None if lag < 0 else at + lag * MILLISECOND,
                        alone=f"{day:%Y-%m-%d}.{number}",
                        hour=request,
                        in_hour=in_hour,
                    )
                )
        return rows


class DailyDraws(DailyRows):
    """`rows_a_day` of the rows of a shuffled table a day, at random times; a label is known `label_lag` after its row.

    Such days differ by chance alone, so that what a story does to them is all that happens. The day `first` gets the
    first rows, so that a story is the same at any date; the table begins again when all of its rows were dealt.
    """

    def __init__(
        self, table: pd.DataFrame, *, first: datetime, rows_a_day: int, label_lag: timedelta, seed: int
    ) -> None:
        super().__init__(table, max_lag=label_lag)
        self._first = first
        self._rows_a_day = rows_a_day
        self._seed = seed

    def moments(self, day: datetime) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        number = (day - self._first).days
        rng = np.random.default_rng([self._seed, number % (1 << 32)])
        moments = np.sort(rng.integers(0, DAY // MILLISECOND, self._rows_a_day))
        places = (number * self._rows_a_day + np.arange(self._rows_a_day)) % len(self.table)
        return moments, places, np.full(self._rows_a_day, self._max_lag // MILLISECOND)


def spread_over_days(rows: pd.DataFrame, *, end: datetime, days: int) -> pd.DataFrame:
    """Add a `time` to rows, evenly over the whole days before `end`: what a model was trained on has days as well."""
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
