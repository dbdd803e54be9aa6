"""The narrow rows: they refuse a prediction that is in the log already."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from django.db import IntegrityError, connection
from numpy.typing import NDArray
from psycopg2.errors import UniqueViolation

from inference.prediction_log.rows.columns import LogColumns
from inference.prediction_log.storage import binary_copy
from inference.prediction_log.storage.array_literals import integer_array, text_array

_TABLE = "inference_predictionrow"
_COLUMNS = (
    "model_id",
    "version_id",
    "slot",
    "week",
    "role",
    "event_time",
    "body_hash",
    "prediction_id",
    "client_id",
)
_NO_CLIENT = binary_copy.content(b"")
_NUMBERS = np.dtype([("time_length", ">i4"), ("time", ">i8"), ("hash_length", ">i4"), ("hash", ">i8")])


class HasRow(Exception):
    """Raised where a prediction has a row already."""


def add_all(columns: LogColumns, week: date) -> None:
    """Add a row for each prediction; raises HasRow where any of them has one."""
    same = b"".join(
        [
            binary_copy.start_of_row(len(_COLUMNS)),
            *map(binary_copy.integer, (columns.model_id, columns.version_id, slot_of(columns))),
            binary_copy.day(week),
            binary_copy.content(columns.role.encode()),
        ]
    )
    ids = _equally_long(columns)
    if ids is not None:
        order = np.argsort(ids, kind="stable").tolist()  # two writers cannot deadlock
        _copy([_records(columns, same, ids)[order].tobytes()])
    else:
        encoded = [text.encode() for text in columns.ids]
        order = sorted(range(len(encoded)), key=encoded.__getitem__)
        _copy(_rows(columns, same, encoded, order))
    if _came_earlier(columns, week, columns.ids[order[0]], columns.ids[order[-1]]):
        raise HasRow


def _equally_long(columns: LogColumns) -> NDArray[np.bytes_] | None:
    """Return the ids as bytes where all have one length and none a client id; a row is one NumPy record then."""
    ids, clients = columns.ids.tolist(), columns.client_ids.tolist()
    lengths, text = set(map(len, ids)), "".join(ids)
    if len(lengths) > 1 or not text.isascii() or clients.count(None) < len(clients):
        return None
    return np.frombuffer(text.encode(), f"S{lengths.pop()}")


def _records(columns: LogColumns, same: bytes, ids: NDArray[np.bytes_]) -> NDArray[np.void]:
    kind = np.dtype(
        [
            ("same", f"V{len(same)}"),
            *_NUMBERS.descr,
            *(("id_length", ">i4"), ("id", ids.dtype), ("client_length", ">i4")),
        ]
    )
    records = np.empty(len(ids), kind)
    records["same"] = np.void(same)
    _put_numbers(records, columns)
    records["id_length"], records["id"], records["client_length"] = ids.itemsize, ids, 0
    return records


def _rows(columns: LogColumns, same: bytes, ids: list[bytes], order: list[int]) -> list[bytes]:
    clients = [
        _NO_CLIENT if text is None else binary_copy.content(text.encode()) for text in columns.client_ids
    ]
    lengths = {size: binary_copy.length(size) for size in set(map(len, ids))}
    numbers = np.empty(len(columns), _NUMBERS)
    _put_numbers(numbers, columns)
    written, width = numbers.tobytes(), _NUMBERS.itemsize
    return [
        same
        + written[place * width : place * width + width]
        + lengths[len(ids[place])]
        + ids[place]
        + clients[place]
        for place in order
    ]


def _put_numbers(records: NDArray[np.void], columns: LogColumns) -> None:
    records["time_length"] = records["hash_length"] = 8
    records["time"], records["hash"] = columns.times_us - binary_copy.EPOCH_US, columns.body_hash


def _copy(rows: Sequence[bytes]) -> None:
    try:
        with connection.cursor() as cursor:
            binary_copy.copy_rows(cursor.cursor, _TABLE, _COLUMNS, rows)
    except IntegrityError as error:
        if isinstance(error.__cause__, UniqueViolation):
            raise HasRow from error
        raise


def _came_earlier(columns: LogColumns, week: date, first: str, last: str) -> bool:
    """Return whether any id has a row of an earlier week; ids that are made in order fall in no older one's range."""
    older: list[Any] = [columns.model_id, week]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM {_TABLE} "
            "WHERE model_id = %s AND week < %s AND prediction_id BETWEEN %s AND %s)",
            [*older, first, last],
        )
        if not cursor.fetchone()[0]:
            return False
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM {_TABLE} "
            "WHERE model_id = %s AND week < %s AND slot = %s AND prediction_id = ANY(%s::text[]))",
            [*older, slot_of(columns), text_array(columns.ids)],
        )
        return bool(cursor.fetchone()[0])


def add_new(columns: LogColumns, candidates: NDArray[np.bool_], week: date) -> NDArray[np.bool_]:
    """Add a row for each candidate that has none yet; marks those."""
    places = np.flatnonzero(candidates)
    order = places[np.argsort(columns.ids[places].astype(str))]
    arguments: list[Any] = [
        columns.model_id,
        columns.version_id,
        slot_of(columns),
        week,
        columns.role,
        *(text_array(texts[order]) for texts in (columns.ids, columns.client_ids)),
        *(integer_array(numbers[order].tolist()) for numbers in (columns.times_us, columns.body_hash)),
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_TABLE} "
            "(model_id, version_id, slot, week, role, prediction_id, client_id, event_time, body_hash) "
            "SELECT %s, %s, %s, %s, %s, id, coalesce(client_id, ''), "
            "'epoch'::timestamptz + us * interval '1 microsecond', body_hash "
            "FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS given (id, client_id, us, body_hash) "
            f"WHERE NOT EXISTS (SELECT FROM {_TABLE} AS older WHERE older.model_id = %s AND older.slot = %s "
            "AND older.week < %s AND older.prediction_id = id) "
            "ON CONFLICT DO NOTHING RETURNING prediction_id",
            [*arguments, columns.model_id, slot_of(columns), week],
        )
        added = {row[0] for row in cursor.fetchall()}
    return candidates & np.fromiter(map(added.__contains__, columns.ids), bool, len(columns))


def known_hashes(columns: LogColumns, where: NDArray[np.bool_]) -> dict[str, int]:
    """Return the body hash under which each of these predictions is in the log."""
    if not where.any():
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT prediction_id, body_hash FROM {_TABLE} "
            "WHERE model_id = %s AND slot = %s AND prediction_id = ANY(%s::text[])",
            [columns.model_id, slot_of(columns), text_array(columns.ids[where])],
        )
        return dict(cursor.fetchall())


def forget(model_id: int, slot: int, week: date, ids: Sequence[str]) -> None:
    """Delete the rows of predictions that arrived in a week: their ids are free again."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {_TABLE} WHERE model_id = %s AND slot = %s AND week = %s AND prediction_id = ANY(%s::text[])",
            [model_id, slot, week, text_array(ids)],
        )


def slot_of(columns: LogColumns) -> int:
    """Return which of a prediction's rows these are: 0 for the one that answered, a shadow's version for its copy."""
    return columns.version_id if columns.role == "shadow" else 0
