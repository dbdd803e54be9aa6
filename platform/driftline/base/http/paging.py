"""Cursor pagination: a list is {"items": [...], "next": cursor or null}, and stays right while rows are added."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django.core import signing
from django.db.models import Model, Q, QuerySet

from driftline.base.errors import FieldFault, Problem
from driftline.base.http.responses import Page
from driftline.base.periods import rfc3339

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
_SALT = "driftline.cursor"


def page[Row: Model, Item](
    rows: QuerySet[Row],
    write: Callable[[Row], Item],
    *,
    by: Sequence[str],
    cursor: str | None,
    limit: int = PAGE_SIZE,
    most: int = MAX_PAGE_SIZE,
) -> Page[Item]:
    """Write one page of `rows`, row by row; see `cut_page`."""
    shown, following = cut_page(rows, by=by, cursor=cursor, limit=limit, most=most)
    return Page(items=[write(row) for row in shown], next=following)


def cut_page[Row: Model](
    rows: QuerySet[Row], *, by: Sequence[str], cursor: str | None, limit: int, most: int = MAX_PAGE_SIZE
) -> tuple[list[Row], str | None]:
    """Read one page of `rows`, ordered `by` fields (`-` for descending) that together are unique, and the next cursor.

    `limit` above `most` is capped; the cursor is signed, so a changed one is refused.
    """
    if limit < 1:
        raise _refuse("limit", f"limit is {limit}; use a whole number from 1 to {most:,}.")
    limit = min(limit, most)
    if cursor:
        rows = rows.filter(_after(by, _read_cursor(cursor, by)))
    fetched = list(rows.order_by(*by)[: limit + 1])
    following = _write_cursor(fetched[limit - 1], by) if len(fetched) > limit else None
    return fetched[:limit], following


def _after(by: Sequence[str], values: Sequence[Any]) -> Q:
    """Narrow to what comes after `values` in the order: greater in the first field, or equal there and so on."""
    condition, equal = Q(), Q()
    for field, value in zip(by, values, strict=True):
        name = field.removeprefix("-")
        condition |= equal & Q(**{f"{name}__{'lt' if field.startswith('-') else 'gt'}": value})
        equal &= Q(**{name: value})
    return condition


def _write_cursor(row: Model, by: Sequence[str]) -> str:
    values = [getattr(row, field.removeprefix("-")) for field in by]
    plain = [rfc3339(value) if isinstance(value, datetime) else value for value in values]
    return signing.dumps([list(by), plain], salt=_SALT, compress=True)


def _read_cursor(cursor: str, by: Sequence[str]) -> list[Any]:
    try:
        order, values = signing.loads(cursor, salt=_SALT)
    except signing.BadSignature as error:
        raise _refuse("cursor", "This cursor was not given by this server; use 'next' as it came.") from error
    if order != list(by):
        raise _refuse("cursor", "This cursor belongs to another list.")
    return list(values)


def _refuse(name: str, detail: str) -> Problem:
    return Problem(400, "invalid_parameter", detail, [FieldFault(f"/{name}", "invalid_parameter", detail)])
