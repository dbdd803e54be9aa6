"""Reads Arrow columns of logged predictions as Driftline's log would hold them, and leaves out what it would refuse."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftline_spark.layout import RowLayout
from inference.data_files.vectors import is_vector, lengths_of, matrix_of
from inference.prediction_log.items import as_objects, class_text
from inference.prediction_log.rows.sent_items import (
    MAX_LABEL_LENGTH,
    SUM_TOLERANCE,
    is_latency,
    is_probability,
)
from inference.vectors import describe_vectors
from monitors.definitions.outcomes import answer_score, outcome_of
from monitors.stats.mergeable.window_summary import WindowSummary, summarise_window

_FARTHEST = 1e38
"""From a centre; a summary cannot hold what lies beyond, so it counts as infinite."""
NAME_LENGTH = 200
"""Of the name of a segment; a longer value is seen only in the whole."""
_TEXT_LENGTH = 1_000
_TIMESTAMP = pa.timestamp("us", "UTC")
_UNUSABLE = object()
"""Stands for a text that cannot be kept: neither a text nor missing, so it is counted as of the wrong type."""

type Values = NDArray[Any]


class AcceptedTimes(NamedTuple):
    """The times that rows and labels may have, in microseconds since 1970."""

    start_us: int
    end_us: int

    def has(self, times_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (times_us >= self.start_us) & (times_us <= self.end_us)


@dataclass(frozen=True)
class LoggedRows:
    """Rows as arrays, as the log holds them."""

    layout: RowLayout
    times_us: NDArray[np.int64]
    features: Mapping[str, Values]
    prediction: Values
    probability: NDArray[np.float64] | None
    latency_ms: NDArray[np.float64]
    label: Values
    label_us: NDArray[np.int64]
    segments: Mapping[str, Values]

    def take(self, where: Values) -> "LoggedRows":
        return LoggedRows(
            self.layout, self.times_us[where], {name: values[where] for name, values in self.features.items()},
            self.prediction[where], None if self.probability is None else self.probability[where],
            self.latency_ms[where], self.label[where], self.label_us[where],
            {name: values[where] for name, values in self.segments.items()},
        )  # fmt: skip

    def summarise(self) -> WindowSummary:
        labelled = self.label_us > 0
        lags = self.label_us[labelled] - self.times_us[labelled]
        return summarise_window(
            rows=len(self.times_us),
            features=self.features,
            centres=self.layout.centres,
            prediction=self.prediction,
            score=answer_score(self.layout.signature, self.prediction, self.probability),
            latency_ms=self.latency_ms,
            outcome=outcome_of(self.layout.signature, self.label, self.prediction, self.probability),
            labelled=int(labelled.sum()),
            label_lag_s=lags[lags != 0] / 1e6,
        )


# -- what the log would refuse -----------------------------------------------------------------------------------------
def without_refused(rows: LoggedRows, accepted: AcceptedTimes, left_out: Counter[str]) -> LoggedRows:
    """Leave out rows that the log would refuse, and count each by the first column that is wrong."""
    kept = np.ones(rows.times_us.size, bool)
    for column, is_good in _checks(rows, accepted):
        left_out[column] += int((kept & ~is_good).sum())
        kept &= is_good
    left_out += Counter()  # forgets columns in which nothing was wrong
    return rows if kept.all() else rows.take(kept)


def _checks(rows: LoggedRows, accepted: AcceptedTimes) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "timestamp", accepted.has(rows.times_us)
    if rows.prediction.dtype == object:
        yield "prediction", np.array([value is not None for value in rows.prediction.tolist()], bool)
    else:
        yield "prediction", np.abs(rows.prediction) <= _FARTHEST
    yield "latency_ms", np.isnan(rows.latency_ms) | is_latency(rows.latency_ms)
    if rows.probability is not None:
        yield "probability", _are_probabilities(rows.probability)


def _are_probabilities(given: NDArray[np.float64]) -> NDArray[np.bool_]:
    possible: NDArray[np.bool_] = np.isnan(given) | is_probability(given)
    if given.ndim == 1:
        return possible
    sums = np.isnan(given).all(axis=1) | (np.abs(np.nansum(given, axis=1) - 1) <= SUM_TOLERANCE)
    return possible.all(axis=1) & sums


def with_parts_of_vectors(table: pa.Table, layout: RowLayout, left_out: Counter[str]) -> pa.Table:
    """Put what the log keeps of each vector in its place; leave out rows with one that the log would refuse.

    That is one of another dimension, with a number that is missing or not finite, or something else.
    """
    kept = np.ones(table.num_rows, bool)
    found: dict[str, NDArray[np.float64]] = {}
    for name in filter(layout.vectors.__contains__, table.column_names):
        column = table[name].combine_chunks()
        is_given = column.is_valid().to_numpy(zero_copy_only=False)
        fits, vectors = _vectors_that_fit(column, is_given, layout.vectors[name])
        if refused := int((kept & is_given & ~fits).sum()):
            left_out[name] += refused
        kept &= ~is_given | fits
        for part, values in describe_vectors(name, vectors).items():
            found[part] = np.full(table.num_rows, np.nan)
            found[part][fits] = values
    table = table.drop_columns([name for name in table.column_names if name in {*found, *layout.vectors}])
    for part, values in found.items():
        table = table.append_column(part, pa.array(values))
    return table if kept.all() else table.filter(pa.array(kept))


def _vectors_that_fit(
    column: pa.Array, is_given: NDArray[np.bool_], dimension: int
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return which rows have a vector of the dimension with finite numbers alone, and those vectors."""
    fits = is_given & (lengths_of(column) == dimension if is_vector(column.type) else False)
    places = np.flatnonzero(fits)
    matrix = matrix_of(column, places) if places.size else np.empty((0, dimension))
    fits[places] = np.isfinite(matrix).all(axis=1)
    return fits, matrix[fits[places]]


