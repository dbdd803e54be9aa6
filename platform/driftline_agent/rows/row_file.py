"""The file of rows of a device: opened, put aside where it is damaged, and begun anew with numbers never used.

Nothing of it holds the answers up: until it is open, the device answers without ids.
"""

import contextlib
import logging
import sqlite3
from pathlib import Path

from driftline_agent.rows.row_store import JUMP, RowStore
from driftline_agent.rows.row_tables import Damaged, NeedsSequence
from driftline_agent.server.device_clock import DeviceClock

log = logging.getLogger("driftline_agent")

ROWS_FILE = "rows.db"
_BESIDE = ("-wal", "-shm")


class RowFile:
    """The file of rows in the home; `next_sequence` is what the server says of it, None before it was asked."""

    def __init__(self, home: Path, *, max_bytes: int, clock: DeviceClock) -> None:
        self._path = home / ROWS_FILE
        self._max_bytes = max_bytes
        self._clock = clock
        self.next_sequence: int | None = None

    def open(self) -> RowStore | None:
        """Open the file; None where that has to be tried again later, with `next_sequence` where it is known."""
        try:
            return self.open_or_make(None if self.next_sequence is None else self.next_sequence + JUMP)
        except NeedsSequence:
            log.error(
                "%s is lost; another one begins once the server was asked for its first number", self._path
            )
        except Damaged as error:
            log.error("%s is damaged (%s); it is put aside, and its rows were not sent", self._path, error)
            with contextlib.suppress(OSError):
                self._put_aside()
        except (sqlite3.Error, OSError) as error:  # such as no right to read it: the rows in it are not lost
            log.error("%s cannot be opened now: %s", self._path, error)
        return None

    def open_or_make(self, first_sequence: int | None) -> RowStore:
        """Open the file, which is made where the number of its first row is given."""
        if not self._path.exists():
            self._move_aside(_BESIDE)  # of a file that was put aside when the power went
        return RowStore(
            self._path, max_bytes=self._max_bytes, clock=self._clock, first_sequence=first_sequence
        )

    def _put_aside(self) -> None:
        for rest in _BESIDE:
            self._aside(rest).unlink(missing_ok=True)  # of an earlier file that was damaged
        self._move_aside(("", *_BESIDE))

    def _move_aside(self, parts: tuple[str, ...]) -> None:
        for rest in parts:
            path = self._path.with_name(self._path.name + rest)
            if path.exists():
                path.replace(self._aside(rest))

    def _aside(self, rest: str) -> Path:
        return self._path.with_suffix(f".damaged{rest}")


def make_row_file(home: Path, first_sequence: int, *, max_bytes: int) -> None:
    """Make the file of rows of a device that was enrolled just now; rows that wait there already stay.

    A device that had another disk before may have given numbers that the server has not seen, so some are skipped.
    """
    first = first_sequence + JUMP if first_sequence > 1 else first_sequence
    try:
        RowFile(home, max_bytes=max_bytes, clock=DeviceClock()).open_or_make(first).close()
    except (Damaged, sqlite3.Error, OSError) as error:  # `run` tries again
        log.error("the file of rows cannot be made now: %s", error)
