"""Reads Snowflake by its SQL REST API, with the private key of a user; each request goes to a checked address.

Snowflake's own connector is no choice: it fetches rows from addresses that the server names.

https://docs.snowflake.com/en/developer-guide/sql-api/reference
https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests (types of bindings)
https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses (partitions, types of values)
"""

import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as TimeOfDay
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from driftline.base.errors import UNREADABLE
from driftline.base.outbound.transport import RequestFailed, exchange
from driftline.base.periods import EPOCH
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.sql.database import STATEMENT_SECONDS, TOO_LATE
from inference.prediction_log.sources.sql.nanoseconds import NanosecondTime, nanosecond_of
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.rest import (
    WRONG_VALUE,
    RestDatabase,
    describe_failure,
    read_decimal,
)
from inference.prediction_log.sources.sql.rows import Unreadable
from inference.prediction_log.sources.sql.settings import SqlSettings
from inference.prediction_log.sources.sql.snowflake_key import KeyPair

PARTITION_MIB = 48  # at which Snowflake is asked to end a partition, the least that its drivers ask for
MAX_ANSWER_BYTES = 64 << 20  # also once it is unpacked
MAX_METADATA_BYTES = 1 << 20  # of the columns, and of the partitions: they grow once they are read
MAX_REFUSAL_BYTES = 1 << 20  # once it is unpacked
SESSION = {
    "TIMEZONE": "UTC",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "ROWS_PER_RESULTSET": "0",
    "CLIENT_RESULT_CHUNK_SIZE": str(PARTITION_MIB),
}
"""Parameters of each statement: Snowflake ignores names in lower case, without an error."""
PAUSE_SECONDS = 0.5  # between two looks whether a statement has ended
CANCEL_SECONDS = 5.0
RUNNING, TIMED_OUT, TOO_MANY = 202, 408, 429
ADVICE = {
    401: "Check the account in the host, the user, that the user has the public key of this one, and the clock here.",
    403: "Check the network policy of the account, and that it allows the SQL API.",
    404: "Check host and port: there is no SQL API.",
    422: "Names are case-sensitive; the role needs the right to the warehouse and the table.",
    TOO_MANY: "The account has as many requests as it may; look for new rows less often.",
}
"""What to check, by the status of an answer."""
_MAX_DIGITS = 38  # of a NUMBER
_ROW = re.compile(rb'\s*(\[[^]"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^]"]*+)*+\])\s*,?', re.DOTALL)
"""A list of texts and nulls in JSON, and a comma where another follows.

Its quantifiers are possessive, so that what does not match is found once, not for each way to divide it.
"""
_TOKEN = re.compile(r"eyJ[\w.-]{20,}")
_SECONDS = re.compile(r"-?\d{1,12}(\.\d{1,9})?")


class _Column(Struct):
    name: str
    type: str
    scale: int | None = None


class _Partition(Struct):
    rowCount: int


class _Metadata(Struct):
    rowType: Raw
    partitionInfo: Raw


class _Answer(Struct):
    """What answers have: a handle while a statement runs, then metadata and rows; of later partitions rows alone."""

    statementHandle: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{0,64}\Z")] = ""
    resultSetMetaData: _Metadata | None = None
    data: Raw = Raw(b"[]")


class _Refusal(Struct):
    message: str = ""


