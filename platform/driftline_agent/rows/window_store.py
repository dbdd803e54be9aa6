"""Hours that rows were added up to, in the same file as the rows: added, and their rows deleted, in one commit.

An hour grows until it is over. Then it gets the name of a batch, by which the server counts it once, and does not
change any more; rows of it that come later make another batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from driftline_agent.rows.row_store import RowStore, StoredRow

HOUR_MS = 3_600_000
WHOLE = ""
"""The segment of all rows."""


class Hour(NamedTuple):
    """An hour of a version's rows; `start_ms` is the server's time."""

    version: str
    start_ms: int


class Window(NamedTuple):
    """The rows of a segment and their summary; empty bytes stand for a feature that makes too many segments."""

    rows: int
    summary: bytes


@dataclass(frozen=True)
class Batch:
    """An hour that is sent, with its windows by their segments."""

    name: str
    hour: Hour
    windows: Mapping[str, Window]

    def without_segments(self) -> "Batch":
        return replace(self, windows={WHOLE: self.windows[WHOLE]})


class WindowStore:
    """The hours of a device; `RowStore` drops them where there is no row left to drop."""

    def __init__(self, rows: RowStore, device: str) -> None:
        self._rows = rows
        self._db = rows.db
        self._device = device

    def open_windows(self, hour: Hour) -> dict[str, Window]:
        """Return what rows of an hour were added up to that has no batch yet."""
        with self._rows.lock:
            found = self._db.execute(
                "SELECT segment, rows, summary FROM windows WHERE version = ? AND hour_ms = ? AND batch = ''",
                hour,
            ).fetchall()
        return {segment: Window(rows, summary) for segment, rows, summary in found}

    def replace_rows(self, hour: Hour, added: Sequence[StoredRow], windows: Mapping[str, Window]) -> None:
        """Put windows in place of an hour's open ones, and delete the rows that are in them now.

        Raises RowsDropped, and changes nothing, where some of the rows were dropped meanwhile.
        """
        numbers = [row.sequence for row in added]
        open_ones = "FROM windows WHERE version = ? AND hour_ms = ? AND batch = ''"
        with self._rows.lock, self._rows.transaction():
            self._rows.delete_all(numbers)
            first, last = self._db.execute(f"SELECT min(first), max(last) {open_ones}", hour).fetchone()
            bounds = (min(numbers[0], first or numbers[0]), max(numbers[-1], last or numbers[-1]))
            self._db.execute(f"DELETE {open_ones}", hour)
            self._db.executemany(
                "INSERT INTO windows VALUES (?, ?, ?, '', ?, ?, ?, ?)",
                [(*hour, segment, *bounds, *window) for segment, window in windows.items()],
            )

    def next_batch(self, *, over_ms: int) -> Batch | None:
        """Return the oldest hour that ended by a time of the server, under a name that it keeps; None without one."""
        with self._rows.lock, self._rows.transaction():
            found = self._db.execute(
                "SELECT version, hour_ms, batch, first, last FROM windows WHERE hour_ms + ? <= ? "
                "ORDER BY batch = '', hour_ms, version LIMIT 1",
                [HOUR_MS, over_ms],
            ).fetchone()
            if found is None:
                return None
            version, start_ms, name, first, last = found
            hour = Hour(version, start_ms)
            if not name:
                name = f"{self._device}:{datetime.fromtimestamp(start_ms / 1000, UTC):%Y-%m-%dT%H}:{first}-{last}"
                self._db.execute(
                    "UPDATE windows SET batch = ? WHERE version = ? AND hour_ms = ? AND batch = ''",
                    [name, *hour],
                )
            windows = self._db.execute(
                "SELECT segment, rows, summary FROM windows WHERE batch = ?", [name]
            ).fetchall()
        return Batch(name, hour, {segment: Window(rows, summary) for segment, rows, summary in windows})

    def delete(self, batch: Batch, *, is_refused: bool = False) -> None:
        """Delete a batch that the server has, or refuses for good: then its rows count as dropped."""
        with self._rows.lock, self._rows.transaction():
            self._db.execute("DELETE FROM windows WHERE batch = ?", [batch.name])
            if is_refused:
                self._rows.add_dropped(batch.windows[WHOLE].rows)

    # -- how rows are added up -----------------------------------------------------------------------------------------
    def layout(self, version: str) -> str | None:
        """Return how the server said that rows of a version are added up, as JSON; None where it did not yet."""
        with self._rows.lock:
            found = self._db.execute("SELECT document FROM layouts WHERE version = ?", [version]).fetchone()
        return found[0] if found else None

    def store_layout(self, version: str, document: str) -> None:
        """Keep how rows of a version are added up, also for a time without a network."""
        with self._rows.lock:
            self._db.execute("INSERT OR REPLACE INTO layouts VALUES (?, ?)", [version, document])
