"""Rows that were predicted and not yet sent: in SQLite, on the disk before the answer leaves, within a bound.

A row's number is given once and never again. Threads that store at the same time share one commit. Where the file has
no room, the oldest rows are dropped and counted.
"""

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftline_agent.rows.row_tables import Damaged, NeedsSequence, make_tables, set_limits
from driftline_agent.rows.transactions import Transaction
from driftline_agent.server.device_clock import DeviceClock

JUMP = 1_000_000
"""Numbers that are skipped where rows were lost, so that none of theirs comes again."""
MIN_DROPPED_ROWS = 100
"""As many rows are dropped at a time at least, so that a few of them make room for a request of many."""
_UNKNOWN_MS = -(1 << 46)
"""In place of a time that is not known yet. SQLite writes it as long as any time of now, so that a file without a free
page takes the time when it is known; files of earlier agents have NULL."""
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: BaseException) -> bool:
    """Return whether SQLite found what it reads damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


class NotStored(Exception):
    """The disk took no rows."""


class RowsDropped(Exception):
    """Rows that were being added up were dropped meanwhile."""


@dataclass(frozen=True)
class StoredRow:
    """A row that waits; `event_ms` is its time by the server's clock, which does not change once it was sent."""

    sequence: int
    event_ms: int
    body: bytes


@dataclass
class _Entry:
    """Rows of one request that wait for their commit."""

    bodies: list[bytes]
    are_whole: list[bool]
    sequences: list[int] = field(default_factory=list)
    error: Exception | None = None
    is_done: bool = False


