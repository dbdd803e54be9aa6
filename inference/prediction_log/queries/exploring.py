"""Pages through predictions, newest first, with bounded work a page.

Chunks are read from the newest on, and only until the page is full: a row may be shown once no unread chunk can hold
a newer one. Where little matches, a page ends after `MAX_ROWS` rows that were looked at, tells how far back that was,
and its cursor goes on from there. Only chunks that overlap in time must be read together, so a day whose rows arrived
in no order costs that day; its rows are never all in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from django.core import signing
from django.db.models import Q, QuerySet
from numpy.typing import NDArray

from driftline.base.http.request_values import refuse_parameter
from driftline.base.periods import from_us, to_us
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.labels.selectors import (
    Holding,
    folded_holdings,
    labels_given_under,
    labels_in_chunks,
)
from inference.prediction_log.models import PackedDay, PredictionChunk, size_of
from inference.prediction_log.queries.filters import Filter
from inference.prediction_log.queries.frames import ChunkRows, frame_from
from inference.prediction_log.queries.newest_rows import reading_cost
from inference.prediction_log.queries.selectors import describe_row
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.rows.sent_items import NUMERIC_TASKS
from inference.prediction_log.schemas import ListedPrediction, UnreadableRows
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.damaged_chunks import describe_damaged
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.packing import unpack
from inference.prediction_log.storage.snapshot import one_snapshot
from inference.registry.models import Model

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
MAX_ROWS = 100_000
_GROUP_ROWS = 10_000  # read at once: one packed chunk, or as many fresh ones
_SALT = "driftline.cursor.predictions"
_FAR = 2**62


class RowPosition(NamedTuple):
    """Where a row stands: event time (us), id, version. Pages go from the greatest down."""

    time_us: int
    prediction_id: str
    version_id: int


class _Place(NamedTuple):
    """A row that matches, and the chunk that holds it."""

    position: RowPosition
    chunk: "_Chunk"
    row: int


class _Chunk(NamedTuple):
    """A chunk without its rows."""

    pk: int
    day: date
    end: datetime
    rows: int
    version_id: int
    role: str
    size: int  # bytes, packed

    @property
    def cost(self) -> int:
        """Return how many rows of usual size it costs to look at it."""
        return reading_cost(self.rows, self.size)


@dataclass(frozen=True)
class Explored:
    """One page; `looked_until` is set where work ended it before it was full, and says how far back it looked."""

    items: list[ListedPrediction]
    next: str | None
    looked_until: datetime | None = None
    unreadable: list[UnreadableRows] = field(default_factory=list)  # damaged chunks that were met, described


def explore(*, wanted: Filter, cursor: str = "", limit: int = PAGE_SIZE) -> Explored:
    """Return the newest `limit` predictions that match, beyond `cursor`, each with its label.

    Rows of a damaged chunk are left out, and `unreadable` says how many, and of what time. A page may hold fewer, even
    none, although more follow: then `next` is set. Raises Problem for a cursor that was not given here.
    """
    if limit < 1:
        raise refuse_parameter("limit", f"limit is {limit}; use a whole number from 1 to {MAX_PAGE_SIZE:,}.")
    limit = min(limit, MAX_PAGE_SIZE)
    below = _read_cursor(cursor) if cursor else RowPosition(_FAR, "", 0)
    with one_snapshot():
        damaged: dict[int, str] = {}
        found, unread_us = _find(wanted, below, limit, damaged)
        shown = found[:limit]
        items = _describe(wanted.model, shown, damaged)
        unreadable = _describe_damaged(wanted.model, damaged)
    if len(found) > limit:
        return Explored(items, _write_cursor(shown[-1].position), unreadable=unreadable)
    if unread_us is None:
        return Explored(items, None, unreadable=unreadable)
    return Explored(items, _write_cursor(_end_of_work(unread_us)), from_us(unread_us), unreadable)


def _describe_damaged(model: Model, damaged: Mapping[int, str]) -> list[UnreadableRows]:
    if not damaged:
        return []
    versions = dict(model.versions.values_list("pk", "version"))
    chunks = PredictionChunk.objects.filter(model=model).order_by("-end", "-pk")
    return [chunk.describe(versions) for chunk in describe_damaged(chunks, damaged)]


def _find(
    wanted: Filter, below: RowPosition, limit: int, damaged: dict[int, str]
) -> tuple[list[_Place], int | None]:
    """Find up to `limit` + 1 matches, and the newest time (us) that was not looked at; None where all was.

    Chunks that cannot be read are added to `damaged`, with the reason.
    """
    found: list[_Place] = []
    looked = 0
    for group in _groups(wanted, below):
        newest_us = to_us(group[0].end)
        is_full = len(found) > limit and found[limit].position.time_us > newest_us
        is_enough = looked >= MAX_ROWS and _end_of_work(newest_us) < below  # or no page would come further
        if is_full or is_enough:
            return [place for place in found if place.position.time_us > newest_us], newest_us
        looked += sum(chunk.cost for chunk in group)
        found = sorted([*found, *_matches(group, wanted, below, limit, damaged)], reverse=True)[: limit + 1]
    return found, None


def _end_of_work(unread_us: int) -> RowPosition:
    """Return the place above every row that was not looked at."""
    return RowPosition(unread_us + 1, "", 0)


# -- which chunks ------------------------------------------------------------------------------------------------------
def _groups(wanted: Filter, below: RowPosition) -> Iterator[list[_Chunk]]:
    """Yield the chunks that may hold matches, the newest end first, some at a time; each day is asked for when due."""
    newest = from_us(below.time_us) if below.time_us < _FAR else None
    for day in _days(wanted, newest):
        chunks = _narrowed(PredictionChunk.objects.filter(day=day), wanted, newest).order_by("-end", "-pk")
        fields = ("pk", "day", "end", "rows", "version_id", "role", size_of("payload"))
        group: list[_Chunk] = []
        for chunk in map(_Chunk._make, chunks.values_list(*fields)):
            group.append(chunk)
            if sum(one.cost for one in group) >= _GROUP_ROWS:
                yield group
                group = []
        if group:
            yield group


def _days(wanted: Filter, newest: datetime | None) -> list[date]:
    """List the event days of rows that may match, the newest first, without opening a day's partition."""
    packed = _narrowed(PackedDay.objects.all(), wanted, newest)
    fresh = _narrowed(PredictionChunk.objects.filter(is_packed=False), wanted, newest)
    days = {day for rows in (packed, fresh) for day in rows.values_list("day", flat=True).distinct()}
    return sorted(days, reverse=True)