# -- columns -----------------------------------------------------------------------------------------------------------
def read_rows(table: pa.Table, layout: RowLayout, accepted: AcceptedTimes) -> LoggedRows:
    """Read the columns of one version's rows, in the order of their event times as the log has them."""
    times = _times(table["timestamp"])
    table = table.take(pa.array(np.argsort(times, kind="stable")))
    times = np.sort(times, kind="stable")
    values = {name: _feature(table, name, layout) for name in layout.features}
    is_number = layout.signature.task == "regression"
    label, label_us = _labels(table, times, accepted, is_number=is_number)
    return LoggedRows(
        layout=layout,
        times_us=times,
        features={name: _as_declared(column, name, layout) for name, column in values.items()},
        prediction=_numbers(table["prediction"]) if is_number else _classes(table["prediction"]),
        probability=_probability(table, layout),
        latency_ms=_latency(table),
        label=label,
        label_us=label_us,
        segments={name: _as_names(values[name]) for name in layout.segment_features if name in values},
    )


def _times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return times in microseconds since 1970, and 0 where there is none."""
    us: NDArray[np.int64] = column.cast(_TIMESTAMP, safe=False).cast(pa.int64()).fill_null(0).to_numpy()
    return us


def _feature(table: pa.Table, name: str, layout: RowLayout) -> Values:
    """Return a feature as the log holds it: numbers, or objects where the column is of texts."""
    is_number = name in layout.numbers
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan if is_number else None, np.float64 if is_number else object)
    column = table[name]
    return _numbers(column) if is_number and _is_number(column.type) else _texts(column)


def _as_declared(values: Values, name: str, layout: RowLayout) -> Values:
    """Return what is counted of a feature: numbers as texts where another version of the model made it a text."""
    if (centre := layout.features[name]) is not None:
        return values if values.dtype == object else _within_reach(values, centre)
    if values.dtype != object:
        return as_objects([None if value != value else str(value) for value in values.tolist()])
    return _written(values, lambda text: text if _is_plain(text, _TEXT_LENGTH) else _UNUSABLE)


def _within_reach(numbers: NDArray[np.float64], centre: float) -> NDArray[np.float64]:
    return np.where(np.abs(numbers - centre) > _FARTHEST, np.copysign(np.inf, numbers), numbers)


def _written(values: Values, write: Callable[[Any], Any]) -> Values:
    """Write each value but None; one that comes often is looked at once."""
    listed = values.tolist()
    known = {value: None if value is None else write(value) for value in set(listed)}
    return as_objects([known[value] for value in listed])


def _is_plain(text: str, length: int) -> bool:
    return len(text) <= length and "\0" not in text


def _is_number(kind: pa.DataType) -> bool:
    return any(
        one(kind)
        for one in (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
    )


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Read numbers; NaN stands for what is missing, and for a text that is no number."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    try:
        numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowInvalid:
        return np.array([_as_number(text) for text in column.to_pylist()], np.float64)
    return numbers


def _as_number(text: str | None) -> float:
    try:
        return float("nan" if text is None else text)
    except ValueError:
        return float("nan")


def _texts(column: pa.ChunkedArray) -> Values:
    """Read texts; a number is written as a class is, and None stands for what is missing or NaN."""
    kind = column.type
    if not _is_number(kind):
        return as_objects(column.cast(pa.string()).to_pylist())
    has_decimals = pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    values = _numbers(column).tolist() if has_decimals else column.to_pylist()
    return _written(as_objects(values), lambda value: class_text(value) if value == value else None)


def texts_or(table: pa.Table, name: str, otherwise: str) -> Values:
    if name not in table.column_names:
        return np.full(table.num_rows, otherwise, object)
    return as_objects([otherwise if text is None else text for text in _texts(table[name]).tolist()])


def _classes(column: pa.ChunkedArray) -> Values:
    """Read classes; None stands for what the log takes for none."""
    return _written(_texts(column), lambda text: text if text and _is_plain(text, MAX_LABEL_LENGTH) else None)


def _probability(table: pa.Table, layout: RowLayout) -> NDArray[np.float64] | None:
    """Return probabilities as the log keeps them, as float32: that of the positive class, or one a class."""
    signature = layout.signature
    if "probability" not in table.column_names or signature.task == "regression":
        return None
    column = table["probability"]
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return _as_kept(_numbers(column))
    size = len(signature.classes)
    if not size:
        return None  # nobody has said which classes there are, so nobody knows of which class each is
    rows = [row if row is not None and len(row) == size else [np.nan] * size for row in column.to_pylist()]
    matrix = _as_kept(np.array(rows, np.float64).reshape(-1, size))
    if signature.positive_class is None:
        return matrix
    return matrix[:, signature.classes.index(signature.positive_class)]


def _as_kept(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut off rounding errors of probabilities; what is none stays, so that its row is left out."""
    clipped = np.where(is_probability(given), given.clip(0.0, 1.0), given)
    return clipped.astype(np.float32).astype(np.float64)