class SnowflakeDatabase(RestDatabase):
    """The tables of one database; see `Database`."""

    product = "Snowflake"

    def __init__(self, settings: SqlSettings, secret: str, *, deadline: float) -> None:
        super().__init__(settings, deadline)
        self._settings = settings
        self._key = KeyPair(secret, settings.host, settings.user)

    def _read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        status, answer = self._send("POST", "?async=true", _request_of(query, self._settings))
        handle = answer.statementHandle
        if status == RUNNING:
            answer = self._wait_for(handle)
        columns, partitions = self._metadata_of(answer)
        if len(columns) < query.min_columns:
            raise self._unreadable()
        names = [column.name for column in columns]
        # Of so many cells exactly: a row of more is refused before they fill memory.
        cells = msgspec.json.Decoder(tuple[(str | None,) * len(columns)])  # type: ignore[misc]
        for number, partition in enumerate(partitions):
            if number > 0:
                if partition.rowCount == 0:  # these could go on for ever
                    raise self._unreadable()
                answer = self._wait_for(handle, f"?partition={number}")
            rows = 0
            for row in _rows_of(answer.data):
                yield names, self._values_of(columns, cells, row)
                rows += 1
            if rows != partition.rowCount:
                raise self._unreadable()

    def _metadata_of(self, answer: _Answer) -> tuple[list[_Column], list[_Partition]]:
        """Return the columns and the partitions that an answer announces."""
        metadata = answer.resultSetMetaData
        if metadata is None:
            raise self._unreadable()
        if any(
            len(memoryview(part)) > MAX_METADATA_BYTES for part in (metadata.rowType, metadata.partitionInfo)
        ):
            raise self._unreadable()
        try:
            return (
                msgspec.json.decode(metadata.rowType, type=list[_Column]),
                msgspec.json.decode(metadata.partitionInfo, type=list[_Partition]),
            )
        except UNREADABLE as error:
            raise self._unreadable() from error

    def _wait_for(self, handle: str, partition: str = "") -> _Answer:
        """Ask for rows until the statement has ended; one that takes too long is cancelled."""
        if not handle:
            raise self._unreadable()
        until = min(time.monotonic() + STATEMENT_SECONDS, self._deadline)
        while True:
            status, answer = self._send("GET", f"/{handle}{partition}")
            if status != RUNNING:
                return answer
            if time.monotonic() + PAUSE_SECONDS >= until:
                with suppress(ConnectorFailed):  # Snowflake ends it too, after its own time
                    self._exchange("POST", f"/{handle}/cancel", None, CANCEL_SECONDS)
                raise ConnectorFailed(TOO_LATE)
            time.sleep(PAUSE_SECONDS)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, _Answer]:
        """Return the status and the body of an answer."""
        status, answer = self._exchange(method, path, body, self._seconds_left())
        try:
            return status, msgspec.json.decode(_unpacked(answer, MAX_ANSWER_BYTES), type=_Answer)
        except (*UNREADABLE, zlib.error) as error:
            raise self._unreadable() from error

    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float
    ) -> tuple[int, bytes]:
        try:
            answer = exchange(
                method,
                f"{self._endpoint}/api/v2/statements{path}",
                headers={
                    "authorization": f"Bearer {self._key.token()}",
                    "x-snowflake-authorization-token-type": "KEYPAIR_JWT",
                    "content-type": "application/json",
                    "accept": "application/json",
                    "accept-encoding": "gzip",
                },
                body=None if body is None else msgspec.json.encode(body),
                deadline=seconds,
                max_bytes=MAX_ANSWER_BYTES,
            )
            return answer.status, answer.body
        except RequestFailed as error:
            if error.status == TOO_MANY and method == "GET":  # so it may say that a statement runs
                return RUNNING, b"{}"
            if error.status == TIMED_OUT:
                raise ConnectorFailed(TOO_LATE) from error
            raise ConnectorFailed(describe_failure(error, _reason_of(error))) from error

    def _values_of(
        self, columns: Sequence[_Column], cells: msgspec.json.Decoder[tuple[str | None, ...]], row: bytes
    ) -> list[Any]:
        try:
            return [_value_of(column, cell) for column, cell in zip(columns, cells.decode(row), strict=True)]
        except (*UNREADABLE, *WRONG_VALUE) as error:
            raise self._unreadable() from error


def _request_of(query: Query, settings: SqlSettings) -> dict[str, Any]:
    request = {
        "statement": query.text,
        "bindings": {str(n): _binding_of(value) for n, value in enumerate(query.values, start=1)},
        "timeout": STATEMENT_SECONDS,
        "database": settings.database,
        "schema": settings.schema_name,
        "warehouse": settings.warehouse,
        "parameters": SESSION,
    }
    return request | ({"role": settings.role} if settings.role else {})


