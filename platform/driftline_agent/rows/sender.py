"""Sends stored rows in batches, and deletes those of which the server says what became: each counts there once."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from driftline_agent.errors import ServerRefused
from driftline_agent.rows.row_store import RowStore, StoredRow, is_readable
from driftline_agent.server.identity import Identity
from driftline_agent.server.uplink import Uplink

log = logging.getLogger("driftline_agent")

BATCH_ROWS = 500
BATCH_BYTES = 1 << 20
_ARRIVED = {"accepted", "duplicate"}
_OF_ROWS = {413, 422}
"""Statuses that say that a row is wrong; others are of the request, and delete nothing."""


class Sender:
    """The way of rows to the server; called by one thread."""

    def __init__(self, identity: Identity, rows: RowStore, uplink: Uplink) -> None:
        self._identity = identity
        self._rows = rows
        self._uplink = uplink

    def send_batch(self) -> int:
        """Send the oldest rows and return how many there were; 0 while nobody knows their times, which then stay.

        Raises NotReached or Revoked, and ServerRefused where the server takes no row of a full batch: then something
        else than the rows may be wrong, and the next batch should wait.
        """
        if not self._rows.knows_time():
            return 0
        batch = self._rows.oldest(
            rows=BATCH_ROWS, max_bytes=BATCH_BYTES, earliest_ms=self._identity.enrolled_ms
        )
        sendable = self._without_unreadable(batch)
        if sendable and not self._send(sendable) and len(batch) == BATCH_ROWS:
            raise ServerRefused(422, "it refuses each row of a full batch")
        return len(batch)

    def _without_unreadable(self, batch: list[StoredRow]) -> list[StoredRow]:
        """Delete and count rows that cannot be written as JSON, which would keep all others back; return the rest."""
        sendable = [row for row in batch if is_readable(row)]
        if unreadable := {row.sequence for row in batch} - {row.sequence for row in sendable}:
            log.error("%s rows cannot be sent for good, from row %s on", len(unreadable), min(unreadable))
            self._rows.delete(unreadable, refused=len(unreadable))
        return sendable

    def _send(self, batch: list[StoredRow]) -> int:
        """Send rows and return how many were taken; where all of them are refused, find the wrong one by halves."""
        try:
            statuses = self._uplink.send_rows([self._prediction(row) for row in batch])
        except ServerRefused as error:
            if error.status not in _OF_ROWS:
                raise
            if len(batch) == 1:
                log.error("row %s is refused for good: %s", batch[0].sequence, error)
                self._rows.delete([batch[0].sequence], refused=1)
                return 0
            middle = len(batch) // 2
            return self._send(batch[:middle]) + self._send(batch[middle:])
        refused = sum(status not in _ARRIVED for status in statuses)
        if refused:
            log.error("%s of %s rows are refused for good: %s", refused, len(batch), set(statuses) - _ARRIVED)
        if "conflict" in statuses:
            self._rows.skip_numbers()
        self._rows.delete([row.sequence for row in batch], refused=refused)
        return len(batch) - refused

    def _prediction(self, row: StoredRow) -> dict[str, Any]:
        moment = datetime.fromtimestamp(row.event_ms / 1000, UTC)
        return {
            "id": f"{self._identity.device}-{row.sequence}",
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "tags": {"device": self._identity.device, "device_group": self._identity.group},
            **json.loads(row.body),
        }
