"""Reads of labels, wherever they lie: in rows of their own, or folded into the chunk of their prediction.

Who reads both kinds reads the rows first: a label that is folded in between is then seen twice and not missed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from django.db import connection
from django.db.models import Q

from driftline.base.periods import day_of, to_us
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.labels.rows import PREDICTION
from inference.prediction_log.models import Label, PredictionChunk
from inference.prediction_log.schemas import LabelRevision
from inference.prediction_log.storage.array_literals import text_array
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.folded_labels import FoldedLabel, FoldedLabels
from inference.prediction_log.storage.packed_search import PackedRow, labels_at
from inference.registry.models import Model

_ID_ONLY = ("id", "time", "client_id")


class Holding(NamedTuple):
    """The label that holds for a prediction; times in microseconds, `labelled_us` is 0 where nobody said."""

    received_us: int
    revision: int
    value: str
    labelled_us: int

    @property
    def known_us(self) -> int:
        return self.labelled_us or self.received_us


def holding_of(label: FoldedLabel) -> Holding:
    """Return a folded label in the form of a current one."""
    labelled_us = 0 if label.labelled_at is None else to_us(label.labelled_at)
    return Holding(to_us(label.received_at), label.revision, label.value, labelled_us)


def labels_in_rows(model: Model, start: datetime, end: datetime) -> dict[str, Holding]:
    """Return the labels of predictions in `[start, end)` that are not folded, by prediction; the newest one holds."""
    return _rows(f"{_ROWS} AND prediction_time >= %s AND prediction_time < %s", [model.pk, start, end])


def labels_given_under(model: Model, ids: Iterable[str]) -> dict[str, Holding]:
    """Return the labels that are not folded and were sent under these ids, by prediction; the newest one holds."""
    return _rows(
        f"{_ROWS} AND prediction_time IS NOT NULL AND given_id = ANY(%s::text[])", [model.pk, text_array(ids)]
    )


def current_labels(model: Model, roles: Sequence[str], start: datetime, end: datetime) -> dict[str, Holding]:
    """Return the current labels of predictions in `[start, end)`, by prediction id, for rows of these roles.

    A folded label is left out if its own chunk holds the rows; for a shadow's copies it is included.
    """
    in_rows = labels_in_rows(model, start, end)  # first: a label that is folded meanwhile is then read twice
    return labels_in_chunks(model, start, end) | in_rows if "shadow" in roles else in_rows


def labels_at_times(model_id: int, times: Iterable[datetime]) -> dict[str, Holding]:
    """Return the current labels of predictions at these times that are not folded, by prediction id."""
    return _rows(f"{_ROWS} AND prediction_time = ANY(%s::timestamptz[])", [model_id, sorted(set(times))])


def _rows(statement: str, parameters: list[Any]) -> dict[str, Holding]:
    found: dict[str, Holding] = {}
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        for id_, *values in cursor.fetchall():
            holding = Holding(*values)
            if id_ not in found or found[id_] < holding:
                found[id_] = holding
    return found


_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_ROWS = f"""
SELECT {PREDICTION}, {_US.format("received_at")}, revision, value, coalesce({_US.format("labelled_at")}, 0)
FROM inference_label WHERE model_id = %s AND is_current
"""


def labels_in_chunks(model: Model, start: datetime, end: datetime) -> dict[str, Holding]:
    """Return the folded labels of predictions in `[start, end)`, by prediction, for whoever holds copies of them.

    Those of a damaged chunk are left out.
    """
    chunks = (
        PredictionChunk.objects.filter(
            model=model,
            is_packed=True,
            day__gte=day_of(start),
            day__lte=day_of(end),
            start__lt=end,
            end__gte=start,
        )
        .exclude(role="shadow")
        .exclude(labels=None)
    )
    found: dict[str, Holding] = {}
    for payload, stored in chunks.values_list("payload", "labels"):
        with suppress(ChunkDamaged):
            found |= folded_holdings(ids_of(payload).column("id"), FoldedLabels.read(stored))
    return found


def folded_holdings(ids: pa.StringArray, labels: FoldedLabels) -> dict[str, Holding]:
    """Return the labels that hold of a chunk with these ids, by prediction."""
    labelled = ids.take(pa.array(labels.places)).to_pylist()
    revisions = zip(labelled, labels.is_current.tolist(), *_columns(labels), strict=True)
    return {id_: Holding(*values) for id_, is_current, *values in revisions if is_current}


def _columns(labels: FoldedLabels) -> Sequence[Sequence[Any]]:
    revisions = labels.table.column("revision").to_pylist()
    return labels.received_us.tolist(), revisions, labels.values.tolist(), labels.labelled_us.tolist()


def ids_of(payload: bytes | memoryview) -> pa.RecordBatch:
    """Read only the ids, client ids and times of a chunk."""
    return read_rows(payload, _ID_ONLY)


def label_history(
    model: Model, prediction_id: str, client_ids: set[str], packed: Sequence[PackedRow]
) -> list[LabelRevision]:
    """Return every revision of a prediction's label, in the order of arrival."""
    mine = Q(given_id=prediction_id, prediction_id="") | Q(
        given_id__in=client_ids, prediction_id=prediction_id
    )
    rows = Label.objects.filter(mine, model=model, prediction_time__isnull=False)
    revisions = {
        (label.given_id, label.revision): _describe(label, is_current=label.is_current) for label in rows
    }
    live = {given_id for given_id, _ in revisions}
    for labels in labels_at(packed).values():
        for label in labels:
            key = (label.client_id or prediction_id, label.revision)
            is_current = label.is_current and key[0] not in live
            revisions.setdefault(key, _describe(label, is_current=is_current))
    return sorted(revisions.values(), key=lambda one: (one["received_at"], one["revision"]))


