"""Reads objects one after the other; the tables say which were read, and where one that was begun is read on."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.bucket import Bucket
from inference.connectors.objects.store import (
    ObjectInfo,
    ObjectMissing,
    ObjectRefused,
    ObjectStore,
    Transfer,
)
from inference.prediction_log.sources.objects.azure import AzureContainer
from inference.prediction_log.sources.objects.folder import Folder
from inference.prediction_log.sources.objects.gcs import GcsBucket
from inference.prediction_log.sources.objects.listing import Pass
from inference.prediction_log.sources.objects.progress import (
    begin_object,
    finish_object,
    note_unread,
    partition_of,
)
from inference.prediction_log.sources.objects.rows import BrokenObject, Row, read_rows
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.leased_adapter import LeasedAdapter
from inference.prediction_log.sources.reading.messages import BROKEN_OBJECT, Fault, StreamMessage
from inference.prediction_log.sources.reading.positions import ALL_OBJECTS

log = logging.getLogger(__name__)

_SERVICES: Mapping[str, Callable[..., ObjectStore]] = {
    "s3": Bucket,
    "azure": AzureContainer,
    "gcs": GcsBucket,
}
MAX_BATCH = 10_000
MAX_BATCH_BYTES = 8 << 20


def open_store(settings: ObjectsSettings, secret: str, *, deadline: float = float("inf")) -> ObjectStore:
    """Open the folder or the bucket, of which no request is answered after the deadline; raises ConnectorFailed."""
    if settings.folder:
        return Folder(settings)
    return _SERVICES[settings.service](settings, secret, deadline=deadline)


@dataclass
class _Reading:
    """An object that is being read; `next_row` is the one that comes next."""

    info: ObjectInfo
    transfer: Transfer
    next_row: int
    rows: Iterator[Row] | None = None  # once all of the object is here
    is_whole: bool = True

    @property
    def partition(self) -> str:
        return partition_of(self.info.path, self.info.etag)

    def message(self, value: bytes, fault: Fault | None, *, has_text_cells: bool = False) -> StreamMessage:
        """Return the next row as a message."""
        self.next_row += 1
        return StreamMessage(
            partition=self.partition,
            offset=self.next_row - 1,
            value=value,
            time_us=self.info.modified_us,
            has_text_cells=has_text_cells,
            fault=fault,
        )


class ObjectsAdapter(LeasedAdapter):
    """Reads the objects of one source, while it holds the lease of it; see `Adapter`."""

    def __init__(
        self,
        source_id: int,
        settings: ObjectsSettings,
        secret: str,
        *,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(source_id)
        self._settings, self._wait = settings, wait
        self._store = open_store(settings, secret)
        self._next_pass_at = float("-inf")
        self._pass: Pass | None = None
        self._waiting: Iterator[ObjectInfo] = iter(())
        self._reading: _Reading | None = None
        self._ended: list[_Reading] = []  # of which the last rows are stored by the next poll
        self._end: int | None = None
        self._failure: ConnectorFailed | None = None

    def ends(self) -> Mapping[str, int]:
        """Return how many objects there are to be read in all; nothing while another consumer reads them."""
        return {} if self._end is None else {ALL_OBJECTS: self._end}

    def resume(self) -> None:
        """Forget what was begun, and look at the listing anew."""
        if self._reading is not None:
            self._reading.transfer.close()
        self._reading, self._ended, self._pass, self._end = None, [], None, None
        self._waiting, self._next_pass_at, self._failure = iter(()), float("-inf"), None

    def _disconnect(self) -> None:
        self.resume()
        self._store.close()

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the next rows, or none after about the timeout, in which listings and objects are brought here."""
        deadline = time.monotonic() + timeout_seconds
        if not self._lease.hold():
            self.resume()
            self._wait(timeout_seconds)
            return []
        self._finish_ended()
        self._raise_failure()
        batch: list[StreamMessage] = []
        size = 0
        while len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            try:
                message = self._next_message(deadline)
            except ConnectorFailed as error:
                if not batch:
                    raise
                self._failure = error
                break
            if message is None:
                break
            batch.append(message)
            size += message.size_bytes
        if not batch:
            self._finish_ended()  # of objects without a row
            self._wait(max(0.0, deadline - time.monotonic()))
        return batch

    def _raise_failure(self) -> None:
        """Raise what ended the last batch, now that its rows are stored."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # -- rows ----------------------------------------------------------------------------------------------------------
    def _next_message(self, deadline: float) -> StreamMessage | None:
        """Return the next row of the next object; None where none is here before the deadline."""
        while True:
            reading = self._reading or self._begin_next(deadline)
            if reading is None:
                return None
            try:
                rows = self._bring(reading, deadline)
                if rows is None:
                    return None
                row = next(rows, None)
            except BrokenObject as error:
                return self._break_off(reading, str(error))
            except OSError as error:
                raise ConnectorFailed(f"{reading.info.path} cannot be read: {error.strerror}.") from error
            if row is not None:
                return reading.message(row.value, row.fault, has_text_cells=row.has_text_cells)
            reading.is_whole = reading.transfer.is_unchanged()
            self._end_reading(reading)

    def _bring(self, reading: _Reading, deadline: float) -> Iterator[Row] | None:
        """Bring an object here; returns its rows, or None where it is not here before the deadline, or is no more."""
        try:
            while reading.rows is None:
                if reading.transfer.step():
                    reading.rows = read_rows(
                        reading.transfer.file, reading.info.path, self._settings, start=reading.next_row
                    )
                elif time.monotonic() >= deadline:
                    return None
        except ObjectMissing:
            self._reading = None
            reading.transfer.close()
            return None  # the next pass over the listing finds what is there instead
        except ObjectRefused as error:
            raise BrokenObject(f"{reading.info.path} cannot be read: {error}") from error
        return reading.rows

    def _break_off(self, reading: _Reading, reason: str) -> StreamMessage:
        reading.is_whole = False
        message = reading.message(reading.info.path.encode(), Fault(BROKEN_OBJECT, f"{reason.rstrip('.')}."))
        self._end_reading(reading)
        return message

    def _end_reading(self, reading: _Reading) -> None:
        reading.transfer.close()
        self._ended.append(reading)
        self._reading = None

    def _finish_ended(self) -> None:
        ended, self._ended = self._ended, []
        for reading in ended:
            finish_object(self._source_id, reading.info, rows=reading.next_row, is_whole=reading.is_whole)

    # -- objects -------------------------------------------------------------------------------------------------------
    def _begin_next(self, deadline: float) -> _Reading | None:
        """Begin the next object that waits, or go on with the pass over the listing that finds some."""
        while True:
            for info in self._waiting:
                row = begin_object(self._source_id, info)
                if row is not None:
                    self._reading = _Reading(info, self._store.fetch(info), row)
                    return self._reading
            if not self._list(deadline):
                return None

    def _list(self, deadline: float) -> bool:
        """Go on with a pass over the listing; returns whether it is over and found objects to read."""
        if self._pass is None:
            if time.monotonic() < self._next_pass_at:
                return False
            self._next_pass_at = time.monotonic() + self._settings.interval_seconds
            self._pass = Pass(self._source_id, self._settings, self._store)
        while not self._pass.is_over:
            self._pass.step()
            if time.monotonic() >= deadline and not self._pass.is_over:
                return False
        done, self._pass = self._pass, None
        self._end = note_unread(self._source_id, done.unread)
        self._waiting = iter(done.waiting)
        if done.unread > len(done.waiting):
            self._next_pass_at = float("-inf")  # those beyond are looked for as soon as these are read
        return bool(done.waiting)
