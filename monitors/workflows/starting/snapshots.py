"""Training snapshots as Arrow tables: the columns they have, and how rows get in and are split."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftline.base.periods import DAY_US
from inference.data_files.arrow_types import is_text
from inference.prediction_log.queries.frames import LogFrame, as_kind
from inference.signatures import Signature

TRAIN, HOLDOUT = "train", "holdout"
HOLDOUT_DAYS = 3
HOLDOUT_SHARE = 0.2
TIME_TYPE = pa.timestamp("us", "UTC")


def from_log(frame: LogFrame, signature: Signature) -> pa.Table:
    """Write logged rows as a table; `version_id` names who answered, `score` is what that version said."""
    columns = {name: _feature(frame, name, kind) for name, kind in _feature_types(signature).items()}
    return pa.table(
        {
            **columns,
            "timestamp": pa.array(frame.times_us, pa.int64()).cast(TIME_TYPE),
            "label": _labels(frame.label, signature),
            "version_id": pa.array(frame.version_ids, pa.int64()),
            "prediction": _labels(frame.prediction, signature),
            "score": _scores(frame, signature),
        }
    )


def from_reference(table: pa.Table, signature: Signature, *, end_us: int) -> pa.Table:
    """Write the labelled rows of a reference file as a table; rows without a time count as the day before `end_us`."""
    table = table.filter(pc.is_valid(table["label"]))
    rows = table.num_rows
    times = (
        table["timestamp"].cast(TIME_TYPE)
        if "timestamp" in table.column_names
        else pa.array(np.full(rows, end_us - DAY_US), pa.int64()).cast(TIME_TYPE)
    )
    label_type = pa.float64() if signature.task == "regression" else pa.string()
    return pa.table(
        {
            **{name: table[name].cast(kind) for name, kind in _feature_types(signature).items()},
            "timestamp": times,
            "label": table["label"].cast(label_type),
            "version_id": pa.nulls(rows, pa.int64()),
            "prediction": pa.nulls(rows, label_type),
            "score": pa.nulls(rows, _score_type(signature)),
        }
    )


def keep_known_labels(table: pa.Table, signature: Signature) -> tuple[pa.Table, int]:
    """Leave out rows whose label is no class of the model, or no time at all; also tell how many."""
    known = pc.is_valid(table["timestamp"])
    if signature.task != "regression":
        known = pc.and_(known, pc.is_in(table["label"], value_set=pa.array(signature.classes, pa.string())))
    kept = table.filter(known)
    return kept, table.num_rows - kept.num_rows


def times_us(table: pa.Table) -> NDArray[np.int64]:
    """The event times of a table's rows, in microseconds since 1970."""
    return table["timestamp"].cast(pa.int64()).to_numpy()


def holdout_start(times: NDArray[np.int64]) -> int:
    """Choose the event time from which rows are held out: the newest three days, or less if those are many.

    Whole days, so that no day is learnt from and judged on; one day's newest rows where days are too few.
    """
    midnight = int(times.max()) // DAY_US * DAY_US
    for days in range(HOLDOUT_DAYS, 0, -1):
        start = midnight - (days - 1) * DAY_US
        if 0 < (times >= start).mean() <= HOLDOUT_SHARE:
            return start
    return int(np.quantile(times, 1 - HOLDOUT_SHARE, method="higher"))


def column_of(table: pa.Table, name: str) -> NDArray[Any]:
    """Return a column as an array: numbers as float64 with NaN, texts as objects with None."""
    column = table[name]
    if is_text(column.type):
        return np.array(column.to_pylist(), object)
    numbers: NDArray[Any] = column.cast(pa.float64()).to_numpy()
    return numbers


def _feature_types(signature: Signature) -> dict[str, pa.DataType]:
    return {f.name: pa.string() if f.type == "string" else pa.float64() for f in signature.features}


def _feature(frame: LogFrame, name: str, kind: pa.DataType) -> pa.Array:
    if name not in frame.features:
        return pa.nulls(len(frame), kind)
    values = as_kind(frame.features[name], is_number=pa.types.is_floating(kind))
    return pa.array(values, kind, from_pandas=True)


def _labels(values: NDArray[np.generic], signature: Signature) -> pa.Array:
    if signature.task == "regression":
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, pa.string(), from_pandas=True)


def _score_type(signature: Signature) -> pa.DataType:
    return pa.list_(pa.float64()) if signature.task == "multiclass" else pa.float64()


def _scores(frame: LogFrame, signature: Signature) -> pa.Array:
    if signature.task == "regression":
        return pa.array(np.asarray(frame.prediction, np.float64), pa.float64())
    if frame.probability is None:
        return pa.nulls(len(frame), _score_type(signature))
    return pa.array(list(frame.probability), _score_type(signature))
