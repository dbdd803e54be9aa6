"""Adds up rows that are not sent whole, and sends each hour once it is over: no row counts twice."""

import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from driftline_agent.errors import NotReached, ServerRefused
from driftline_agent.kernel_path import add_kernel_path
from driftline_agent.rows.row_store import RowsDropped, RowStore, StoredRow, is_readable
from driftline_agent.rows.window_store import HOUR_MS, Batch, Hour, WindowStore
from driftline_agent.server.identity import Identity
from driftline_agent.server.uplink import Uplink

if TYPE_CHECKING:
    from driftline_agent.rows.row_summaries import Layout

log = logging.getLogger("driftline_agent")

ROWS_TOGETHER = 500
BYTES_TOGETHER = 2 << 20
MARGIN_MS = 60_000
"""After its end an hour is added to for so long at least, before it is sent."""
SPREAD_MS = 300_000
"""In so long after that the devices of a fleet send it, each at a time of its own."""
_FOR_GOOD = {409, 413, 422}
"""Statuses that say that the rows or the hour are wrong; others are of the request, and delete nothing."""


class _Row(NamedTuple):
    stored: StoredRow
    content: dict[str, Any]


class Summariser:
    """The way of rows that are only added up; called by one thread."""

    def __init__(self, identity: Identity, rows: RowStore, uplink: Uplink) -> None:
        self._identity = identity
        self._rows = rows
        self._uplink = uplink
        self._windows = WindowStore(rows, identity.device)
        self._prepared: set[str] = set()
        self.margin_ms = MARGIN_MS + crc32(identity.token.encode()) % SPREAD_MS
        add_kernel_path()

    def prepare(self, version: str) -> None:
        """Ask how rows of a version are added up, before there are any: the network may go at any time.

        Raises NotReached; a refusal is met again where there are rows.
        """
        if version not in self._prepared and self._windows.layout(version) is None:
            with suppress(ServerRefused):
                self._ask_layout(version, [])
        self._prepared.add(version)

    def add_rows(self) -> int:
        """Add up the oldest rows that wait for it, and return how many; 0 where their times are not known yet.

        Raises NotReached where the server has not said how, and Revoked.
        """
        if not self._rows.knows_time():
            return 0
        found = self._rows.oldest(
            rows=ROWS_TOGETHER,
            max_bytes=BYTES_TOGETHER,
            earliest_ms=self._identity.enrolled_ms,
            are_whole=False,
        )
        readable = [row for row in found if is_readable(row)]
        self._refuse({row.sequence for row in found} - {row.sequence for row in readable}, "they are no JSON")
        by_hour: dict[Hour, list[_Row]] = {}
        for row in readable:
            content = json.loads(row.body)
            hour = Hour(content["version"], row.event_ms // HOUR_MS * HOUR_MS)
            by_hour.setdefault(hour, []).append(_Row(row, content))
        for hour, rows in by_hour.items():
            self._add(hour, rows)
        return len(found)

    def _add(self, hour: Hour, rows: list[_Row]) -> None:
        """Add rows to the windows of their hour."""
        from driftline_agent.rows.row_summaries import add_rows, is_countable  # loads the kernels

        windows = self._windows.open_windows(hour)
        try:
            layout = self._layout(hour.version, rows, is_new=not windows)
        except ServerRefused as error:
            if error.status not in _FOR_GOOD:
                raise
            self._refuse({row.stored.sequence for row in rows}, str(error))
            return
        countable = [row for row in rows if is_countable(row.content, layout)]
        wrong = {row.stored.sequence for row in rows} - {row.stored.sequence for row in countable}
        self._refuse(wrong, "the log takes no such prediction")
        if not countable:
            return
        try:
            self._windows.replace_rows(
                hour,
                [row.stored for row in countable],
                add_rows(windows, [row.content for row in countable], layout),
            )
        except RowsDropped:
            log.info("rows were dropped while they were added up; the others are added up again")

    def _refuse(self, sequences: set[int], reason: str) -> None:
        if sequences:
            log.error(
                "%s rows are refused for good, from row %s on: %s", len(sequences), min(sequences), reason
            )
            self._rows.delete(sequences, refused=len(sequences))

    def _layout(self, version: str, rows: list[_Row], *, is_new: bool) -> "Layout":
        """Return how rows of a version are added up, asked anew for each hour where the server is reached."""
        from driftline_agent.rows.row_summaries import Layout

        stored = self._windows.layout(version)
        if stored is None or is_new:
            try:
                stored = self._ask_layout(version, rows)
            except NotReached:
                if stored is None:
                    raise
        return Layout.read(json.loads(stored))

    def _ask_layout(self, version: str, rows: list[_Row]) -> str:
        """Ask, and choose centres of numbers that the server has never seen: those of these rows."""
        from driftline_agent.rows.row_summaries import Layout, choose_centres

        try:
            document = self._uplink.ask_layout(version, {})
            missing = Layout.read(document).missing
            if missing and rows:
                centres = choose_centres([row.content for row in rows], missing)
                document = self._uplink.ask_layout(version, centres)
                missing = Layout.read(document).missing
        except (KeyError, TypeError) as error:
            raise NotReached(f"the answer is no layout: {error}") from error
        text = json.dumps(document)
        if not missing:
            self._windows.store_layout(version, text)
        return text

    def send_batch(self, server_ms: int) -> bool:
        """Send the oldest hour that is over, and return whether there was one; raises NotReached or Revoked.

        The server adds it once, however often it comes. Where it refuses one for good, somebody may have changed which
        segments there are, so the hour is sent without any; one that is refused then too counts as dropped.
        """
        batch = self._windows.next_batch(over_ms=server_ms - self.margin_ms)
        if batch is None:
            return False
        if not self._is_taken(batch) and not self._is_taken(batch.without_segments()):
            self._windows.delete(batch, is_refused=True)
        else:
            self._windows.delete(batch)
        return True

    def _is_taken(self, batch: Batch) -> bool:
        """Send an hour, and return whether the server did not refuse it for good."""
        try:
            self._uplink.send_windows(batch)
        except ServerRefused as error:
            if error.status not in _FOR_GOOD:
                raise
            log.error("the hour %s is refused for good: %s", batch.name, error)
            return False
        return True
