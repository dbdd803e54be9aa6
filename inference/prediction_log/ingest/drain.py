"""Moves what serving processes spooled into the log, each record exactly once."""

import logging
import threading
import time
from functools import lru_cache
from pathlib import Path

from django.db import InterfaceError, OperationalError, close_old_connections

from inference.prediction_log.ingest.store import store_records
from inference.prediction_log.models import SpoolCursor
from inference.prediction_log.spool.sealing import KeyMissing
from inference.prediction_log.spool.segments import SpoolReader, open_spools, segment_sizes

log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20  # one commit's worth: about 10,000 rows of 30 features
PAUSE_S = 0.05
COMMIT_S = 0.25  # between two commits while less than that has come: each costs the same, whatever it holds
DATABASE_AWAY_PAUSE_S = 0.5


def drain_until(home: Path, stop: threading.Event) -> int:
    """Drain again and again until `stop` is set, then until nothing is left; returns the rows stored.

    While the database is away the spool only grows; draining goes on when it is back.
    """
    total = 0
    seen: dict[Path, int] = {}  # the segments as they were before the last look
    began, read = float("-inf"), 0
    while True:
        stopping = stop.is_set()
        sizes = segment_sizes(home)
        is_early = time.monotonic() - began < COMMIT_S and max(read, _grown(seen, sizes)) < MAX_BYTES
        if not stopping and (is_early or (sizes == seen and not read)):
            stop.wait(PAUSE_S)  # the database need not be asked
            continue
        seen, began = sizes, time.monotonic()
        try:
            stored, read = drain_once(home)
        except (OperationalError, InterfaceError):
            log.warning("the database is away; the spool waits")
            close_old_connections()
            if stopping:
                return total
            read = MAX_BYTES  # what waits is tried again
            stop.wait(DATABASE_AWAY_PAUSE_S)
            continue
        total += stored
        if stopping and not read:
            return total


def _grown(before: dict[Path, int], now: dict[Path, int]) -> int:
    """Count the bytes that have come since the segments were looked at."""
    return sum(size - before.get(path, 0) for path, size in now.items())


def drain_once(home: Path) -> tuple[int, int]:
    """Store what each spool holds beyond its cursor; returns the rows stored and the most bytes read of one spool."""
    stored = max_read = 0
    for reader in open_spools(home):
        rows, read = _drain(reader)
        stored += rows
        max_read = max(max_read, read)
    return stored, max_read


def _drain(reader: SpoolReader) -> tuple[int, int]:
    cursor = SpoolCursor.objects.filter(name=reader.name).first() or SpoolCursor(name=reader.name)
    try:
        records, segment, offset = reader.read(cursor.segment, cursor.offset, MAX_BYTES)
    except KeyMissing as error:
        _tell_once(reader.name, str(error))
        return 0, 0
    rows, read = 0, offset - cursor.offset if segment == cursor.segment else MAX_BYTES
    if read:
        rows = store_records(
            records, spool=reader.name, segment=segment, offset=offset, torn=cursor.torn + reader.torn
        )
    reader.discard_before(segment)
    return rows, read


@lru_cache(maxsize=256)
def _tell_once(name: str, reason: str) -> None:
    """Log that a spool waits for its key; it is tried again and again."""
    log.error("a spool cannot be opened; it waits for its key", extra={"spool": name, "reason": reason})
