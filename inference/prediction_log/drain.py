"""Moves what serving processes spooled into the log, each record exactly once."""

import logging
import threading
from pathlib import Path

from django.db import InterfaceError, OperationalError, close_old_connections

from inference.prediction_log.models import SpoolCursor
from inference.prediction_log.spool import SpoolReader, open_spools
from inference.prediction_log.store import store_batches

log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20  # one commit's worth: about 10,000 rows of 30 features
PAUSE_S = 0.05
DATABASE_AWAY_PAUSE_S = 0.5


def drain_until(home: Path, stop: threading.Event) -> int:
    """Drain again and again until `stop` is set, then until nothing is left; returns the rows stored.

    While the database is away the spool only grows; draining goes on when it is back.
    """
    total = 0
    while True:
        stopping = stop.is_set()
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
            stop.wait(PAUSE_S)


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
    batches, segment, offset = reader.read(cursor.segment, cursor.offset, MAX_BYTES)
    moved = (segment, offset) != (cursor.segment, cursor.offset)
    rows = 0
    if moved:
        rows = store_batches(batches, spool=reader.name, segment=segment, offset=offset)
    reader.discard_before(segment)
    return rows, moved
