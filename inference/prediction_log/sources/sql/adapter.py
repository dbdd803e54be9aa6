"""Reads a table on behind the place of its last row that is stored, page after page."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from driftline.base.ids import is_valid_id
from driftline.base.periods import to_us
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.reading.leased_adapter import LeasedAdapter
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import (
    begin_partition,
    clear_notice,
    read_cursor_of,
    set_notice,
)
from inference.prediction_log.sources.sql.cursors import UnusableValue, read_cursor, write_cursor
from inference.prediction_log.sources.sql.database import Database
from inference.prediction_log.sources.sql.opening import open_database
from inference.prediction_log.sources.sql.queries import TableQueries
from inference.prediction_log.sources.sql.rows import Unreadable, write_row
from inference.prediction_log.sources.sql.settings import SqlSettings

PAGE = 2_000
MAX_BILLED_ROWS = 100_000  # of one statement where each is billed, which orders the table to find them
MAX_PAGE_BYTES = 8 << 20
MAX_PAGE_SECONDS = 60.0  # to collect one, as a server may hand out few rows at a time
MAX_COUNTED = 100_000
COUNT_SECONDS = 30.0  # between two counts of the rows beyond a full page
NULLS_SECONDS = 600.0  # between two counts of rows without a place, which read the whole table


class SqlAdapter(LeasedAdapter):
    """Reads one table, while it holds the lease of its source; see `Adapter`."""

    def __init__(
        self,
        source_id: int,
        settings: SqlSettings,
        secret: str,
        *,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(source_id)
        self._settings, self._wait = settings, wait
        self._partition = settings.partition()
        self._next_offset: int | None = None  # and `_after`, once they are known from the table
        self._after: list[Any] | None = None
        self._beyond: int | None = None
        self._has_twins = False
        self._look_at = self._count_at = self._nulls_at = float("-inf")
        self._queries = TableQueries(settings)
        # Of a statement, so far unread, and how many that may be.
        self._rows: Iterator[tuple[Sequence[str], Sequence[Any]]] | None = None
        self._unread = 0
        self._trouble = ""
        self._database: Database = open_database(settings, secret)

    def _disconnect(self) -> None:
        self._rows = None
        self._database.close()

    @property
    def trouble(self) -> str:
        """Return why the last statement failed, where each is billed; elsewhere that is raised."""
        return self._trouble

    def resume(self) -> None:
        """Read on at the place in the table of positions; where statements are billed, once one is due."""
        self._next_offset, self._beyond, self._rows = None, None, None
        if not self._database.is_billed:
            self._look_at = float("-inf")

    def ends(self) -> Mapping[str, int]:
        """Return how many rows there are in all, counting at most 100,000 beyond those that are read."""
        if self._next_offset is None or self._beyond is None:
            return {}
        return {self._partition: self._next_offset + self._beyond}

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the rows of the next page, or none where there are none yet."""
        if not self._lease.hold():
            self.resume()
            self._wait(timeout_seconds)
            return []
        now = time.monotonic()
        if now < self._look_at:
            self._wait(min(timeout_seconds, self._look_at - now))
            return []
        try:
            self._find_place()
            page = self._read_page()
        except ConnectorFailed as error:
            if not self._database.is_billed:
                raise
            self._trouble = str(error)  # and no adapter is opened anew, which would ask again at once
            self.resume()
            self._look_at = now + self._settings.interval_seconds
            return []
        self._trouble = ""
        if self._rows is None:
            if self._beyond == 0 or self._database.is_billed:
                self._look_at = now + self._settings.interval_seconds
            self._count(now)
        return page

    def _find_place(self) -> None:
        if self._next_offset is None:
            self._next_offset = begin_partition(self._source_id, self._partition, 0)
            text = read_cursor_of(self._source_id, self._partition)
            self._after = read_cursor(text) if text else None

    def _read_page(self) -> list[StreamMessage]:
        assert self._next_offset is not None  # as its place was found
        page: list[StreamMessage] = []
        if self._rows is None:
            if not see_watermark(self._database, self._queries, self._settings):
                self._beyond = 0
                return page
            self._unread = MAX_BILLED_ROWS if self._database.is_billed else PAGE
            self._rows = self._database.read(self._queries.page(self._after, self._unread))
        places, size, is_cut, is_stopped = 1 + len(self._settings.keys), 0, False, False
        until = time.monotonic() + MAX_PAGE_SECONDS
        for names, row in islice(self._rows, PAGE):
            try:
                page.append(_message_of(self._settings, self._next_offset + len(page), names, row))
            except ConnectorFailed:
                if not page:
                    raise
                is_cut = is_stopped = True  # the rows before it are stored first
                break
            self._note_twins(list(row[-places:]))
            self._after = list(row[-places:])
            size += page[-1].size_bytes
            is_cut = size >= MAX_PAGE_BYTES or time.monotonic() >= until
            if is_cut:
                break
        self._unread -= len(page)
        self._next_offset += len(page)
        is_end = len(page) < PAGE and not is_cut
        self._beyond = 0 if is_end and self._unread > 0 else None
        if is_end or is_stopped or self._unread <= 0 or not self._database.is_billed:
            self._rows = None
        return page

    def _count(self, now: float) -> None:
        """Count now and then what is beyond a full page, and the rows that nobody will read.

        A count that takes too long is left out: it would hold up what is read.
        """
        if self._beyond is None and now >= self._count_at:
            self._count_at = now + COUNT_SECONDS
            with suppress(ConnectorFailed):
                self._beyond = self._database.count(self._queries.count_beyond(self._after, MAX_COUNTED))
        if now >= self._nulls_at:
            self._nulls_at = now + NULLS_SECONDS
            with suppress(ConnectorFailed):
                self._note_unread(self._database.count(self._queries.count_without_place()))

    def _note_twins(self, place: list[Any]) -> None:
        """Report once that rows have one place: of those on two pages the later ones are never read."""
        if place == self._after and not self._has_twins:
            self._has_twins = True
            columns = ", ".join([self._settings.watermark, *self._settings.keys])
            set_notice(
                self._source_id,
                f"Rows of {self._settings.table} are alike in {columns}, so some may be missed; "
                "choose keys that are unique.",
            )

    def _note_unread(self, rows: int) -> None:
        columns = ", ".join([self._settings.watermark, *self._settings.keys])
        reason = f"as one of {columns} is NULL."
        if rows:
            set_notice(self._source_id, f"{rows:,} rows of {self._settings.table} are not read, {reason}")
        else:
            clear_notice(self._source_id, ending=reason)


