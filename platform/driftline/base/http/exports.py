"""Lists as files: CSV that no spreadsheet takes for formulas, and Parquet."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from driftline.base.errors import Problem
from driftline.base.periods import rfc3339

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def preferred(request: HttpRequest) -> str:
    """Return which of JSON, CSV and Parquet the caller likes best; raises Problem 406."""
    kind = request.get_preferred_type([JSON, CSV, PARQUET])
    if kind is None:
        raise Problem(406, "not_acceptable", f"This is given as {JSON}, {CSV} or {PARQUET}.")
    return kind


def export(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, kind: str, name: str
) -> HttpResponse | StreamingHttpResponse:
    """Return `rows` as a file named `name`; numbers stay numbers, times are RFC 3339 in CSV."""
    if kind == CSV:
        response: HttpResponse | StreamingHttpResponse = StreamingHttpResponse(
            _csv(rows, columns), content_type=f"{CSV}; charset=utf-8"
        )
        suffix = "csv"
    else:
        response = HttpResponse(_parquet(rows, columns), content_type=PARQUET)
        suffix = "parquet"
    response["Content-Disposition"] = f'attachment; filename="{name}.{suffix}"'
    return response


def write_csv(sink: "SupportsWrite[str]", rows: Iterable[Iterable[Any]], *, line_end: str = "\r\n") -> None:
    """Write rows as CSV; the only place that does, so that no cell of any file is a formula."""
    csv.writer(sink, lineterminator=line_end).writerows([csv_cell(value) for value in row] for row in rows)


def csv_cell(value: Any) -> str:
    """Write one cell; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not _is_number(value):
        return f"'{value}"
    return str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[0] in "+-"


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    yield _line(columns)
    for row in rows:
        yield _line([row[column] for column in columns])


def _line(cells: Sequence[Any]) -> str:
    sink = io.StringIO()
    write_csv(sink, [cells])
    return sink.getvalue()


def _parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    table = pa.table({column: pa.array([row[column] for row in rows]) for column in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