def _narrowed(rows: QuerySet[Any], wanted: Filter, newest: datetime | None) -> QuerySet[Any]:
    narrowed = Q(model=wanted.model, role__in=wanted.roles)
    if wanted.version is not None:
        narrowed &= Q(version=wanted.version)
    if wanted.start is not None:
        narrowed &= Q(end__gte=wanted.start)
    if wanted.end is not None:
        narrowed &= Q(start__lt=wanted.end)
    if newest is not None:
        narrowed &= Q(start__lte=newest)
    return rows.filter(narrowed)


def _read(
    day: date, chunks: Sequence[_Chunk]
) -> dict[int, tuple[bytes | memoryview, bytes | memoryview | None]]:
    """Read the rows and the folded labels of chunks."""
    found = PredictionChunk.objects.filter(day=day, pk__in=[chunk.pk for chunk in chunks])
    return {pk: (payload, labels) for pk, payload, labels in found.values_list("pk", "payload", "labels")}


# -- which rows --------------------------------------------------------------------------------------------------------
def _matches(
    group: Sequence[_Chunk], wanted: Filter, below: RowPosition, limit: int, damaged: dict[int, str]
) -> list[_Place]:
    stored = _read(group[0].day, group)
    found: list[_Place] = []
    for chunk in group:
        try:
            found += _matches_in(chunk, *stored[chunk.pk], wanted, below, limit)
        except ChunkDamaged as error:
            damaged[chunk.pk] = error.reason
    return found


