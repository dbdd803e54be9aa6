"""Reads and writes the rows of labels, many in one statement; the caller holds the lock of the model's labels."""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import NamedTuple

from django.db import connection

from driftline.base.periods import to_us
from inference.prediction_log.storage import binary_copy
from inference.prediction_log.storage.array_literals import integer_array, text_array

_COLUMNS = (
    "prediction_time",
    "received_at",
    "labelled_at",
    "model_id",
    "revision",
    "is_current",
    "given_id",
    "value",
    "source",
    "prediction_id",
)
_START = binary_copy.start_of_row(len(_COLUMNS))
_FIXED = struct.Struct(">iii?i")  # a revision, whether it is current, and the length of the id
PREDICTION = "coalesce(nullif(prediction_id, ''), given_id)"
"""SQL for the id of the prediction that a label has joined."""


AT_EVENT = datetime(1970, 1, 1, tzinfo=UTC)
"""The `labelled_at` of a waiting label that counts as known at the event: it gets its prediction's time with it."""


class CurrentLabel(NamedTuple):
    """The label that holds under one id."""

    value: str
    revision: int
    prediction_id: str  # empty while it waits
    prediction_time: datetime | None


class NewLabel(NamedTuple):
    """A revision to be written; `prediction_id` is empty where `given_id` is the prediction's, or none has come."""

    given_id: str
    revision: int
    is_current: bool
    value: str
    labelled_at: datetime | None
    prediction_id: str
    prediction_time: datetime | None


def current_labels(model_id: int, ids: Iterable[str]) -> dict[str, CurrentLabel]:
    """Read the label that holds under each of these ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT given_id, value, revision, "
            f"CASE WHEN prediction_time IS NULL THEN '' ELSE {PREDICTION} END, prediction_time "
            "FROM inference_label WHERE model_id = %s AND given_id = ANY(%s::text[]) AND is_current",
            [model_id, text_array(ids)],
        )
        return {given_id: CurrentLabel(*values) for given_id, *values in cursor.fetchall()}


def add_labels(model_id: int, labels: Sequence[NewLabel], *, source: str, now: datetime) -> None:
    """Add these revisions in the order of their ids."""
    same = binary_copy.moment(to_us(now))
    model, told_by = binary_copy.integer(model_id), _text(source)
    written: dict[str, bytes] = {}  # values and empty ids come again and again
    rows = []
    for label in sorted(labels, key=itemgetter(0, 1)):
        given_id = label.given_id.encode()
        for text in (label.value, label.prediction_id):
            if text not in written:
                written[text] = _text(text)
        rows.append(
            b"".join(
                [
                    _START,
                    _moment(label.prediction_time),
                    same,
                    _moment(label.labelled_at),
                    model,
                    _FIXED.pack(4, label.revision, 1, label.is_current, len(given_id)),
                    given_id,
                    written[label.value],
                    told_by,
                    written[label.prediction_id],
                ]
            )
        )
    with connection.cursor() as cursor:
        binary_copy.copy_rows(cursor.cursor, "inference_label", _COLUMNS, rows)


def supersede(model_id: int, ids: Iterable[str]) -> None:
    """Mark all stored revisions under these ids as no longer current."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE inference_label SET is_current = false "
            "WHERE model_id = %s AND given_id = ANY(%s::text[]) AND is_current",
            [model_id, text_array(sorted(ids))],
        )


def does_any_wait(model_id: int) -> bool:
    """Return whether any label of a model waits for its prediction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM inference_label WHERE model_id = %s AND prediction_time IS NULL)",
            [model_id],
        )
        return bool(cursor.fetchone()[0])


def join_waiting(model_id: int, times_us: dict[str, int], clients: dict[str, str]) -> set[str]:
    """Attach the labels that wait for predictions with these ids, or with the client ids that name them.

    Returns the ids of the predictions that got one.

    Writers of predictions may do so at the same time: the labels are locked in one order, and one waits no more when
    another's prediction has it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT given_id, revision FROM inference_label "
            "WHERE model_id = %s AND prediction_time IS NULL AND given_id = ANY(%s::text[]) "
            "ORDER BY given_id, revision FOR UPDATE",
            [model_id, text_array([*times_us, *clients])],
        )
        waiting = cursor.fetchall()
        if not waiting:
            return set()
        ids = [given_id if given_id in times_us else clients[given_id] for given_id, _ in waiting]
        cursor.execute(
            "UPDATE inference_label AS label SET prediction_id = joined.prediction_id, "
            "prediction_time = 'epoch'::timestamptz + us * interval '1 microsecond', "
            "labelled_at = CASE WHEN labelled_at = 'epoch' "
            "THEN 'epoch'::timestamptz + us * interval '1 microsecond' ELSE labelled_at END "
            "FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[]) "
            "AS joined (given_id, revision, prediction_id, us) WHERE label.model_id = %s "
            "AND label.given_id = joined.given_id AND label.revision = joined.revision",
            [
                text_array(given_id for given_id, _ in waiting),
                integer_array(revision for _, revision in waiting),
                text_array(
                    "" if id_ == given_id else id_ for id_, (given_id, _) in zip(ids, waiting, strict=True)
                ),
                integer_array(times_us[id_] for id_ in ids),
                model_id,
            ],
        )
    return set(ids)


def _moment(moment: datetime | None) -> bytes:
    return binary_copy.NULL if moment is None else binary_copy.moment(to_us(moment))


def _text(text: str) -> bytes:
    return binary_copy.content(text.encode())
