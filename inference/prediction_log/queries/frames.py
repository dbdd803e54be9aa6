"""Frames of rows of the log: chunks that were read become columns, and two versions side by side become pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from inference.prediction_log.items import as_objects
from inference.prediction_log.labels.changes import SummarisedLabel
from inference.prediction_log.labels.selectors import Holding
from inference.prediction_log.rows.columns import THUMBNAIL
from inference.prediction_log.storage import binary_copy
from inference.prediction_log.storage.chunk_rows import UnreadableChunk, read_rows
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.packing import unpack, unpack_numbers

type Values = NDArray[np.generic]


type Labels = Mapping[str, Holding | SummarisedLabel]
"""The label of each prediction, by its id."""


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
    ]  # when the caller says that it happened, else received; 0 while it has not arrived
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
