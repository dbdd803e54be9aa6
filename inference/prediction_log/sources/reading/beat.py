"""The rows by which others see which consumers live, and how fast they read."""

import os
import socket
import time
import uuid
from datetime import timedelta

from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models.functions import Now

from driftline.base.strict_json import escaped
from inference.prediction_log.sources.models import Source, SourceConsumer
from inference.prediction_log.sources.reading.messages import Adapter
from inference.prediction_log.sources.reading.positions import note_ends

BEAT_SECONDS = 2.0
READ_NOTED_SECONDS = 60.0
FORGOTTEN_AFTER = timedelta(minutes=10)
"""After this the row of a consumer that was killed is removed."""


class Beat:
    """The row by which others see that this consumer lives, and how fast it reads."""

    def __init__(self, source_id: int) -> None:
        self._id, self._source_id = uuid.uuid4(), source_id
        self._rows, self._since = 0, time.monotonic()
        self._given_at = self._read_noted_at = float("-inf")
        self._host = f"{socket.gethostname()} {os.getpid()}"[:200]

    def count(self, rows: int) -> None:
        self._rows += rows

    def is_due(self) -> bool:
        return time.monotonic() - self._given_at >= BEAT_SECONDS

    def renew(self, state: str, error: str, adapter: Adapter | None = None) -> None:
        """Write the row; without a database it is written later."""
        ends = dict(adapter.ends()) if adapter else {}
        seconds = max(time.monotonic() - self._since, 1e-3)
        values = {
            "source_id": self._source_id,
            "host": self._host,
            "state": state,
            "error": escaped(error)[:500],
            "partitions": len(ends),
            "rows_per_second": self._rows / seconds,
            "seen_at": Now(),
        }
        self._given_at = time.monotonic()
        try:
            SourceConsumer.objects.update_or_create(pk=self._id, defaults=values)
            note_ends(self._source_id, ends)
            if state == SourceConsumer.State.RUNNING:
                self._note_read()
        except (DatabaseError, InterfaceError):
            # It is away, or the source was deleted just now, which the loop sees next.
            close_old_connections()
            return
        self._rows, self._since = 0, time.monotonic()

    def _note_read(self) -> None:
        if time.monotonic() - self._read_noted_at >= READ_NOTED_SECONDS:
            Source.objects.filter(pk=self._source_id).update(read_at=Now())
            self._read_noted_at = time.monotonic()

    def end(self) -> None:
        """Remove the row."""
        try:
            SourceConsumer.objects.filter(pk=self._id).delete()
        except (DatabaseError, InterfaceError):
            close_old_connections()


def delete_dead_consumers() -> int:
    """Delete the rows of consumers that were killed; returns how many."""
    deleted, _ = SourceConsumer.objects.filter(seen_at__lt=Now() - FORGOTTEN_AFTER).delete()
    return deleted