def _describe(label: Label | FoldedLabel, *, is_current: bool) -> LabelRevision:
    return {
        "value": label.value,
        "revision": label.revision,
        "labelled_at": label.labelled_at,
        "received_at": label.received_at,
        "is_current": is_current,
    }


def count_by_day(
    model: Model, column: Literal["value", "source"], *, until: datetime
) -> dict[date, dict[str, int]]:
    """Count the labels that hold by the day of their prediction, before `until`, and by `value` or `source`.

    One statement reads both kinds, so none is counted twice.
    """
    days: dict[date, Counter[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNTS.format(column=column), {"model": model.pk, "until": until, "last": day_of(until)}
        )
        for day, name, count, stored, payload in cursor:
            counts = days.setdefault(day, Counter())
            if stored is None:
                counts[name] += count
                continue
            try:
                labels = FoldedLabels.read(stored)
                rows = None if payload is None else ids_of(payload)
            except ChunkDamaged:
                continue
            counted = labels.is_current
            if rows is not None:
                times = rows.column("time").cast(pa.int64()).to_numpy()
                counted = counted & (times[labels.places] < to_us(until))
            counts.update((labels.values if column == "value" else labels.sources)[counted].tolist())
    return {day: dict(counts) for day, counts in days.items() if counts}


_COUNTS = """
SELECT (prediction_time AT TIME ZONE 'UTC')::date, {column}, count(*), NULL::bytea, NULL::bytea FROM inference_label
WHERE model_id = %(model)s AND is_current AND prediction_time < %(until)s GROUP BY 1, 2
UNION ALL
SELECT day, NULL, 0, labels, CASE WHEN "end" >= %(until)s THEN payload END FROM inference_predictionchunk
WHERE is_packed AND model_id = %(model)s AND role <> 'shadow' AND day <= %(last)s AND labels IS NOT NULL
"""


def first_label(model: Model) -> str | None:
    """Return the id of some label that has come; empty where none lies in a row of its own any more."""
    given = Label.objects.filter(model=model).order_by("given_id").values_list("given_id", flat=True).first()
    if given is not None:
        return given
    return (
        ""
        if PredictionChunk.objects.filter(model=model, is_packed=True, labels__isnull=False).exists()
        else None
    )
