"""A store of objects over HTTP: signed requests to checked addresses alone, and downloads in parts.

What differs between services is how a listing is asked for and read, where an object is, and how a request is signed.
"""

import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from tempfile import SpooledTemporaryFile
from threading import Timer
from typing import IO, Any, ClassVar
from xml.etree import ElementTree

from django.conf import settings as django_settings

from driftline.base.outbound.transport import Line, RequestFailed, named_failures, open_session
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.settings import StoreSettings
from inference.connectors.objects.signature import quote_path, quote_query
from inference.connectors.objects.store import MAX_OBJECT_BYTES, ObjectInfo, ObjectMissing, ObjectRefused

DEADLINE_SECONDS = 30.0  # of one request
MAX_PAGE_BYTES = 8 << 20
PART_BYTES = 4 << 20
READ_AHEAD_BYTES = 1 << 20
PAUSES_SECONDS = (1.0, 3.0)
"""Before a part is asked for again, so that one failure does not cost all that was downloaded."""
MIN_FREE_BYTES = 2 << 30  # of the disk, on which predictions are logged too
IN_MEMORY_BYTES = 1 << 20  # of an object; what is larger is kept in a file
_CODE = re.compile(rb'<Code>([A-Za-z0-9.]{1,80})</Code>|"reason": ?"([A-Za-z0-9.]{1,80})"')