def _matches_in(
    chunk: _Chunk,
    payload: bytes | memoryview,
    folded: bytes | memoryview | None,
    wanted: Filter,
    below: RowPosition,
    limit: int,
) -> list[_Place]:
    """Return the newest matches of a chunk, more than `limit` of them where there are."""
    batch = read_rows(payload, _columns(wanted))
    times = batch.column("time").cast(pa.int64()).to_numpy()
    fits = _is_below(batch, times, chunk, below)
    if wanted.start is not None:
        fits &= times >= to_us(wanted.start)
    if wanted.end is not None:
        fits &= times < to_us(wanted.end)
    if wanted.segment is not None:
        fits &= _is_in_segment(batch, *wanted.segment)
    if wanted.needs_score:
        fits &= _has_score(batch, wanted)
    places = np.flatnonzero(fits)
    if wanted.needs_labels:
        labels = _labels(wanted.model, chunk, batch, folded, places)
        places = places[_has_label(batch.take(pa.array(places)), labels, wanted)]
    if len(places) > limit:
        oldest = np.partition(times[places], -limit - 1)[-limit - 1]
        places = places[times[places] >= oldest]
    ids = batch.column("id").take(pa.array(places)).to_pylist()
    return [
        _Place(RowPosition(int(times[row]), id_, chunk.version_id), chunk, int(row))
        for row, id_ in zip(places, ids, strict=True)
    ]


def _is_below(
    batch: pa.RecordBatch, times: NDArray[np.int64], chunk: _Chunk, below: RowPosition
) -> NDArray[np.bool_]:
    fits = times <= below.time_us
    for row in np.flatnonzero(times == below.time_us):
        fits[row] = RowPosition(below.time_us, batch.column("id")[row].as_py(), chunk.version_id) < below
    return fits


def _columns(wanted: Filter) -> set[str]:
    """Name the columns that tell whether a row matches; only those are unpacked."""
    columns = {"id", "time"}
    if wanted.segment is not None:
        columns |= {f"f:{wanted.segment[0]}", f"n:{wanted.segment[0]}"}
    if wanted.needs_score:
        columns |= {"probability", "prediction"}
    if wanted.needs_labels:
        columns |= {"client_id", "prediction"}
    return columns


