"""Reads Snowflake by its SQL REST API, with the private key of a user; each request goes to a checked address.

Snowflake's own connector is no choice: it fetches rows from addresses that the server names.

https://docs.snowflake.com/en/developer-guide/sql-api/reference
https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests (types of bindings)
https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses (partitions, types of values)
"""

import gzip
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as TimeOfDay
from decimal import Decimal
from functools import partial
from io import BytesIO
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from driftline.common.outbound.transport import RequestFailed, exchange
from inference.prediction_log.sources.messages import AdapterFailed
from inference.prediction_log.sources.sql.database import STATEMENT_SECONDS
from inference.prediction_log.sources.sql.nanoseconds import NanosecondTime
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.rest import (
    TOO_LATE,
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
_NUMBER_DIGITS, _DECFLOAT_DIGITS = 38, 16_384
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROW = re.compile(rb'\s*(\[[^]"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^]"]*+)*+\])\s*,?', re.DOTALL)
"""A list of texts and nulls in JSON, and a comma where another follows."""
_CELLS = msgspec.json.Decoder(list[str | None])
_TOKEN = re.compile(r"eyJ[\w.-]{20,}")
_SECONDS = re.compile(r"-?\d{1,12}(\.\d{1,9})?")


class _Column(Struct):
    name: str
    type: str
    scale: int | None = None


class _Partition(Struct):
    rowCount: int


class _Metadata(Struct):
    rowType: list[_Column]
    partitionInfo: list[_Partition]


class _Answer(Struct):
    """What answers have: a handle while a statement runs, then metadata and rows; of later partitions rows alone."""

    statementHandle: Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{0,64}$")] = ""
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
        metadata = answer.resultSetMetaData
        if metadata is None or len(metadata.rowType) < query.min_columns:
            raise self._unreadable()
        names = [column.name for column in metadata.rowType]
        for number, partition in enumerate(metadata.partitionInfo):
            if number > 0:
                if partition.rowCount == 0:  # these could go on for ever
                    raise self._unreadable()
                answer = self._wait_for(handle, f"?partition={number}")
            rows = 0
            for row in _rows_of(answer.data):
                yield names, self._values_of(metadata.rowType, row)
                rows += 1
            if rows != partition.rowCount:
                raise self._unreadable()

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
                with suppress(AdapterFailed):  # Snowflake ends it too, after its own time
                    self._exchange("POST", f"/{handle}/cancel", None, CANCEL_SECONDS)
                raise AdapterFailed(TOO_LATE)
            time.sleep(PAUSE_SECONDS)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, _Answer]:
        """Return the status and the body of an answer."""
        status, answer = self._exchange(method, path, body, self._seconds_left())
        try:
            return status, msgspec.json.decode(_unpacked(answer), type=_Answer)
        except (msgspec.DecodeError, RecursionError, OSError, EOFError, zlib.error) as error:
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
                raise AdapterFailed(TOO_LATE) from error
            raise AdapterFailed(describe_failure(error, _reason_of(error))) from error

    def _values_of(self, columns: Sequence[_Column], row: bytes) -> list[Any]:
        try:
            cells = _CELLS.decode(row)
            return [_value_of(column, cell) for column, cell in zip(columns, cells, strict=True)]
        except (msgspec.DecodeError, *WRONG_VALUE) as error:
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
            kind, text = "DATE", str((value - _UNIX_EPOCH.date()) // timedelta(milliseconds=1))
        case bytes():
            kind, text = "BINARY", value.hex()
        case _:
            kind, text = "TEXT", str(value)
    return {"type": kind, "value": text}


def _nanoseconds_of(moment: datetime) -> int:
    since = moment - (_UNIX_EPOCH if moment.tzinfo else _UNIX_EPOCH.replace(tzinfo=None))
    return since // timedelta(microseconds=1) * 1_000 + getattr(moment, "nanosecond", 0)


def _unpacked(body: bytes) -> bytes:
    """Return an answer, unpacked where it is of gzip; of a longer one the beginning, which is no JSON."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    with gzip.GzipFile(fileobj=BytesIO(body)) as file:
        return file.read(MAX_ANSWER_BYTES)


def _rows_of(data: Raw) -> Iterator[bytes]:
    """Give each row of a list of rows, as JSON, without holding all of them in memory: short ones grow 20 times."""
    position = 1  # behind the bracket
    while row := _ROW.match(data, position):
        yield row[1]
        position = row.end()


def _value_of(column: _Column, text: str | None) -> Any:
    if text is None:
        return None
    kind = column.type.upper()
    if kind == "FIXED" and column.scale:
        return read_decimal(text, _NUMBER_DIGITS)
    return _READERS.get(kind, str)(text)


def _integer_of(text: str) -> int | Decimal:
    """Return a whole number, which may have more digits than a number of JSON."""
    value = int(text)
    return value if abs(value) < 1 << 63 else read_decimal(text, _NUMBER_DIGITS)


def _nanoseconds_in(seconds: str) -> int:
    """Return the nanoseconds of a number of seconds with a fraction."""
    if not _SECONDS.fullmatch(seconds):
        raise ValueError("no seconds")
    return int(Decimal(seconds).scaleb(9))


def _moment_of(seconds: str, zone: timezone | None = UTC) -> datetime | Unreadable:
    microseconds, nanosecond = divmod(_nanoseconds_in(seconds), 1_000)
    try:
        moment = _UNIX_EPOCH + timedelta(microseconds=microseconds)
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
        return _UNIX_EPOCH.date() + timedelta(days=int(days))
    except OverflowError:
        return Unreadable(days)


def _time_of_day(seconds: str) -> TimeOfDay:
    return (datetime.min + timedelta(microseconds=_nanoseconds_in(seconds) // 1_000)).time()


def _json_of(text: str) -> Raw | str:
    """Return JSON as it is; what only Snowflake has in it, such as `undefined`, makes it text."""
    try:
        return msgspec.json.decode(text, type=Raw)
    except (msgspec.DecodeError, RecursionError):
        return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "FIXED": _integer_of,
    "REAL": float,
    "DECFLOAT": partial(read_decimal, max_digits=_DECFLOAT_DIGITS),
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
        message = msgspec.json.decode(error.body, type=_Refusal).message
    except (msgspec.DecodeError, RecursionError):
        message = ""
    said = " ".join(_TOKEN.sub("…", message).split())[:180].rstrip(".")
    return ". ".join(filter(None, [said, ADVICE.get(error.status or 0, "")]))
