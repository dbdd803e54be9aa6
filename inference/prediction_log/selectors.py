"""Reads of the prediction log, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from django.db.models.functions import Coalesce
from numpy.typing import NDArray

from inference.prediction_log.columns import as_objects
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow
from inference.registry.models import Model

type Values = NDArray[np.generic]


@dataclass(frozen=True)
class LogFrame:
    """Logged rows as arrays of one entry a row, ordered by event time."""

    ids: Values
    times_us: NDArray[np.int64]
    version_ids: NDArray[np.int64]
    latency_us: NDArray[np.float64]  # NaN where unknown
    features: dict[str, Values]  # float64 with NaN, or object with None
    prediction: Values  # class text, or float64
    probability: NDArray[np.float64] | None  # of the positive class, or rows x classes
    label: Values  # text, or None while it has not arrived
    label_time_us: NDArray[
        np.int64
    ]  # when it was told to have happened, else received; 0 while it has not arrived

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        return self.label_time_us > 0

    def take(self, where: NDArray[np.generic]) -> "LogFrame":
        """Keep the rows that `where` (mask or indices) picks."""
        return LogFrame(
            features={name: values[where] for name, values in self.features.items()},
            probability=None if self.probability is None else self.probability[where],
            **{name: getattr(self, name)[where] for name in _PLAIN},
        )


_PLAIN = ("ids", "times_us", "version_ids", "latency_us", "prediction", "label", "label_time_us")


@dataclass(frozen=True)
class PairedFrame:
    """The same requests answered by two versions; row i of both frames is one pair."""

    champion: LogFrame
    challenger: LogFrame


def newest_event(model: Model) -> datetime | None:
    """Tell the newest event time in the log."""
    return newest_arrival(model)[0]


def newest_arrival(model: Model) -> tuple[datetime | None, datetime | None]:
    """Tell the newest event time in the log and when the rows that hold it were stored."""
    newest = (
        PredictionChunk.objects.filter(model=model).order_by("-end").values_list("end", "created_at").first()
    )
    return newest or (None, None)


def frame_of(
    *, model: Model, start: datetime, end: datetime, role: str = "champion", version_id: int | None = None
) -> LogFrame:
    """Read the rows of `[start, end)` that versions made in one role, with the labels that have arrived."""
    chunks = PredictionChunk.objects.filter(
        model=model, role=role, day__gte=start.date(), day__lte=end.date(), start__lt=end, end__gte=start
    ).order_by("pk")
    if version_id is not None:
        chunks = chunks.filter(version_id=version_id)
    tables = [_read(payload, version) for version, payload in chunks.values_list("version_id", "payload")]
    frame = _frame(tables, _labels(model, start, end))
    inside = (frame.times_us >= _us(start)) & (frame.times_us < _us(end))
    kept = frame.take(inside)
    return kept.take(np.argsort(kept.times_us, kind="stable"))


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


def prediction(*, model: Model, prediction_id: str) -> dict[str, Any] | None:
    """Look one prediction up: the answer, its shadows, and the history of its label."""
    rows = list(
        PredictionRow.objects.filter(model=model, prediction_id=prediction_id).select_related("version")
    )
    answered = next((row for row in rows if row.role != "shadow"), None)
    if answered is None:
        return None
    labels = Label.objects.filter(model=model, prediction_id=prediction_id).order_by(
        "received_at", "revision"
    )
    return {
        **_detail(model, answered),
        "shadows": [_detail(model, row) for row in rows if row.role == "shadow"],
        "labels": list(labels.values("value", "revision", "labelled_at", "received_at", "is_current")),
    }


def _detail(model: Model, row: PredictionRow) -> dict[str, Any]:
    frame = frame_of(
        model=model,
        start=row.event_time,
        end=datetime.fromtimestamp(row.event_time.timestamp() + 1, UTC),
        role=row.role,
        version_id=row.version_id,
    )
    one = frame.take(frame.ids == row.prediction_id)
    probability = None if one.probability is None else one.probability[0]
    latency = one.latency_us[0]
    return {
        "id": row.prediction_id,
        "client_id": row.client_id,
        "timestamp": row.event_time,
        "version": row.version.version,
        "role": row.role,
        "latency_ms": None if np.isnan(latency) else float(latency) / 1e3,
        "features": {name: _plain(values[0]) for name, values in one.features.items()},
        "prediction": _plain(one.prediction[0]),
        "probability": None if probability is None else np.asarray(probability).tolist(),
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)


def _read(payload: bytes | memoryview, version_id: int) -> tuple[int, pa.RecordBatch]:
    with pa.ipc.open_stream(payload) as reader:
        return version_id, reader.read_next_batch()


def _labels(model: Model, start: datetime, end: datetime) -> dict[str, tuple[str, datetime]]:
    found = Label.objects.filter(
        model=model, is_current=True, prediction_time__gte=start, prediction_time__lt=end
    ).values_list("prediction_id", "value", Coalesce("labelled_at", "received_at"))
    return {id_: (value, known_since) for id_, value, known_since in found}


def _frame(tables: Sequence[tuple[int, pa.RecordBatch]], labels: dict[str, tuple[str, datetime]]) -> LogFrame:
    names = dict.fromkeys(name for _, table in tables for name in table.schema.names if name.startswith("f:"))
    ids = _gather(tables, "id")
    found = [labels.get(id_) for id_ in ids]
    return LogFrame(
        ids=ids,
        times_us=_gather(tables, "time").astype("int64"),
        version_ids=np.concatenate(
            [np.full(table.num_rows, version, np.int64) for version, table in tables] or [_NO_INT]
        ),
        latency_us=_gather(tables, "latency_us").astype(np.float64),
        features={name[2:]: _gather(tables, name) for name in names},
        prediction=_gather(tables, "prediction"),
        probability=_gather_probability(tables),
        label=as_objects([pair[0] if pair else None for pair in found]),
        label_time_us=np.array([_us(pair[1]) if pair else 0 for pair in found], np.int64),
    )


_NO_INT = np.empty(0, np.int64)


def _gather(tables: Sequence[tuple[int, pa.RecordBatch]], name: str) -> Values:
    parts = [_values(table, name) for _, table in tables]
    if not parts:
        return np.empty(0, object if name in ("id", "prediction") else np.float64)
    if any(part.dtype == object for part in parts) and not all(part.dtype == object for part in parts):
        parts = [part if part.dtype == object else np.full(len(part), None, object) for part in parts]
    return np.concatenate(parts)


def _values(table: pa.RecordBatch, name: str) -> Values:
    if name not in table.schema.names:
        return np.full(table.num_rows, np.nan)
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        return column.to_numpy(zero_copy_only=False)
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _gather_probability(tables: Sequence[tuple[int, pa.RecordBatch]]) -> NDArray[np.float64] | None:
    given = [table for _, table in tables if "probability" in table.schema.names]
    if not given:
        return None
    width = given[0].column("probability").type
    shape = (width.list_size,) if pa.types.is_fixed_size_list(width) else ()
    parts = []
    for _, table in tables:
        if "probability" not in table.schema.names:
            parts.append(np.full((table.num_rows, *shape), np.nan))
            continue
        column = table.column("probability")
        flat = column.flatten() if shape else column
        parts.append(flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(table.num_rows, *shape))
    return np.concatenate(parts)


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
