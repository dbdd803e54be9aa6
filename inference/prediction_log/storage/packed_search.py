"""Finds predictions whose narrow rows are gone, through the id hashes that their chunks carry."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import batched
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftline.base.periods import start_of_day
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.models import PackedDay, PredictionChunk, PredictionRow
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.folded_labels import FoldedLabel, FoldedLabels
from inference.prediction_log.storage.id_hashes import hash_ids, may_hold
from inference.registry.models import Model

MAX_ROWS = 50_000_000  # searched for one request: 400 MB of hashes, about a second
_DAYS_AT_ONCE = 16


type PackedPlace = tuple[int, int]  # a chunk and a row of it


@dataclass(frozen=True)
class PackedRow:
    """A row without a narrow row, as the one it had, and its place in the chunk that holds it.

    The place is right while the chunk is there with as many rows: an erasure moves those up that come after.
    """

    row: PredictionRow
    chunk: int
    chunk_rows: int
    day: date
    place: int


def is_packed_before(model: Model, week: date) -> bool:
    """Return whether a model has rows that arrived before `week`."""
    return PackedDay.objects.filter(model=model, week__lt=week).exists()


def find_packed(model: Model, ids: Sequence[str], week: date) -> list[PackedRow]:
    """Return rows that arrived before `week` and whose id or client id is among `ids`.

    The newest days first, and at most `MAX_ROWS` rows of them. An id that was made since cannot be there.
    """
    wanted = sorted({id_ for id_ in ids if _may_have_come_before(id_, week)})
    if not wanted:
        return []
    hashes = hash_ids(wanted)
    return [
        row
        for chunk in _chunks_before(model, week)
        if may_hold(chunk.id_hashes, hashes)
        for row in _rows_of(chunk, wanted)
    ]


def _may_have_come_before(id_: str, week: date) -> bool:
    """Decide by the time in a UUIDv7, which is made before the prediction arrives; any other id may have come ever."""
    try:
        made = UUID(id_[:36])
    except ValueError:
        return True
    if made.version != 7:
        return True
    seconds = (made.int >> 80) / 1e3
    return seconds < start_of_day(week).timestamp()


def _chunks_before(model: Model, week: date) -> Iterator[PredictionChunk]:
    """Yield the chunks whose rows arrived before `week`, without their payload."""
    days = PackedDay.objects.filter(model=model, week__lt=week).order_by("-day")
    rows = 0
    for some in batched(days.values_list("day", flat=True).distinct(), _DAYS_AT_ONCE):
        chunks = PredictionChunk.objects.filter(
            is_packed=True, model=model, day__in=some, week__lt=week
        ).order_by("-day")
        for chunk in chunks.defer("payload", "labels").iterator(chunk_size=100):
            yield chunk
            rows += chunk.rows
        if rows >= MAX_ROWS:
            return


def _rows_of(chunk: PredictionChunk, wanted: Sequence[str]) -> Iterator[PackedRow]:
    """Open a chunk and give the rows that really have one of the ids: two ids may share a hash."""
    same_day = PredictionChunk.objects.filter(is_packed=True, day=chunk.day)
    payload = same_day.filter(pk=chunk.pk).values_list("payload", flat=True).first()
    if payload is None:
        return  # its retention ended meanwhile
    try:
        batch = read_rows(payload)
    except ChunkDamaged:
        return  # nobody knows which of its rows has the id
    ids = pa.array(wanted, pa.string())
    hits = pc.or_(
        pc.is_in(batch.column("id"), value_set=ids), pc.is_in(batch.column("client_id"), value_set=ids)
    )
    for place in np.flatnonzero(hits.to_numpy(zero_copy_only=False)):
        row = PredictionRow(
            model_id=chunk.model_id,
            version_id=chunk.version_id,
            slot=chunk.version_id if chunk.role == "shadow" else 0,
            role=chunk.role,
            week=chunk.week,
            prediction_id=batch.column("id")[place].as_py(),
            client_id=batch.column("client_id")[place].as_py() or "",
            event_time=batch.column("time")[place].as_py(),
        )
        yield PackedRow(row, chunk.pk, batch.num_rows, chunk.day, int(place))


def are_in_place(rows: Sequence[PackedRow]) -> bool:
    """Return whether all of these rows still lie where they were found."""
    found = {row.chunk: row.chunk_rows for row in rows}
    if not found:
        return True
    chunks = PredictionChunk.objects.filter(is_packed=True, day__in={row.day for row in rows}, pk__in=found)
    return dict(chunks.values_list("pk", "rows")) == found


def labels_at(rows: Iterable[PackedRow]) -> dict[PackedPlace, list[FoldedLabel]]:
    """Return the labels that lie folded beside these rows, by chunk and place."""
    places: dict[int, set[int]] = {}
    days: set[date] = set()
    for row in rows:
        places.setdefault(row.chunk, set()).add(row.place)
        days.add(row.day)
    chunks = PredictionChunk.objects.filter(is_packed=True, day__in=days, pk__in=places, labels__isnull=False)
    found: dict[PackedPlace, list[FoldedLabel]] = {}
    for pk, stored in chunks.values_list("pk", "labels"):
        try:
            labels = FoldedLabels.read(stored)
        except ChunkDamaged:
            continue
        found |= {(pk, place): labels.at(place) for place in places[pk]}
    return found