def _is_in_segment(batch: pa.RecordBatch, feature: str, value: str) -> NDArray[np.bool_]:
    """Compare a feature with a text: as text, or as the number that it names; an empty one means missing."""
    name = f"f:{feature}"
    if name not in batch.schema.names:
        return np.full(batch.num_rows, not value)
    if pa.types.is_null(batch.schema.field(name).type):  # nobody knows what was dropped
        return np.zeros(batch.num_rows, np.bool_)
    values = unpack(batch, name).to_numpy(zero_copy_only=False)
    number = _number(value)
    if values.dtype == object:
        if number is not None and f"n:{feature}" in batch.schema.names:  # some of the texts are of numbers
            return np.array([text == value or _number(text or "") == number for text in values], np.bool_)
        return values == (value or None)
    if not value:
        return np.isnan(values)
    if number is None:
        return np.zeros(batch.num_rows, np.bool_)
    with np.errstate(over="ignore"):  # beyond float32 it equals none
        return values == values.dtype.type(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _has_score(batch: pa.RecordBatch, wanted: Filter) -> NDArray[np.bool_]:
    scores = _scores(batch, wanted.model)
    with np.errstate(invalid="ignore", over="ignore"):  # who has no score is in no range
        fits = ~np.isnan(scores)
        if wanted.score_min is not None:
            fits &= scores >= scores.dtype.type(wanted.score_min)
        if wanted.score_max is not None:
            fits &= scores <= scores.dtype.type(wanted.score_max)
    return fits


def _scores(batch: pa.RecordBatch, model: Model) -> NDArray[np.floating[Any]]:
    """Return probabilities as float32, in which they are kept, so that 0.4 is within 0.4; numbers as float64."""
    is_number = model.task in NUMERIC_TASKS
    name, dtype = ("prediction", np.float64) if is_number else ("probability", np.float32)
    if name not in batch.schema.names:
        return np.full(batch.num_rows, np.nan)
    column = unpack(batch, name)
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy(zero_copy_only=False).astype(dtype)
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(dtype)
    return flat.reshape(batch.num_rows, -1).max(axis=1)


def _has_label(batch: pa.RecordBatch, labels: Mapping[str, Holding], wanted: Filter) -> NDArray[np.bool_]:
    """Return which rows have a label, or one that agrees with the answer, as is wanted."""
    current = [labels.get(id_) for id_ in batch.column("id").to_pylist()]
    fits = np.ones(batch.num_rows, np.bool_)
    if wanted.is_labelled is not None:
        fits &= np.array([label is not None for label in current], np.bool_) == wanted.is_labelled
    if wanted.is_correct is not None:
        answers = batch.column("prediction").to_pylist()
        fits &= np.array(
            [
                label is not None and (label.value == answer) is wanted.is_correct
                for label, answer in zip(current, answers, strict=True)
            ],
            np.bool_,
        )
    return fits


def _labels(
    model: Model,
    chunk: _Chunk,
    batch: pa.RecordBatch,
    folded: bytes | memoryview | None,
    places: NDArray[np.int64],
) -> dict[str, Holding]:
    """Find the labels that hold for some of a chunk's rows, which are all in `batch`, by prediction."""
    rows = batch.take(pa.array(places))
    ids = [*rows.column("id").to_pylist(), *rows.column("client_id").drop_null().to_pylist()]
    if chunk.role != "shadow":
        current = folded_holdings(batch.column("id"), FoldedLabels.read(folded))
    elif rows.num_rows:  # they are folded into the chunk of the answer that was copied
        times = rows.column("time").cast(pa.int64()).to_numpy()
        current = labels_in_chunks(model, from_us(int(times.min())), from_us(int(times.max()) + 1))
    else:
        current = {}
    return current | labels_given_under(model, ids)


# -- what is shown -----------------------------------------------------------------------------------------------------
def _describe(model: Model, places: Sequence[_Place], damaged: dict[int, str]) -> list[ListedPrediction]:
    """Read the rows that are shown whole, one chunk at a time; those of a damaged one are left out."""
    versions = dict(model.versions.values_list("pk", "version"))
    described: dict[RowPosition, ListedPrediction] = {}
    by_chunk = sorted(places, key=lambda place: (place.chunk.day, place.chunk.pk))
    for chunk, held in groupby(by_chunk, key=lambda place: place.chunk):
        inside = list(held)
        payload, folded = _read(chunk.day, [chunk])[chunk.pk]
        rows = np.array([place.row for place in inside])
        try:
            whole = read_rows(payload, without=(THUMBNAIL,))
            labels = _labels(model, chunk, whole, folded, rows)
        except ChunkDamaged as error:
            damaged[chunk.pk] = error.reason
            continue
        batch = whole.take(pa.array(rows))
        frame = frame_from([ChunkRows(chunk.version_id, batch, None)], labels)
        clients = batch.column("client_id").to_pylist()
        for row, place in enumerate(inside):
            label = labels.get(place.position.prediction_id)
            described[place.position] = {
                "id": place.position.prediction_id,
                "client_id": clients[row],
                "timestamp": from_us(place.position.time_us),
                "version": versions[chunk.version_id],
                "role": chunk.role,
                **describe_row(frame, row),
                "label": label.value if label else None,
                "label_timestamp": from_us(label.known_us) if label else None,
            }
    return [described[place.position] for place in places if place.position in described]


# -- where to go on ----------------------------------------------------------------------------------------------------
def _write_cursor(position: RowPosition) -> str:
    return signing.dumps(list(position), salt=_SALT, compress=True)


def _read_cursor(cursor: str) -> RowPosition:
    try:
        return RowPosition._make(signing.loads(cursor, salt=_SALT))
    except signing.BadSignature as error:
        raise refuse_parameter(
            "cursor", "This cursor was not given by this server; use 'next' as it came."
        ) from error