class RemoteStore(ABC):
    """Lists, reads and writes one bucket, by signed requests where there is a key, else as anybody may.

    After `deadline`, a time of `time.monotonic`, every request fails.
    """

    range_header: ClassVar[str] = "range"
    place: ClassVar[str]
    """What people call it: a bucket or a container."""
    following_parameter: ClassVar[str]
    """By which the next page of a listing is asked for."""

    def __init__(self, settings: StoreSettings, secret: str, *, deadline: float = float("inf")) -> None:
        self._settings, self._secret, self._deadline = settings, secret, deadline
        self._connect()

    def _connect(self) -> None:
        self._line = Line()
        self._session = open_session(self._line)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        self._line.close()

    def unlisted(self) -> str:
        """Return nothing: a bucket is listed as a whole."""
        return ""

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        """Yield the objects with the prefix, some at a time; see `ObjectStore`."""
        query = self.first_page_query()
        while True:
            status, body = self.get("", query, {}, MAX_PAGE_BYTES)
            if status != 200:
                raise ConnectorFailed(
                    f"The {self.place} cannot be listed: the store answered {describe_status(status, body)}."
                )
            page, following = self.read_page(body)
            yield page
            if not following:
                return
            query[self.following_parameter] = following

    @abstractmethod
    def first_page_query(self) -> dict[str, str]:
        """Return how the first page of the listing is asked for."""

    @abstractmethod
    def read_page(self, body: bytes) -> tuple[list[ObjectInfo], str]:
        """Return the objects of a page, and by what the next one is asked for; empty at the last."""

    @abstractmethod
    def sign(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """Return the headers of a request with those that sign it."""

    @abstractmethod
    def _is_archived(self, status: int, body: bytes) -> bool:
        """Return whether an object lies in an archive, which alone is no fault of key, clock or network."""

    def path_of(self, key: str) -> str:
        """Return the path of a request for an object, or of the bucket for no key, as it is signed and sent."""
        return quote_path(f"/{self._settings.bucket}/{key}" if key else f"/{self._settings.bucket}")

    def range_query(self, info: ObjectInfo) -> dict[str, str]:
        """Return what a part of an object is asked for with, beside its range."""
        return {}

    def fetch(self, info: ObjectInfo) -> "ObjectDownload":
        """Begin to download an object, which is refused where it is longer than `MAX_OBJECT_BYTES`."""
        return ObjectDownload(self, info)

    def open(self, info: ObjectInfo) -> IO[bytes]:
        """Open an object of any length: what is read of it is downloaded, some of what follows with it.

        Reading raises ConnectorFailed, ObjectMissing and ObjectRefused.
        """
        return BufferedReader(_ObjectReader(self, info), READ_AHEAD_BYTES)

    def get_range(self, info: ObjectInfo, start: int, stop: int) -> bytes:
        """Return the bytes `[start, stop)`, at most `PART_BYTES`, of an object in the version that was listed.

        Raises ObjectMissing, ObjectRefused, and ConnectorFailed where some requests failed.
        """
        for pause in PAUSES_SECONDS:
            try:
                return self._request_range(info, start, stop)
            except ConnectorFailed:
                if self.seconds_left() <= pause:
                    raise
                time.sleep(pause)
        return self._request_range(info, start, stop)

    def _request_range(self, info: ObjectInfo, start: int, stop: int) -> bytes:
        headers = {self.range_header: f"bytes={start}-{stop - 1}"}
        if info.etag.startswith('"'):  # else the store names none
            headers["if-match"] = info.etag
        status, body = self.get(info.path, self.range_query(info), headers, PART_BYTES)
        if status in (404, 412, 416):
            raise ObjectMissing(info.path)
        if self._is_archived(status, body):
            raise ObjectRefused(f"the store answered {describe_status(status, body)}")
        if status == 200 and len(body) == info.size:  # the store knows no ranges
            return body[start:stop]
        if status != 206:
            # Keys are changed and clocks set right: what is refused today may be given tomorrow.
            raise ConnectorFailed(
                f"{info.path} cannot be read now: the store answered {describe_status(status, body)}."
            )
        if len(body) != stop - start:
            raise ConnectorFailed(f"The store sent {len(body):,} bytes of {stop - start:,}.")
        return body

    def seconds_left(self) -> float:
        """Return the time until the deadline."""
        return self._deadline - time.monotonic()

    def get(
        self, key: str, query: Mapping[str, str], headers: dict[str, str], max_bytes: int
    ) -> tuple[int, bytes]:
        """Return status and body of a GET; raises ConnectorFailed where none comes whole within the deadline."""
        answer = self.exchange("GET", key, query=query, headers=headers, max_bytes=max_bytes)
        return answer.status, answer.body

    def exchange(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes = b"",
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> "StoreAnswer":
        """Send one request; raises ConnectorFailed where no answer comes whole within the deadline."""
        path = self.path_of(key)
        url = f"{self._settings.url()}{path}?{quote_query(query)}".rstrip("?")
        seconds = min(DEADLINE_SECONDS, self.seconds_left())
        if seconds <= 0:
            raise ConnectorFailed("The store did not answer in time.")
        timer = Timer(seconds, self._line.cut)
        timer.start()
        try:
            with named_failures():
                response = self._session.request(
                    method,
                    url,
                    data=body or None,
                    headers=self.sign(method, path, query, headers, body),
                    stream=True,
                    allow_redirects=False,
                )
                content: bytes = response.raw.read(max_bytes + 1, decode_content=False)
                if len(content) > max_bytes:
                    raise RequestFailed("the answer is longer than what was asked for")
                response.raw.release_conn()  # so that the next request takes the same connection
                return StoreAnswer(response.status_code, content, response.headers)
        except RequestFailed as error:
            self.close()
            self._connect()
            done = "read" if method in ("GET", "HEAD") else "written to"
            raise ConnectorFailed(f"The store cannot be {done} now: {error}.") from error
        finally:
            timer.cancel()


@dataclass(frozen=True)
class StoreAnswer:
    """What a store answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def describe(self) -> str:
        """Return the status with the code that the store gives for it, and nothing else of the answer."""
        return describe_status(self.status, self.body)


def check_room(name: str, size: int) -> None:
    """Raise ConnectorFailed where so many bytes would take the room on the disk that the log needs."""
    free = shutil.disk_usage(django_settings.HOME).free
    if size > IN_MEMORY_BYTES and free - size < MIN_FREE_BYTES:
        raise ConnectorFailed(
            f"{name} has {size:,} bytes, and of the disk {free:,} are free, "
            f"of which {MIN_FREE_BYTES:,} stay so; make room."
        )


class ObjectDownload:
    """An object that is downloaded in parts, each of the version that was listed; see `Transfer`."""

    def __init__(self, store: RemoteStore, info: ObjectInfo) -> None:
        self._store, self._info = store, info
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=str(django_settings.HOME))  # noqa: SIM115  closed by `close`
        self._received = 0

    @property
    def file(self) -> IO[bytes]:
        """Return the content from its beginning."""
        self._file.seek(0)
        return self._file

    def is_unchanged(self) -> bool:
        """Return True: every part was of the version that was listed."""
        return True

    def close(self) -> None:
        """Remove what was downloaded."""
        self._file.close()

    def step(self) -> bool:
        """Download the next part; see `Transfer`."""
        if self._info.size > MAX_OBJECT_BYTES:
            raise ObjectRefused(
                f"it has {self._info.size:,} bytes, and an object has at most {MAX_OBJECT_BYTES:,}"
            )
        if self._received == self._info.size:
            return True
        if self._received == 0:
            check_room(self._info.path, self._info.size)
        stop = min(self._received + PART_BYTES, self._info.size)
        self._keep(self._store.get_range(self._info, self._received, stop))
        return self._received == self._info.size

    def _keep(self, body: bytes) -> None:
        try:
            self._file.write(body)
        except OSError as error:
            raise ConnectorFailed(f"There is no room to keep {self._info.path}: {error.strerror}.") from error
        self._received += len(body)


class _ObjectReader(RawIOBase):
    """The content of an object, of which each reading is a request."""

    def __init__(self, store: RemoteStore, info: ObjectInfo) -> None:
        self._store, self._info, self._place = store, info, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        self._place = offset + {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: self._info.size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill as much of a buffer as one request brings; returns how many bytes that is."""
        start, stop = self._place, min(self._place + min(len(buffer), PART_BYTES), self._info.size)
        if start < stop:
            buffer[: stop - start] = self._store.get_range(self._info, start, stop)
            self._place = stop
        return max(0, stop - start)


def read_xml(body: bytes) -> ElementTree.Element:
    """Parse a listing; raises ConnectorFailed for one with a document type, ParseError and ValueError for no XML."""
    text = body.decode("utf-8-sig")  # as stores write it; in another code a document type would be overlooked
    if "<!DOCTYPE" in text:
        raise ConnectorFailed("The listing has a document type, which that of a bucket never has.")
    return ElementTree.fromstring(text)


def code_of(body: bytes) -> str:
    """Return the code by which a store says what it refuses; empty where it gives none."""
    code = _CODE.search(body)
    return (code[1] or code[2]).decode() if code else ""


def describe_status(status: int, body: bytes) -> str:
    """Return a status with the code that the store gives for it, and nothing else of an answer."""
    if 300 <= status < 400:
        return f"{status}, which is no answer; check endpoint and region"
    return f"{status} {code_of(body)}".rstrip()
