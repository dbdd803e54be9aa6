"""Reads of the prediction log, as arrays."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
from django.db.models import Max, Min, OuterRef, QuerySet, Subquery
from numpy.typing import NDArray

from driftline.common.periods import day_of, to_us
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged
from inference.prediction_log.items import as_objects
from inference.prediction_log.labels.changes import SummarisedLabel, summarised_labels
from inference.prediction_log.labels.selectors import Holding, current_labels, label_history
from inference.prediction_log.models import PackedDay, PredictionChunk, PredictionRow, SummedDay
from inference.prediction_log.queries.thumbnails import thumbnails_of
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.schemas import LoggedPrediction, LoggedRow, RowValues
from inference.prediction_log.storage import binary_copy
from inference.prediction_log.storage.chunk_rows import UnreadableChunk, read_rows
from inference.prediction_log.storage.damaged_chunks import describe_damaged
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.packed_search import PackedRow, find_packed
from inference.prediction_log.storage.packing import unpack, unpack_numbers
from inference.prediction_log.storage.partitions import oldest_week
from inference.registry.models import Model, Version

type Values = NDArray[np.generic]
type Labels = Mapping[str, Holding | SummarisedLabel]
"""The label of each prediction, by its id."""
type Arrival = tuple[datetime | None, datetime | None]
"""An event time and when the rows that hold it were stored; None where nothing was logged."""


@dataclass(frozen=True)
class LogFrame:
    """Logged rows as arrays of one entry a row, ordered by event time."""

    ids: Values
    times_us: NDArray[np.int64]
    version_ids: NDArray[np.int64]
    latency_us: NDArray[np.float64]  # NaN where unknown
    # float64 with NaN, or texts as objects with None; where the log holds both, objects that are texts and floats
    features: dict[str, Values]
    prediction: Values  # class text, or float64
    probability: NDArray[np.float64] | None  # of the positive class, or rows x classes
    label: Values  # text, or None while it has not arrived
    label_time_us: NDArray[
        np.int64
    ]  # when it was told to have happened, else received; 0 while it has not arrived
    tags: Values | None = None  # JSON, or None; None as a whole where no row has any
    dropped: dict[str, NDArray[np.bool_]] = field(
        default_factory=dict
    )  # rows without a feature's value, by feature
    unreadable: tuple[UnreadableChunk, ...] = ()  # damaged chunks, whose rows are missing here

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        return self.label_time_us > 0

    @property
    def is_whole(self) -> NDArray[np.bool_]:
        """Return which rows have all the values that they came with."""
        return ~np.logical_or.reduce([*self.dropped.values(), np.zeros(len(self), np.bool_)])

    def known(self, feature: str) -> Values | None:
        """Return the values of a feature that were not dropped; None if all were."""
        dropped = self.dropped.get(feature)
        if dropped is None:
            return self.features[feature]
        return None if dropped.all() else self.features[feature][~dropped]

    def as_kinds(self, numeric: Mapping[str, bool]) -> "LogFrame":
        """Convert each of these features to one kind, numbers or texts; what is of the other kind is missing then."""
        typed = {
            name: as_kind(self.features[name], is_number=is_number)
            for name, is_number in numeric.items()
            if name in self.features
        }
        return replace(self, features=self.features | typed)

    def tag(self, name: str) -> Values:
        """Return the value of a tag in each row, None where it has none."""
        if self.tags is None:
            return np.full(len(self), None, object)
        known = {text: orjson.loads(text).get(name) if text else None for text in set(self.tags)}
        return np.array([known[text] for text in self.tags], object)

    def take(self, where: NDArray[np.generic] | slice) -> "LogFrame":
        """Keep the rows that `where` (mask, indices or slice) picks; a slice copies nothing."""
        return LogFrame(
            features={name: values[where] for name, values in self.features.items()},
            dropped={name: mask[where] for name, mask in self.dropped.items()},
            probability=None if self.probability is None else self.probability[where],
            tags=None if self.tags is None else self.tags[where],
            unreadable=self.unreadable,
            **{name: getattr(self, name)[where] for name in _PLAIN},
        )


def as_kind(values: Values, *, is_number: bool) -> Values:
    """Keep a feature's numbers as floats, or its texts as objects; NaN or None stands for all others."""
    if is_number:
        if values.dtype != object:
            return values
        return np.array([value if isinstance(value, float) else np.nan for value in values], np.float64)
    if values.dtype != object:
        return np.full(len(values), None, object)
    if not any(isinstance(value, float) for value in values):
        return values
    return as_objects([value if isinstance(value, str) else None for value in values])


_PLAIN = ("ids", "times_us", "version_ids", "latency_us", "prediction", "label", "label_time_us")


@dataclass(frozen=True)
class PairedFrame:
    """The same requests answered by two versions; row i of both frames is one pair."""

    champion: LogFrame
    challenger: LogFrame


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
    """Give the fresh chunks and the packed days: together they tell of every row, and no day's partition is opened."""
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


@dataclass(frozen=True)
class ChunkRows:
    """One chunk's rows with the labels that are folded into it."""

    version_id: int
    rows: pa.RecordBatch
    labels: FoldedLabels | None

    @classmethod
    def read(cls, stored: Sequence[memoryview | None]) -> "ChunkRows":
        version_id, payload, labels = stored
        assert version_id is not None
        assert payload is not None
        folded = None if labels is None else FoldedLabels.read(labels)
        return cls(binary_copy.read_bigint(version_id), read_rows(payload, without=(THUMBNAIL,)), folded)