def _latency(table: pa.Table) -> NDArray[np.float64]:
    """Return latencies as the log keeps them: in whole microseconds."""
    if "latency_ms" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.rint(_numbers(table["latency_ms"]) * 1e3) / 1e3


def _labels(
    table: pa.Table, times_us: NDArray[np.int64], accepted: AcceptedTimes, *, is_number: bool
) -> tuple[Values, NDArray[np.int64]]:
    """Return labels, None or NaN where there is none that the log takes, and when each was known.

    That is 0 where there is none, and the time of its event where nobody says.
    """
    if "label" not in table.column_names:
        return np.full(table.num_rows, None, object), np.zeros(table.num_rows, np.int64)
    given = times_us
    if "label_timestamp" in table.column_names:
        moments = _times(table["label_timestamp"])
        given = np.where(moments == 0, times_us, moments)
    if is_number:
        numbers = _numbers(table["label"])
        known = (np.abs(numbers) <= _FARTHEST) & accepted.has(given)
        return np.where(known, numbers, np.nan), np.where(known, given, 0)
    texts = _classes(table["label"])
    known = np.array([text is not None for text in texts.tolist()], bool) & accepted.has(given)
    texts[~known] = None
    return texts, np.where(known, given, 0)


def _as_names(values: Values) -> Values:
    """Write values as the names of segments have them: a whole number without decimals, nothing where there is none."""
    names = _written(values, lambda value: class_text(value) if value == value else "")
    return as_objects([name if name and _is_plain(name, NAME_LENGTH) else "" for name in names.tolist()])
