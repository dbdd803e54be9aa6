"""Moves what serving processes spooled into the log, each record exactly once."""

import logging
import threading
from functools import lru_cache
from pathlib import Path

from django.db import InterfaceError, OperationalError, close_old_connections

from inference.prediction_log.models import SpoolCursor
from inference.prediction_log.sealing import KeyMissing
from inference.prediction_log.spool import SpoolReader, open_spools, segment_sizes
from inference.prediction_log.store import store_records

log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20  # one commit's worth: about 10,000 rows of 30 features
PAUSE_S = 0.05
DATABASE_AWAY_PAUSE_S = 0.5


def drain_until(home: Path, stop: threading.Event) -> int:
    """Drain again and again until `stop` is set, then until nothing is left; returns the rows stored.

    While the database is away the spool only grows; draining goes on when it is back.
    """
    total = 0
    drained: dict[Path, int] = {}  # the segments, when all that they held was stored
    while True:
        stopping = stop.is_set()
        sizes = segment_sizes(home)
        if sizes == drained and not stopping:
            stop.wait(PAUSE_S)  # the database need not be asked
            continue
        try:
            stored, read_any = drain_once(home)
        except (OperationalError, InterfaceError):
            log.warning("the database is away; the spool waits")
            close_old_connections()
            if stopping:
                return total
            stop.wait(DATABASE_AWAY_PAUSE_S)
            continue
        total += stored
        if not read_any:
            if stopping:
                return total
            drained = sizes


def drain_once(home: Path) -> tuple[int, bool]:
    """Store what each spool holds beyond its cursor; returns the rows stored and whether anything was read."""
    stored, read_any = 0, False
    for reader in open_spools(home):
        rows, read = _drain(reader)
        stored += rows
        read_any |= read
    return stored, read_any


def _drain(reader: SpoolReader) -> tuple[int, bool]:
    cursor = SpoolCursor.objects.filter(name=reader.name).first() or SpoolCursor(name=reader.name)
    try:
        records, segment, offset = reader.read(cursor.segment, cursor.offset, MAX_BYTES)
    except KeyMissing as error:
        _tell_once(reader.name, str(error))
        return 0, False
    moved = (segment, offset) != (cursor.segment, cursor.offset)
    rows = 0
    if moved:
        rows = store_records(
            records, spool=reader.name, segment=segment, offset=offset, torn=cursor.torn + reader.torn
        )
    reader.discard_before(segment)
    return rows, moved


@lru_cache(maxsize=256)
def _tell_once(name: str, reason: str) -> None:
    """Log that a spool waits for its key; it is tried again and again."""
    log.error("a spool cannot be opened; it waits for its key", extra={"spool": name, "reason": reason})
