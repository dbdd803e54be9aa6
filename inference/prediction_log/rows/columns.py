"""Rows of the log held as columns: the one shape between spool or API, narrow rows and Arrow chunks."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftline.base.periods import DAY_US, HOUR_US, to_us
from inference.prediction_log.items import as_objects
from inference.prediction_log.rows.sent_columns import SentColumns
from inference.prediction_log.spool.record import FeatureTable, LoggedBatch, feature_columns
from inference.signatures import Signature
from inference.vectors import Vectors, describe_vectors

type Values = NDArray[Any]
"""float32, float64, int64, or object for texts; NaN or None is missing. A feature's objects may be texts and floats."""

THUMBNAIL = "thumbnail"
"""The column of a chunk that holds them."""
_DTYPES = {"f4": "<f4", "f8": "<f8", "i8": "<i8"}
_WHOLE = 2.0**53  # below it every whole number is a float
_IPC = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)  # threads cost more than they save here


@dataclass(frozen=True)
class LogColumns:
    """Rows of one model version in one role. All arrays have one entry a row, in the order of arrival."""

    model_id: int
    version_id: int
    role: str
    ids: Values
    times_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    latency_us: NDArray[np.float64]  # NaN where nobody measured it
    client_ids: Values
    subjects: Values
    tags: Values
    prediction: Values
    probability: NDArray[np.float32] | None  # p of the positive class, or rows x classes; None for regression
    features: dict[str, Values]
    body_hash: NDArray[np.int64]
    thumbnails: Values  # PNGs as bytes, None of most rows

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> tuple[int, int, str, tuple[str, ...]]:
        """Return which rows can be put together: those of which the same features hold texts."""
        text = sorted(name for name, values in self.features.items() if values.dtype == object)
        return self.model_id, self.version_id, self.role, tuple(text)

    def take(self, where: NDArray[np.generic]) -> "LogColumns":
        """Keep the rows that `where` (mask or indices) picks."""
        return LogColumns(
            model_id=self.model_id,
            version_id=self.version_id,
            role=self.role,
            probability=None if self.probability is None else self.probability[where],
            features={name: values[where] for name, values in self.features.items()},
            **{name: getattr(self, name)[where] for name in _PLAIN},
        )

    def with_features(self, features: dict[str, Values]) -> "LogColumns":
        """Return the rows with other features, such as those that may be kept."""
        return replace(self, features=features)

    def without_thumbnails(self) -> "LogColumns":
        """Return the rows without what is drawn of their images."""
        return replace(self, thumbnails=_nothing(len(self)))

    def by_day(self) -> Iterator[tuple[date, "LogColumns"]]:
        """Split by the UTC day of the event time."""
        days = self.times_us // DAY_US
        found = np.unique(days)
        for day in found:
            rows = self if len(found) == 1 else self.take(days == day)
            yield datetime.fromtimestamp(int(day) * 86_400, UTC).date(), rows

    def hours(self) -> list[datetime]:
        """List the UTC hours that the rows fall into."""
        return [
            datetime.fromtimestamp(int(hour) * 3_600, UTC) for hour in np.unique(self.times_us // HOUR_US)
        ]

    def to_arrow(self) -> bytes:
        """Write an Arrow IPC stream with one column a feature, named `f:<feature>`, and thumbnails if any is there.

        Where a feature is text in some rows and a number in others, `n:<feature>` marks the latter.
        """
        columns: dict[str, pa.Array] = {
            "id": pa.array(self.ids, pa.string()),
            "time": pa.array(self.times_us, pa.timestamp("us", "UTC")),
            "received": pa.array(self.received_us, pa.timestamp("us", "UTC")),
            "latency_us": pa.array(self.latency_us, pa.float32(), from_pandas=True),
            "client_id": pa.array(self.client_ids, pa.string()),
            "subject": pa.array(self.subjects, pa.string()),
            "tags": pa.array(self.tags, pa.string()),
            "prediction": _arrow(self.prediction),
        }
        if self.probability is not None:
            columns["probability"] = _arrow_probability(self.probability)
        for name, values in self.features.items():
            columns |= _arrow_feature(name, values)
        if any(self.thumbnails):
            columns[THUMBNAIL] = pa.array(self.thumbnails, pa.binary())
        batch = pa.record_batch(columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=_IPC) as writer:
            writer.write_batch(batch)
        return sink.getvalue().to_pybytes()


_PLAIN = (
    "ids",
    "times_us",
    "received_us",
    "latency_us",
    "client_ids",
    "subjects",
    "tags",
    "prediction",
    "body_hash",
    "thumbnails",
)


def concatenate(parts: Sequence[LogColumns]) -> LogColumns:
    """Put rows of one key together; a feature that some parts lack is missing there."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    names = dict.fromkeys(name for part in parts for name in part.features)
    return LogColumns(
        model_id=first.model_id,
        version_id=first.version_id,
        role=first.role,
        probability=_join_probabilities(parts),
        features={
            name: _join(
                [part.features[name] if name in part.features else _missing(len(part)) for part in parts]
            )
            for name in names
        },
        **_joined(parts),
    )


def _joined(parts: Sequence[LogColumns]) -> dict[str, Any]:
    return {name: _join([getattr(part, name) for part in parts]) for name in _PLAIN}


def from_batches(batches: Sequence[LoggedBatch], signature: Signature) -> LogColumns:
    """Read spooled micro-batches of one version and role that are of one shape: see `shape_of`."""
    sizes = [len(batch.ids) for batch in batches]
    return LogColumns(
        model_id=batches[0].model_id,
        version_id=batches[0].version_id,
        role=batches[0].role,
        ids=as_objects([id_ for batch in batches for id_ in batch.ids]),
        times_us=np.array([us for batch in batches for us in batch.event_time_us], np.int64),
        received_us=np.repeat(np.array([batch.received_us for batch in batches], np.int64), sizes),
        latency_us=np.array([us for batch in batches for us in batch.latency_us], np.float64),
        client_ids=_texts_of([batch.client_ids for batch in batches], sizes),
        subjects=_texts_of([batch.subjects for batch in batches], sizes),
        tags=_texts_of([_written(batch.tags) for batch in batches], sizes),
        prediction=_predictions_of(batches),
        probability=_probability_of(batches, signature),
        features=_features_of(batches),
        body_hash=np.zeros(sum(sizes), np.int64),
        thumbnails=_texts_of([batch.thumbnails for batch in batches], sizes),
    )


def shape_of(batch: LoggedBatch) -> tuple[object, ...]:
    """Return which batches can be read together: those that hold the same columns in the same way."""
    table = batch.features
    columns = (
        (table.kind, tuple(table.names))
        if isinstance(table, FeatureTable)
        else tuple(
            (column.name, column.kind, len(column.data) // len(batch.ids) if column.kind == "v4" else 0)
            for column in table
        )
    )
    return columns, type(batch.prediction), batch.probabilities is None


def _texts_of(parts: Sequence[Sequence[str | bytes | None] | None], sizes: Sequence[int]) -> Values:
    """Put texts or bytes together, None where a batch has none."""
    if not any(parts):
        return _nothing(sum(sizes))
    return as_objects(
        [text for part, size in zip(parts, sizes, strict=True) for text in (part or [None] * size)]
    )


def _written(tags: Sequence[dict[str, str] | None] | None) -> list[str | None] | None:
    return [json.dumps(one) if one else None for one in tags] if tags else None


def _predictions_of(batches: Sequence[LoggedBatch]) -> Values:
    if isinstance(batches[0].prediction, bytes):
        return np.frombuffer(b"".join(batch.prediction for batch in batches), "<f8")  # type: ignore[misc]
    return as_objects([answer for batch in batches for answer in batch.prediction])


def _probability_of(batches: Sequence[LoggedBatch], signature: Signature) -> NDArray[np.float32] | None:
    if batches[0].probabilities is None:
        return None
    rows = sum(len(batch.ids) for batch in batches)
    matrix = np.frombuffer(b"".join(batch.probabilities or b"" for batch in batches), "<f4").reshape(rows, -1)
    if signature.positive_class is None:
        return matrix
    return matrix[:, signature.classes.index(signature.positive_class)]


def _features_of(batches: Sequence[LoggedBatch]) -> dict[str, Values]:
    table = batches[0].features
    if isinstance(table, FeatureTable):
        data = b"".join(batch.features.data for batch in batches)  # type: ignore[union-attr]
        columns = np.frombuffer(data, _DTYPES[table.kind]).reshape(-1, len(table.names)).T.copy()
        return dict(zip(table.names, columns, strict=True))
    parts = [feature_columns(batch.features) for batch in batches]
    features: dict[str, Values] = {}
    for place, column in enumerate(table):
        held = [part[place].data for part in parts]
        if column.kind == "v4":
            rows = sum(len(batch.ids) for batch in batches)
            features |= describe_vectors(column.name, _vectors_of(held, rows))
        else:
            features[column.name] = _feature_of(held, column.kind)
    return features


def _vectors_of(parts: Sequence[bytes | list[str | None]], rows: int) -> Vectors:
    vectors: Vectors = np.frombuffer(b"".join(parts), "<f4").reshape(rows, -1)  # type: ignore[arg-type]
    return vectors


def _feature_of(parts: Sequence[bytes | list[str | None]], kind: str) -> Values:
    if isinstance(parts[0], bytes):
        return np.frombuffer(b"".join(parts), _DTYPES[kind])  # type: ignore[arg-type]
    return as_objects([text for part in parts for text in part])


def from_sent(
    sent: SentColumns, *, model_id: int, version_id: int, signature: Signature, now: datetime
) -> LogColumns:
    """Turn items of one version and role that the logging API took into what the log keeps."""
    n = len(sent)
    declared = {feature.name: feature.type for feature in signature.features}
    return LogColumns(
        model_id=model_id,
        version_id=version_id,
        role=sent.roles[0],
        ids=sent.ids,
        times_us=sent.times_us,
        received_us=np.full(n, to_us(now), np.int64),
        latency_us=sent.latency_ms * 1e3,
        client_ids=_nothing(n),
        subjects=sent.subjects,
        tags=as_objects([json.dumps(tags) if tags else None for tags in sent.tags]),
        prediction=sent.predictions,
        probability=_sent_probability(sent.probabilities, signature),
        features={name: _feature(values, declared.get(name)) for name, values in sent.features.items()},
        body_hash=sent.body_hash,
        thumbnails=_nothing(n),
    )


def _sent_probability(given: Values | None, signature: Signature) -> NDArray[np.float32] | None:
    if given is None:
        return None
    if given.dtype != object:
        return given.astype(np.float32)
    if signature.task == "binary":
        return np.array([_positive_probability(value, signature) for value in given], np.float32)
    if not signature.classes:
        return None  # nobody has told an external version's classes yet: upload its reference
    return np.array(
        [[(classes or {}).get(name, np.nan) for name in signature.classes] for classes in given], np.float32
    )


def _positive_probability(given: dict[str, float] | float | None, signature: Signature) -> float:
    if given is None:
        return float("nan")
    if isinstance(given, dict):
        return given.get(signature.positive_class or "1", float("nan"))
    return given


def _feature(values: Values, declared: str | None) -> Values:
    """Keep texts as texts and numbers as floats; only a column without any text is an array of floats."""
    if values.dtype != object:
        return _nothing(len(values)) if declared == "string" else values
    if declared == "string":
        return as_objects([None if value is None else str(value) for value in values])
    kept = [value if value is None or type(value) is str else float(value) for value in values]
    if any(type(value) is str for value in kept):
        return as_objects([None if value != value else value for value in kept])
    return np.array(kept, np.float64)


def _nothing(n: int) -> Values:
    return np.full(n, None, object)


def _missing(n: int) -> Values:
    return np.full(n, np.nan, np.float64)


def _join(parts: list[Values]) -> Values:
    if any(part.dtype == object for part in parts) and not all(part.dtype == object for part in parts):
        parts = [part if part.dtype == object else _nothing(len(part)) for part in parts]
    return np.concatenate(parts)


def _join_probabilities(parts: Sequence[LogColumns]) -> NDArray[np.float32] | None:
    given = [part.probability for part in parts if part.probability is not None]
    if not given:
        return None
    width = given[0].shape[1:]
    return np.concatenate(
        [
            np.full((len(part), *width), np.nan, np.float32) if part.probability is None else part.probability
            for part in parts
        ]
    )


def _arrow_feature(name: str, values: Values) -> dict[str, pa.Array]:
    """Write a feature as numbers or as texts; of both, all as texts, with a mark where there was a number."""
    if values.dtype == object:
        is_number = [type(value) is float for value in values]
        if any(is_number):
            texts = [number_text(value) if type(value) is float else value for value in values]
            return {f"f:{name}": pa.array(texts, pa.string()), f"n:{name}": pa.array(is_number, pa.bool_())}
    return {f"f:{name}": _arrow(values)}


def number_text(value: float) -> str:
    """Write a number so that `float` reads the same one, a whole one without decimals."""
    return str(int(value)) if value.is_integer() and abs(value) < _WHOLE else repr(value)


def _arrow(values: Values) -> pa.Array:
    return pa.array(values, pa.string()) if values.dtype == object else pa.array(values)


def _arrow_probability(probability: NDArray[np.float32]) -> pa.Array:
    if probability.ndim == 1:
        return pa.array(probability)
    flat = pa.array(np.ascontiguousarray(probability).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, probability.shape[1])