def _binding_of(value: Any) -> dict[str, str]:
    """Return a part of a place as a value of the type that it has in the table."""
    match value:
        case int():
            kind, text = "FIXED", str(value)
        case Decimal():
            kind, text = "FIXED", f"{value:f}"  # with its fraction, as Snowflake's connector sends it
        case datetime():
            kind = "TIMESTAMP_NTZ" if value.tzinfo is None else "TIMESTAMP_LTZ"
            text = str(_nanoseconds_of(value))
        case date():
            kind, text = "DATE", str((value - EPOCH.date()) // timedelta(milliseconds=1))
        case bytes():
            kind, text = "BINARY", value.hex()
        case _:
            kind, text = "TEXT", str(value)
    return {"type": kind, "value": text}


def _nanoseconds_of(moment: datetime) -> int:
    since = moment - (EPOCH if moment.tzinfo else EPOCH.replace(tzinfo=None))
    return since // timedelta(microseconds=1) * 1_000 + nanosecond_of(moment)


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    """Return an answer, unpacked where it is of gzip, of one member; raises zlib.error for others and longer ones."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    file = zlib.decompressobj(31)  # the header and trailer of gzip
    answer = file.decompress(body, max_bytes)
    if not file.eof or file.unused_data:
        raise zlib.error("more than one member, or longer than an answer")
    return answer


def _rows_of(data: Raw) -> Iterator[bytes]:
    """Yield each row of a list of rows, as JSON, without holding all of them in memory: short ones grow 20 times."""
    position = 1  # behind the bracket
    while row := _ROW.match(data, position):
        yield row[1]
        position = row.end()


def _value_of(column: _Column, text: str | None) -> Any:
    if text is None:
        return None
    kind = column.type.upper()
    if kind == "FIXED" and column.scale:
        return read_decimal(text, _MAX_DIGITS)
    return _READERS.get(kind, str)(text)


def _integer_of(text: str) -> int | Decimal:
    """Return a whole number, which may have more digits than a number of JSON."""
    value = int(text)
    return value if abs(value) < 1 << 63 else read_decimal(text, _MAX_DIGITS)


def _nanoseconds_in(seconds: str) -> int:
    """Return the nanoseconds of a number of seconds with a fraction."""
    if not _SECONDS.fullmatch(seconds):
        raise ValueError("no seconds")
    return int(Decimal(seconds).scaleb(9))


def _moment_of(seconds: str, zone: timezone | None = UTC) -> datetime | Unreadable:
    microseconds, nanosecond = divmod(_nanoseconds_in(seconds), 1_000)
    try:
        moment = EPOCH + timedelta(microseconds=microseconds)
        moment = moment.astimezone(zone) if zone else moment.replace(tzinfo=None)
    except OverflowError:
        return Unreadable(seconds)
    return NanosecondTime.after(moment, nanosecond) if nanosecond else moment


def _moment_with_zone_of(text: str) -> datetime | Unreadable:
    """Return a time with the offset that is written behind it, in minutes, of which 1,440 are UTC."""
    seconds, offset = text.split(" ")
    return _moment_of(seconds, timezone(timedelta(minutes=int(offset) - 1_440)))


def _day_of(days: str) -> date | Unreadable:
    try:
        return EPOCH.date() + timedelta(days=int(days))
    except OverflowError:
        return Unreadable(days)


def _time_of_day(seconds: str) -> TimeOfDay:
    return (datetime.min + timedelta(microseconds=_nanoseconds_in(seconds) // 1_000)).time()


def _json_of(text: str) -> Raw | str:
    """Return JSON as it is; what only Snowflake has in it, such as `undefined`, makes it text."""
    try:
        return msgspec.json.decode(text, type=Raw)
    except UNREADABLE:
        return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "FIXED": _integer_of,
    "REAL": float,
    "DECFLOAT": float,  # no watermark or key: as a parameter it would lose digits
    "BOOLEAN": {"true": True, "false": False}.__getitem__,
    "BINARY": bytes.fromhex,
    "DATE": _day_of,
    "TIME": _time_of_day,
    "TIMESTAMP_NTZ": partial(_moment_of, zone=None),
    "TIMESTAMP_LTZ": _moment_of,
    "TIMESTAMP_TZ": _moment_with_zone_of,
    "VARIANT": _json_of,
    "OBJECT": _json_of,
    "ARRAY": _json_of,
}
"""By the names of types that answers have; values of other types stay text."""


def _reason_of(error: RequestFailed) -> str:
    """Return what Snowflake says, without a token that it may repeat, and what to check."""
    try:
        message = msgspec.json.decode(_unpacked(error.content, MAX_REFUSAL_BYTES), type=_Refusal).message
    except (*UNREADABLE, zlib.error):
        message = ""
    said = " ".join(_TOKEN.sub("…", message).split())[:180].rstrip(".")
    return ". ".join(filter(None, [said, ADVICE.get(error.status or 0, "")]))