def frame_from(parts: Sequence[ChunkRows], labels: Labels) -> LogFrame:
    """Make a frame of stored rows; `labels` hold in place of those that are folded, by prediction id."""
    tables = [part.rows for part in parts]
    names = dict.fromkeys(name for table in tables for name in table.schema.names if name.startswith("f:"))
    ids = _gather(tables, "id")
    label, label_time_us = _label_columns(ids, parts, labels)
    return LogFrame(
        ids=ids,
        times_us=_gather(tables, "time").astype("int64"),
        version_ids=np.concatenate(
            [np.full(part.rows.num_rows, part.version_id, np.int64) for part in parts] or [_NO_INT]
        ),
        latency_us=_gather(tables, "latency_us").astype(np.float64),
        features={name[2:]: _gather_feature(tables, name[2:]) for name in names},
        prediction=_gather(tables, "prediction"),
        probability=_gather_probability(tables),
        label=label,
        label_time_us=label_time_us,
        tags=_gather_tags(tables),
        dropped={name[2:]: mask for name in names if (mask := _dropped(tables, name)).any()},
    )


def _gather_tags(tables: Sequence[pa.RecordBatch]) -> Values | None:
    if all(_kind(table, "tags") == "none" or _is_empty(table.column("tags")) for table in tables):
        return None
    return np.concatenate([_texts(table, "tags") for table in tables])


def _is_empty(column: pa.Array) -> bool:
    return bool(column.null_count == len(column))


def _dropped(tables: Sequence[pa.RecordBatch], name: str) -> NDArray[np.bool_]:
    """Return for each row whether its value was dropped: such a column has no type."""
    dropped = [
        name in table.schema.names and pa.types.is_null(table.schema.field(name).type) for table in tables
    ]
    return np.repeat(dropped, [table.num_rows for table in tables])


def _label_columns(
    ids: Values, parts: Sequence[ChunkRows], labels: Labels
) -> tuple[Values, NDArray[np.int64]]:
    """Return each row's label and when it was known; one that is not folded arrived later than those that are.

    Both stay empty without a look at each row where none has come.
    """
    values, known_us = np.full(len(ids), None, object), np.zeros(len(ids), np.int64)
    first = 0
    for part in parts:
        if part.labels is not None:
            holds = part.labels.is_current
            places = first + part.labels.places[holds]
            values[places] = part.labels.values[holds]
            known_us[places] = part.labels.known_us[holds]
        first += part.rows.num_rows
    if labels:
        for place, holding in enumerate(map(labels.get, ids)):
            if holding is not None:
                values[place], known_us[place] = holding.value, holding.known_us
    return values, known_us


_NO_INT = np.empty(0, np.int64)


def _gather_feature(tables: Sequence[pa.RecordBatch], name: str) -> Values:
    """Put a feature together: floats, or, where it is text in any chunk, objects that keep the numbers as floats."""
    column = f"f:{name}"
    if all(_kind(table, column) != "text" for table in tables):
        return _gather(tables, column)
    return np.concatenate([_mixed(table, name) for table in tables])


def _mixed(table: pa.RecordBatch, name: str) -> Values:
    """Return a feature's texts and numbers as objects."""
    column, marks = f"f:{name}", table.schema.get_field_index(f"n:{name}")
    if _kind(table, column) == "number":
        numbers = np.empty(table.num_rows)
        unpack_numbers(table, column, numbers)
        values: NDArray[Any] = numbers.astype(object)
        values[np.isnan(numbers)] = None
        return values
    texts = _texts(table, column)
    if marks < 0 or _kind(table, column) == "none":
        return texts
    for place in np.flatnonzero(table.column(marks).to_numpy(zero_copy_only=False)):
        texts[place] = float(texts[place])
    return texts


def _gather(tables: Sequence[pa.RecordBatch], name: str) -> Values:
    """Put a column together; where it is text in any chunk, what others hold of it is missing."""
    kinds = [_kind(table, name) for table in tables]
    if not kinds:
        return np.empty(0, object if name in ("id", "prediction") else np.float64)
    if "text" in kinds:
        return np.concatenate([_texts(table, name) for table in tables])
    if "time" in kinds:
        return np.concatenate([table.column(name).cast(pa.int64()).to_numpy() for table in tables])
    values, first = np.empty(sum(table.num_rows for table in tables)), 0
    for table, kind in zip(tables, kinds, strict=True):
        part = values[first : first + table.num_rows]
        if kind == "none":
            part[:] = np.nan
        else:
            unpack_numbers(table, name, part)
        first += table.num_rows
    return values


def _kind(table: pa.RecordBatch, name: str) -> Literal["none", "text", "time", "number"]:
    place = table.schema.get_field_index(name)
    if place < 0:
        return "none"
    type_ = table.schema.field(place).type
    if pa.types.is_null(type_):
        return "none"
    if pa.types.is_string(type_):
        return "text"
    return "time" if pa.types.is_timestamp(type_) else "number"


def _texts(table: pa.RecordBatch, name: str) -> Values:
    if _kind(table, name) != "text":
        return np.full(table.num_rows, None, object)
    return table.column(name).to_numpy(zero_copy_only=False)


def _gather_probability(tables: Sequence[pa.RecordBatch]) -> NDArray[np.float64] | None:
    given = [table for table in tables if "probability" in table.schema.names]
    if not given:
        return None
    width = given[0].column("probability").type
    shape = (width.list_size,) if pa.types.is_fixed_size_list(width) else ()
    parts = []
    for table in tables:
        if "probability" not in table.schema.names:
            parts.append(np.full((table.num_rows, *shape), np.nan))
            continue
        column = unpack(table, "probability")
        flat = column.flatten() if shape else column
        parts.append(flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(table.num_rows, *shape))
    return np.concatenate(parts)
