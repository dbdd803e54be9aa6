"""Reads BigQuery by its REST API, with the key of a service account; each request goes to a checked address.

https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from driftline.base.errors import UNREADABLE
from driftline.base.outbound.transport import RequestFailed, exchange
from driftline.base.periods import EPOCH
from driftline.base.strict_json import printable
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.service_account import ServiceAccount
from inference.prediction_log.sources.sql.database import STATEMENT_SECONDS, TOO_LATE
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.rest import (
    WRONG_VALUE,
    RestDatabase,
    describe_failure,
    read_decimal,
)
from inference.prediction_log.sources.sql.rows import Unreadable
from inference.prediction_log.sources.sql.settings import SqlSettings

SCOPE = "https://www.googleapis.com/auth/bigquery.readonly"
ROWS_AT_ONCE = 1_000
MAX_ANSWER_BYTES = 16 << 20  # BigQuery ends a page of rows at about 10 MB
WAIT_SECONDS = 10
"""Of one request for the end of a job: no byte comes before, and 15 s of silence end a connection."""
PAUSE_SECONDS = 0.5  # where such a request was answered at once
_MAX_DIGITS = 77  # of a BIGNUMERIC


class _Field(Struct):
    name: str
    type: str
    mode: str = "NULLABLE"
    fields: list["_Field"] = []


class _Schema(Struct):
    fields: list[_Field] = []


class _Cell(Struct):
    v: Any = None


class _Row(Struct):
    f: list[_Cell]


class _Job(Struct):
    jobId: str
    location: str = ""


class _Answer(Struct):
    jobComplete: bool
    jobReference: _Job | None = None
    schema: _Schema = msgspec.field(default_factory=_Schema)
    rows: list[_Row] = []
    pageToken: str = ""


class _Error(Struct):
    message: str = ""


class _Refusal(Struct):
    error: _Error


class BigQueryDatabase(RestDatabase):
    """The tables of one project; see `Database`. Each statement is a job.

    BigQuery ends a job that takes too long by itself: the token may only read, which includes no right to cancel.
    """

    product = "BigQuery"

    def __init__(self, settings: SqlSettings, secret: str, *, deadline: float) -> None:
        super().__init__(settings, deadline)
        self._max_gib_billed = settings.max_gib_billed
        self._url = f"{self._endpoint}/bigquery/v2/projects/{quote(settings.database, safe='')}/queries"
        self._account = ServiceAccount(secret, self._endpoint, SCOPE)
        if self._account.email != settings.user:
            raise ConnectorFailed(
                f"The key is one of {printable(self._account.email)}; name that as the user."
            )

    def _read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        answer = self._run(query)
        fields = answer.schema.fields
        names = [field.name for field in fields]
        if len(names) < query.min_columns:
            raise self._unreadable()
        while True:
            for row in answer.rows:
                yield names, self._values_of(fields, row)
            if not answer.pageToken:
                return
            if not answer.rows or answer.jobReference is None:
                raise self._unreadable()
            answer = self._send("GET", self._results_of(answer.jobReference, answer.pageToken))
            if not answer.jobComplete:
                raise self._unreadable()

    def _run(self, query: Query) -> _Answer:
        """Start a job, and ask for the first page of its rows until it has ended."""
        until = time.monotonic() + STATEMENT_SECONDS
        answer = self._send("POST", self._url, _request_of(query, self._max_gib_billed))
        job = answer.jobReference
        while not answer.jobComplete:
            if job is None:
                raise self._unreadable()
            if time.monotonic() >= until:
                raise ConnectorFailed(TOO_LATE)
            time.sleep(PAUSE_SECONDS)
            answer = self._send("GET", self._results_of(job))
        answer.jobReference = job
        return answer

    def _results_of(self, job: _Job, page_token: str = "") -> str:
        query = {
            "maxResults": ROWS_AT_ONCE,
            "timeoutMs": 1_000 * WAIT_SECONDS,
            "formatOptions.useInt64Timestamp": "true",
            "location": job.location,
        }
        if page_token:
            query["pageToken"] = page_token
        return f"{self._url}/{quote(job.jobId, safe='')}?{urlencode(query)}"

    def _send(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> _Answer:
        seconds = self._seconds_left()
        token = self._account.token(seconds)
        try:
            given = exchange(
                method,
                url,
                headers={
                    "authorization": f"Bearer {token}",
                    "content-type": "application/json",
                    "accept-encoding": "identity",
                },
                body=None if body is None else msgspec.json.encode(body),
                deadline=seconds,
                max_bytes=MAX_ANSWER_BYTES,
            )
            return msgspec.json.decode(given.text, type=_Answer)
        except RequestFailed as error:
            if error.status == 401:
                self._account.forget_token()
            raise ConnectorFailed(describe_failure(error, _reason_of(error))) from error
        except UNREADABLE as error:
            raise self._unreadable() from error

    def _values_of(self, fields: Sequence[_Field], row: _Row) -> list[Any]:
        try:
            return [_value_of(field, cell.v) for field, cell in zip(fields, row.f, strict=True)]
        except WRONG_VALUE as error:
            raise self._unreadable() from error


def _request_of(query: Query, max_gib_billed: int) -> dict[str, Any]:
    return {
        "query": query.text,
        "useLegacySql": False,
        "parameterMode": "POSITIONAL",
        "queryParameters": [_parameter_of(value) for value in query.values],
        "maxResults": ROWS_AT_ONCE,
        "timeoutMs": 1_000 * WAIT_SECONDS,
        "jobTimeoutMs": str(1_000 * STATEMENT_SECONDS),
        "maximumBytesBilled": str(max_gib_billed << 30),
        "formatOptions": {"useInt64Timestamp": True},
    }


def _parameter_of(value: Any) -> dict[str, Any]:
    """Return a part of a place as a parameter of the type that it has in the table."""
    match value:
        case int():
            kind, text = "INT64", str(value)
        case Decimal():
            kind, text = "BIGNUMERIC", f"{value:f}"
        case datetime():
            kind, text = "DATETIME" if value.tzinfo is None else "TIMESTAMP", value.isoformat()
        case date():
            kind, text = "DATE", value.isoformat()
        case bytes():
            kind, text = "BYTES", base64.b64encode(value).decode()
        case _:
            kind, text = "STRING", str(value)
    return {"parameterType": {"type": kind}, "parameterValue": {"value": text}}


def _value_of(field: _Field, value: Any) -> Any:
    """Return a cell as a value of Python; all but records and lists are text there."""
    if value is None:
        return None
    if field.mode == "REPEATED":
        one = msgspec.structs.replace(field, mode="NULLABLE")
        return [_value_of(one, item["v"]) for item in value]
    if field.type in ("RECORD", "STRUCT"):
        cells = zip(field.fields, value["f"], strict=True)
        return {inner.name: _value_of(inner, cell["v"]) for inner, cell in cells}
    if not isinstance(value, str):
        raise TypeError(field.type)
    return _READERS.get(field.type, str)(value)


def _time_of(microseconds: str) -> datetime | Unreadable:
    try:
        return EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError:
        return Unreadable(microseconds)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "INTEGER": int,
    "FLOAT": float,
    "NUMERIC": partial(read_decimal, max_digits=_MAX_DIGITS),
    "BIGNUMERIC": partial(read_decimal, max_digits=_MAX_DIGITS),
    "BOOLEAN": {"true": True, "false": False}.__getitem__,
    "BYTES": lambda text: base64.b64decode(text, validate=True),
    "TIMESTAMP": _time_of,
    "DATETIME": datetime.fromisoformat,
    "DATE": date.fromisoformat,
}
"""By the names of types that answers have; values of other types stay text."""


def _reason_of(error: RequestFailed) -> str:
    try:
        return msgspec.json.decode(error.body, type=_Refusal).error.message
    except UNREADABLE:
        return ""