def _message_of(
    settings: SqlSettings, offset: int, names: Sequence[str], row: Sequence[Any]
) -> StreamMessage:
    """Return a row as a message; its last columns are its place: the watermark is its time, and the keys its key."""
    partition, place_fields = settings.partition(), (settings.watermark, *settings.keys)
    places = len(place_fields)
    value, fault = write_row(dict(zip(names[:-places], row, strict=False)))
    watermark = row[-places]
    if isinstance(watermark, datetime) and watermark.tzinfo is None:
        watermark = watermark.replace(tzinfo=UTC)
    try:
        cursor = write_cursor(row[-places:])
    except UnusableValue as error:
        raise ConnectorFailed(f"{partition} cannot be followed: {error}.") from error
    time_us = to_us(watermark) if isinstance(watermark, datetime) else None
    return StreamMessage(
        partition,
        offset,
        value,
        key=_key_of(row[1 - places :]),
        time_us=time_us,
        place_fields=place_fields,
        cursor=cursor,
        fault=fault,
    )


def _key_of(keys: Sequence[Any]) -> bytes | None:
    """Return the values of the key columns as an id, so that a row which is read again is known; None where no id can
    be made of them."""
    texts = [bytes(key).hex() if isinstance(key, bytes | memoryview) else str(key) for key in keys]
    if len(texts) > 1:  # so that ("a/b", "c") and ("a", "b/c") have different ids
        texts = [text.replace("\\", "\\\\").replace("/", "\\/") for text in texts]
    text = "/".join(texts)
    return text.encode() if is_valid_id(text) else None


def see_watermark(database: Database, queries: TableQueries, settings: SqlSettings) -> bool:
    """See once of which type watermarks are; returns False while the table has none.

    Raises ConnectorFailed where the lag is set and it is no time, which alone can be so many seconds old, and where
    none that was seen can be read: rows of a day that has not ended could be read then, and others missed.
    """
    if queries.is_by_day is not None:
        return True
    unreadable: Unreadable | None = None
    for _, row in list(database.read(queries.any_watermark())):
        value = row[0]
        if isinstance(value, Unreadable):
            unreadable = value
            continue
        if settings.lag_seconds and not isinstance(value, date):
            detail = f"{settings.watermark} is no time, so lag_seconds has to be 0."
            raise ConnectorFailed(f"{detail} Rows that are committed late may be missed then.")
        queries.is_by_day = isinstance(value, date) and not isinstance(value, datetime)
        queries.has_zone = isinstance(value, datetime) and value.tzinfo is not None
        break
    if queries.is_by_day is None and unreadable is not None:
        detail = f"{unreadable.text[:60]!r} is no time between the years 1 and 9999"
        raise ConnectorFailed(f"{settings.watermark} cannot be followed: {detail}.")
    return queries.is_by_day is not None


def sample_rows(settings: SqlSettings, secret: str, *, messages: int, seconds: float) -> list[StreamMessage]:
    """Read the newest rows of a table for a person, within about so many seconds; raises ConnectorFailed."""
    database = open_database(settings, secret, deadline=time.monotonic() + seconds)
    try:
        queries = TableQueries(settings)
        see_watermark(database, queries, settings)
        rows = database.read(queries.newest(messages))
        return [_message_of(settings, number, names, row) for number, (names, row) in enumerate(rows)]
    finally:
        database.close()
