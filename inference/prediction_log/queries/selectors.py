"""Reads of the prediction log, as arrays."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from django.db.models import Max, Min, OuterRef, QuerySet, Subquery

from driftline.base.periods import day_of, to_us
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.labels.changes import summarised_labels
from inference.prediction_log.labels.selectors import current_labels, label_history
from inference.prediction_log.models import PackedDay, PredictionChunk, PredictionRow, SummedDay
from inference.prediction_log.queries.frames import ChunkRows, Labels, LogFrame, PairedFrame, frame_from
from inference.prediction_log.queries.thumbnails import thumbnails_of
from inference.prediction_log.schemas import LoggedPrediction, LoggedRow, RowValues
from inference.prediction_log.storage import binary_copy
from inference.prediction_log.storage.damaged_chunks import describe_damaged
from inference.prediction_log.storage.packed_search import PackedRow, find_packed
from inference.prediction_log.storage.partitions import oldest_week
from inference.registry.models import Model, Version

type Arrival = tuple[datetime | None, datetime | None]
"""An event time and when the rows that hold it were stored; None where nothing was logged."""


def newest_event(model: Model) -> datetime | None:
    """Return the newest event time that was logged."""
    return newest_arrival(model)[0]


def newest_arrival(model: Model) -> Arrival:
    """Return the newest event time that was logged and when the rows that hold it were stored."""
    found = [
        chunks.order_by("-end").values_list("end", "end_stored_at").first() for chunks in _everything(model)
    ]
    return _newest(found)


def newest_arrivals(models: QuerySet[Model]) -> dict[int, Arrival]:
    """Return of each of these models at once what `newest_arrival` tells, by its id."""
    logged = (
        PredictionChunk.objects.filter(is_packed=False),
        PackedDay.objects.all(),
        SummedDay.objects.all(),
    )
    newest = {
        f"{field}_{place}": Subquery(rows.filter(model=OuterRef("pk")).order_by("-end").values(field)[:1])
        for place, rows in enumerate(logged)
        for field in ("end", "end_stored_at")
    }
    found = models.annotate(**newest).values_list("pk", *newest)
    return {pk: _newest(zip(arrivals[::2], arrivals[1::2], strict=True)) for pk, *arrivals in found}


def _newest(found: Iterable[Arrival | None]) -> Arrival:
    return max((newest for newest in found if newest and newest[0]), default=(None, None))


def oldest_event(model: Model) -> datetime | None:
    """Return the oldest event time that was logged."""
    return _oldest(*_everything(model))


def oldest_row(model: Model, since: date = date.min) -> datetime | None:
    """Return the event time of the oldest row that is still there, of those from a day on."""
    return _oldest(*(rows.filter(day__gte=since) for rows in _rows(model)))


def first_answered(version: Version, *, role: str) -> datetime | None:
    """Return the event time of the oldest row that a version answered in a role."""
    return _oldest(*(chunks.filter(version=version, role=role) for chunks in _everything(version.model)))


def count_answered(version: Version, *, role: str) -> int:
    """Count the rows that a version answered in a role, those included that were dropped once they were summarised."""
    fresh, *others = (chunks.filter(version=version, role=role) for chunks in _everything(version.model))
    counts = fresh.values_list("rows").union(*(part.values_list("rows") for part in others), all=True)
    return sum(rows for (rows,) in counts)  # one statement, which sees no row on both sides of its packing


def _oldest(*parts: QuerySet[Any]) -> datetime | None:
    found = [part.aggregate(oldest=Min("start"))["oldest"] for part in parts]
    return min((oldest for oldest in found if oldest), default=None)


def compared_versions(model: Model) -> list[int]:
    """List the versions of which the log holds rows as a shadow or a canary; the last that did comes first."""
    last: dict[int, date] = {}
    for chunks in _everything(model):
        compared = chunks.filter(role__in=("shadow", "canary"))
        days = compared.values_list("version_id").annotate(last=Max("day"))
        last |= {version_id: max(day, last.get(version_id, day)) for version_id, day in days}
    return sorted(last, key=lambda version_id: (last[version_id], version_id), reverse=True)


def days_with_rows(model: Model, version: Version | None = None) -> list[date]:
    """List the event days of which the log has rows, of one version or of all."""
    parts = _rows(model) if version is None else [rows.filter(version=version) for rows in _rows(model)]
    return sorted({day for rows in parts for day in rows.values_list("day", flat=True).distinct()})


def days_stored_since(model: Model, moment: datetime) -> list[date]:
    """List the event days of the rows that were stored since `moment`."""
    return sorted(
        {
            day
            for chunks in _everything(model)
            for day in chunks.filter(created_at__gte=moment).values_list("day", flat=True)
        }
    )


def _everything(model: Model) -> tuple[QuerySet[Any], ...]:
    """Return what describes every row that was logged, those included that were dropped once they were summarised."""
    return *_rows(model), SummedDay.objects.filter(model=model)


def _rows(model: Model) -> tuple[QuerySet[Any], ...]:
    """Return the fresh chunks and the packed days: together they cover every row, and no day's partition is opened."""
    return PredictionChunk.objects.filter(model=model, is_packed=False), PackedDay.objects.filter(model=model)


