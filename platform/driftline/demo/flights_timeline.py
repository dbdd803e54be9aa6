"""The flights as a timeline: what departs and what lands between two moments, ready to be sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from driftline.demo.inference_request import ModelInputs

MODEL = "flight-delay"
STRINGS = ["carrier", "origin", "dest"]
NUMBERS = [
    "distance", "tod", "dow", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib", "built", "seats",
]  # fmt: skip
INPUTS = ModelInputs(STRINGS, NUMBERS)
FEATURES = INPUTS.names

TRAINING_END = datetime(2013, 3, 1, tzinfo=UTC)
"""The champion learns from what comes before."""
HISTORY_START = datetime(2013, 3, 4, tzinfo=UTC)
"""The replay begins here, on a Monday: of a part of a week the weekdays would look odd."""
LIVE_START = datetime(2013, 6, 3, tzinfo=UTC)
"""From here on each flight is sent as it happens, on a faster clock."""
LIVE_END = datetime(2013, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class LandedFlight:
    """A label that became known."""

    row: int
    id: str
    label: str
    landed_us: int


class Timeline:
    """Flights in order of departure, and their labels in order of arrival, in microseconds of 2013 (UTC)."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._departures = _microseconds(table["event_time"])
        labelled = np.flatnonzero(pc.is_valid(table["label_time"]).to_numpy(zero_copy_only=False))
        landings = _microseconds(pc.take(table["label_time"], pa.array(labelled)))
        order = np.argsort(landings, kind="stable")
        self._landed, self._landings = labelled[order], landings[order]

    @classmethod
    def read(cls, path: Path) -> "Timeline":
        return cls(pq.read_table(path))

    def rows_between(self, start: datetime, end: datetime) -> range:
        """The flights that depart in [start, end)."""
        low, high = np.searchsorted(self._departures, [to_us(start), to_us(end)])
        return range(int(low), int(high))

    def departure_us(self, row: int) -> int:
        return int(self._departures[row])

    def landed_between(self, start: datetime, end: datetime) -> list[LandedFlight]:
        """The labels that become known in [start, end), in that order."""
        low, high = np.searchsorted(self._landings, [to_us(start), to_us(end)])
        return self._labels(slice(int(low), int(high)))

    def landed_after(self, moment: datetime, rows: range) -> list[LandedFlight]:
        """The labels of `rows` that become known only after `moment`."""
        low = int(np.searchsorted(self._landings, to_us(moment)))
        return [flight for flight in self._labels(slice(low, None)) if flight.row in rows]

    def _labels(self, chosen: slice) -> list[LandedFlight]:
        rows, landings = self._landed[chosen], self._landings[chosen]
        labels = self._table["label"].take(pa.array(rows)).to_pylist()
        return [
            LandedFlight(int(row), _id_of(int(row)), label, int(landing))
            for row, label, landing in zip(rows, labels, landings, strict=True)
        ]

    def requests(self, rows: range, *, shift: timedelta | None, suffix: str = "") -> Iterator[bytes]:
        """V2 bodies that ask about each flight, one input a feature.

        With `shift` a request says when the flight departed, moved by it; without, its time is that of sending.
        """
        part = self._table.slice(rows.start, len(rows))
        columns = [part[name].to_pylist() for name in FEATURES]
        for row, *values in zip(rows, *columns, strict=True):
            timestamp = None if shift is None else time_text(self.departure_us(row), shift)
            yield INPUTS.request(values, key=_id_of(row) + suffix, timestamp=timestamp)


def _id_of(row: int) -> str:
    """Name a flight by its place among those of the file: the same in every replay."""
    return f"flight-{row}"


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def time_text(moment_us: int, shift: timedelta) -> str:
    """A moment of 2013, moved by `shift`, as an RFC 3339 time."""
    return (EPOCH + moment_us * MICROSECOND + shift).isoformat()


def _microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    moments: NDArray[np.int64] = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return moments