class RowStore:
    """The file of rows; any number of threads may use it."""

    def __init__(self, path: Path, *, max_bytes: int, clock: DeviceClock, first_sequence: int | None) -> None:
        """Open the file; one that has given no number yet needs that of its first row.

        Raises NeedsSequence without it, Damaged, and sqlite3.Error or OSError where it may be opened later.
        """
        self._clock = clock
        self.lock = threading.Lock()
        self._waiting: deque[_Entry] = deque()
        if first_sequence is None and not path.exists():  # SQLite would make it
            raise NeedsSequence
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        try:
            self._commit_bytes = set_limits(self.db, max_bytes)
            make_tables(self.db, first_sequence)
            path.chmod(0o600)
        except BaseException as error:
            self.close_untouched()
            if is_damage(error):
                raise Damaged(str(error)) from error
            raise

    def close_untouched(self) -> None:
        """Close, and let the file and its log be as they are: somebody may rescue rows from them."""
        with self.lock:
            if hasattr(self.db, "setconfig"):  # since Python 3.12
                self.db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
            self.db.close()

    # -- storing -------------------------------------------------------------------------------------------------------
    def append(self, bodies: Sequence[bytes], are_whole: Sequence[bool] = ()) -> list[int]:
        """Store rows and return their numbers, once they are on the disk. Raises NotStored where it takes none.

        `are_whole` says of each whether it is sent as it is, or only added up; all are sent where it says nothing.
        """
        entry = _Entry(list(bodies), list(are_whole) or [True] * len(bodies))
        self._waiting.append(entry)
        with self.lock:
            while not entry.is_done:
                self._commit_waiting()
        if entry.error is not None:
            raise entry.error
        return entry.sequences

    def _commit_waiting(self) -> None:
        """Store the rows of the threads that wait longest in one commit, which the log has room for."""
        entries: list[_Entry] = []
        size = 0
        while self._waiting and (size < self._commit_bytes or not entries):
            entries.append(self._waiting.popleft())
            size += sum(map(len, entries[-1].bodies))
        try:
            self._make_room_for(entries)
        except sqlite3.Error as error:
            for entry in entries:
                entry.error = NotStored(str(error))
        for entry in entries:
            entry.is_done = True

    def _make_room_for(self, entries: list[_Entry]) -> None:
        """Insert; while the file is full, drop the oldest rows and try again."""
        for _ in range(20):
            try:
                self._insert(entries)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._drop_oldest():
                    raise
        raise sqlite3.OperationalError("the rows do not fit into the room that they have")

    def _insert(self, entries: list[_Entry]) -> None:
        facts = (self._clock.boot, self._clock.running_ms(), self._clock.wall_ms())
        with self.transaction():
            for entry in entries:
                entry.sequences = [
                    self.db.execute(
                        "INSERT INTO rows (boot, running_ms, wall_ms, event_ms, body, is_whole) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        [*facts, _UNKNOWN_MS, body, is_whole],
                    ).lastrowid
                    or 0
                    for body, is_whole in zip(entry.bodies, entry.are_whole, strict=True)
                ]

    def _drop_oldest(self) -> int:
        """Drop a twentieth of the rows, the oldest, else an hour; return how many rows it had.

        The oldest lie side by side in the file, so that dropping them frees pages; rows of one kind may lie between
        others, and free none.
        """
        if count := self._one("SELECT count(*) FROM rows"):
            dropped = max(count // 20, MIN_DROPPED_ROWS)
            oldest = f"SELECT sequence FROM rows ORDER BY sequence LIMIT {dropped}"
            return self._drop(f"DELETE FROM rows WHERE sequence IN ({oldest}) RETURNING 1")
        hour = "SELECT version, hour_ms, batch FROM windows ORDER BY hour_ms, batch DESC LIMIT 1"
        return self._drop(
            f"DELETE FROM windows WHERE (version, hour_ms, batch) IN ({hour}) "
            "RETURNING CASE segment WHEN '' THEN rows ELSE 0 END"
        )

    def _drop(self, deletion: str) -> int:
        """Delete by a statement that returns how many rows it dropped at a time, and count them."""
        with self.transaction():
            dropped = sum(rows for (rows,) in self.db.execute(deletion).fetchall())
            self.add_dropped(dropped)
        return dropped

    # -- sending -------------------------------------------------------------------------------------------------------
    def oldest(
        self, *, rows: int, max_bytes: int, earliest_ms: int, are_whole: bool = True
    ) -> list[StoredRow]:
        """Read the oldest rows, up to so many and so large, with the times that they keep from now on.

        They are those that are sent whole, or those that are only added up. No time is before `earliest_ms`, whatever
        the device's clock said.
        """
        with self.lock:
            found = self.db.execute(
                "SELECT sequence, boot, running_ms, wall_ms, event_ms, body FROM rows "
                f"WHERE {'is_whole' if are_whole else 'NOT is_whole'} ORDER BY sequence LIMIT ?",
                [rows],
            ).fetchall()
            batch: list[StoredRow] = []
            timed: list[tuple[int, int]] = []
            size = 0
            for sequence, boot, running_ms, wall_ms, event_ms, body in found:
                size += len(body)
                if batch and size > max_bytes:
                    break
                if event_ms is None or event_ms == _UNKNOWN_MS:
                    event_ms = self._event_ms(boot, running_ms, wall_ms, earliest_ms)
                    timed.append((event_ms, sequence))
                batch.append(StoredRow(sequence, event_ms, body))
            if timed:
                with self.transaction():
                    self.db.executemany("UPDATE rows SET event_ms = ? WHERE sequence = ?", timed)
        return batch

    def _event_ms(self, boot: str, running_ms: int, wall_ms: int, earliest_ms: int) -> int:
        """Return a row's time by the server's clock, else what the device took for it, within what is possible."""
        zero_ms = self._zero_of(boot)
        latest_ms = self._clock.server_ms() or self._clock.wall_ms()
        event_ms = wall_ms if zero_ms is None else zero_ms + running_ms
        return min(max(event_ms, earliest_ms), max(latest_ms, earliest_ms))

    def knows_time(self) -> bool:
        """Return whether the server was heard of since the machine started."""
        with self.lock:
            return self._zero_of(self._clock.boot) is not None

    def _zero_of(self, boot: str) -> int | None:
        if boot == self._clock.boot and self._clock.zero_ms is not None:
            return self._clock.zero_ms
        return self._fact(f"zero {boot}")

    def note_clock(self) -> None:
        """Keep the server's time of this start of the machine, for rows that are sent after the next one."""
        zero_ms = self._clock.zero_ms
        with self.lock:
            known = self._fact(f"zero {self._clock.boot}")
            if zero_ms is not None and (known is None or abs(known - zero_ms) > 250):
                self.db.execute(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?)", [f"zero {self._clock.boot}", zero_ms]
                )

    def delete_all(self, sequences: Sequence[int]) -> None:
        """Delete rows within the caller's transaction; raises RowsDropped where one is not there any more."""
        numbers = [(one,) for one in sequences]
        if self.db.executemany("DELETE FROM rows WHERE sequence = ?", numbers).rowcount != len(numbers):
            raise RowsDropped

    def delete(self, sequences: Iterable[int], *, refused: int = 0) -> None:
        """Delete rows that the server has, and count those that it refused for good."""
        with self.lock, self.transaction():
            self.db.executemany("DELETE FROM rows WHERE sequence = ?", [(one,) for one in sequences])
            if refused:
                self.add_dropped(refused)

    def skip_numbers(self) -> None:
        """Assign later numbers from now on, as the server has rows of others by the next ones."""
        with self.lock, self.transaction():
            self.db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'rows'", [JUMP])

    # -- counting ------------------------------------------------------------------------------------------------------
    def unsent_rows(self) -> int:
        """Return how many rows wait, those of hours among them."""
        with self.lock:
            of_hours = self._one("SELECT coalesce(sum(rows), 0) FROM windows WHERE segment = ''")
            return self._one("SELECT count(*) FROM rows") + of_hours

    def dropped_rows(self) -> int:
        """Return how many rows were dropped for want of room, or refused by the server, since the device began."""
        with self.lock:
            return self._fact("dropped") or 0

    def close(self) -> None:
        with self.lock:
            self.db.close()

    def count_dropped(self, rows: int) -> None:
        """Count rows that never came to the file, so that a restart does not forget them."""
        with self.lock, self.transaction():
            self.add_dropped(rows)

    def add_dropped(self, rows: int) -> None:
        """Count rows that were dropped, within the caller's transaction."""
        self.db.execute(
            "INSERT INTO facts VALUES ('dropped', ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            [rows],
        )

    def _fact(self, name: str) -> int | None:
        found = self.db.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return int(found[0]) if found else None

    def _one(self, query: str) -> int:
        return int(self.db.execute(query).fetchone()[0])

    def transaction(self) -> Transaction:
        """Begin a commit; the caller holds the lock."""
        return Transaction(self.db)


def encode_body(item: dict[str, Any]) -> bytes:
    """Write a row without its name and its time; raises ValueError for what JSON cannot hold."""
    return json.dumps(item, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def is_readable(row: StoredRow) -> bool:
    """Return whether a row is what `encode_body` wrote."""
    try:
        json.dumps(json.loads(row.body), allow_nan=False)
    except ValueError:
        return False
    return True