def frame_of(
    *,
    model: Model,
    start: datetime,
    end: datetime,
    role: str | Sequence[str] = "champion",
    version_id: int | None = None,
    as_summarised: bool = False,
    chunks: Collection[int] | None = None,
) -> LogFrame:
    """Read the rows of `[start, end)` that versions made in a role, or in any of several, with their labels.

    Rows of a damaged chunk are left out, and the chunk is named in `unreadable`. With `as_summarised` only the rows and
    labels that the summaries count; with `chunks` only those of these chunks, by their keys.

    Thumbnails, which are most of a row's bytes, are not read: see `thumbnails.py`.
    """
    roles = [role] if isinstance(role, str) else role
    labels: Labels = (summarised_labels if as_summarised else current_labels)(model, roles, start, end)
    stored = PredictionChunk.objects.filter(
        model=model,
        role__in=roles,
        day__gte=day_of(start),
        day__lte=day_of(end),
        start__lt=end,
        end__gte=start,
    ).order_by("pk")
    if version_id is not None:
        stored = stored.filter(version_id=version_id)
    if as_summarised:
        stored = stored.filter(is_summarised=True)
    if chunks is not None:
        stored = stored.filter(pk__in=chunks)
    parts, damaged = read_parts(stored)
    frame = frame_from(parts, labels)
    if damaged:
        frame = replace(frame, unreadable=tuple(describe_damaged(stored, damaged)))
    inside = (frame.times_us >= to_us(start)) & (frame.times_us < to_us(end))
    kept = frame if inside.all() else frame.take(inside)
    is_ordered = (kept.times_us[1:] >= kept.times_us[:-1]).all()  # as packed chunks of live traffic are
    return kept if is_ordered else kept.take(np.argsort(kept.times_us, kind="stable"))


def read_parts(chunks: QuerySet[PredictionChunk]) -> tuple[list["ChunkRows"], dict[int, str]]:
    """Read chunks; return those that can be read, and by key what is wrong with the others."""
    parts, damaged = list[ChunkRows](), dict[int, str]()
    for pk, *row in binary_copy.read_rows(chunks.values_list("pk", "version_id", "payload", "labels")):
        try:
            parts.append(ChunkRows.read(row))
        except ChunkDamaged as error:
            assert pk is not None
            damaged[binary_copy.read_bigint(pk)] = error.reason
    return parts, damaged


def paired_frame(
    *, model: Model, challenger_id: int, start: datetime, end: datetime, champion_id: int | None = None
) -> PairedFrame:
    """Read the requests of `[start, end)` that the champion answered and the challenger got a copy of."""
    answered = frame_of(model=model, start=start, end=end, version_id=champion_id)
    copied = frame_of(model=model, start=start, end=end, role="shadow", version_id=challenger_id)
    _, left, right = np.intersect1d(
        answered.ids.astype(str), copied.ids.astype(str), assume_unique=True, return_indices=True
    )
    order = np.argsort(left)
    return PairedFrame(answered.take(left[order]), copied.take(right[order]))


def prediction(*, model: Model, prediction_id: str) -> LoggedPrediction | None:
    """Look one prediction up: the answer, its shadows, and the history of its label.

    None where there is no such row, or none any more but the narrow one, which only refuses its id.
    """
    narrow = PredictionRow.objects.filter(model=model, prediction_id=prediction_id)
    rows, packed = list(narrow.select_related("version")), list[PackedRow]()
    if all(row.role == "shadow" for row in rows):  # a copy may come weeks after the answer
        packed = [
            found
            for found in find_packed(model, [prediction_id], oldest_week())
            if found.row.prediction_id == prediction_id
        ]
        rows += [found.row for found in packed]
    answered = next((row for row in rows if row.role != "shadow"), None)
    detail = answered and _detail(model, answered)
    if not detail:
        return None
    copies = [_detail(model, row) for row in rows if row.role == "shadow"]
    return {
        **detail,
        "thumbnail": thumbnails_of(model=model, times={prediction_id: detail["timestamp"]}).get(
            prediction_id
        ),
        "shadows": [copy for copy in copies if copy],
        "labels": label_history(
            model, prediction_id, {row.client_id for row in rows if row.client_id}, packed
        ),
    }


def has_packed_before(
    *, model: Model, version_id: int, role: str, start: datetime, end: datetime, week: date
) -> bool:
    """Return whether rows of `[start, end)` arrived before `week`."""
    return PackedDay.objects.filter(
        model=model, version_id=version_id, role=role, week__lt=week, start__lt=end, end__gte=start
    ).exists()


def _detail(model: Model, row: PredictionRow) -> LoggedRow | None:
    frame = frame_of(
        model=model,
        start=row.event_time,
        end=datetime.fromtimestamp(row.event_time.timestamp() + 1, UTC),
        role=row.role,
        version_id=row.version_id,
    )
    one = frame.take(frame.ids == row.prediction_id)
    if not len(one):
        if frame.unreadable:  # it has a narrow row, so that it lies in one of these
            raise ChunkDamaged(frame.unreadable[0].reason)
        return None
    return {
        "id": row.prediction_id,
        "client_id": row.client_id or None,
        "timestamp": row.event_time,
        "version": row.version.version,
        "role": row.role,
        **describe_row(one, 0),
    }


def describe_row(frame: LogFrame, row: int) -> RowValues:
    """Write what came in and what was answered in plain values; what is missing is None."""
    latency = frame.latency_us[row]
    return {
        "latency_ms": None if np.isnan(latency) else float(latency) / 1e3,
        "features": {
            name: _plain(values[row])
            for name, values in frame.features.items()
            if name not in frame.dropped or not frame.dropped[name][row]
        },
        "prediction": _plain(frame.prediction[row]),
        "probability": None if frame.probability is None else np.asarray(frame.probability[row]).tolist(),
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)
