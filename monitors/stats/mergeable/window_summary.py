"""One window of a model version as a mergeable, storable whole: features, answers, latency, outcomes.

Stored form: msgpack of raw arrays inside one zstd frame. Each column is a byte string of its own, so reading
one feature of a stored window unpacks that feature alone. Cell means are stored as float32 (a relative error
below 6e-8 of the distance to the centre); counts, totals, minimum and maximum are stored exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import zstandard
from numpy.typing import ArrayLike

from monitors.stats.mergeable.byte_planes import shuffle, unshuffle
from monitors.stats.mergeable.outcomes import (
    NO_LOSSES,
    NO_NUMBERS,
    BinaryOutcomeSummary,
    ErrorShape,
    Moments,
    MulticlassOutcomeSummary,
    OutcomeSummary,
    RankingSummary,
    RegressionOutcomeSummary,
    merge_outcomes,
)
from monitors.stats.mergeable.sketches import (
    CategoricalSummary,
    NumericSummary,
    merge_categories,
    merge_numbers,
    summarise_categories,
    summarise_numbers,
    summarise_texts,
)

ColumnSummary = NumericSummary | CategoricalSummary

_FORMAT = 1
_COMPRESSION = 3  # of a reference the bytes seed its draws: another level would give other limits
_COUNT_TYPES = (np.uint8, np.uint16, np.uint32, np.uint64)


class UnreadableSummary(ValueError):
    """Stored bytes are not a window summary of this format."""


@dataclass(frozen=True, eq=False, slots=True)
class WindowSummary:
    """What is remembered of one window and segment.

    `score` is the probability of the positive class, or of several that of the answered one; `latency_ms` is
    per prediction; `outcome` covers the rows whose label has arrived and `labelled` counts them; `label_lag_s` is
    the time from prediction to label.
    """

    rows: int
    features: dict[str, ColumnSummary]
    prediction: ColumnSummary | None = None
    score: NumericSummary | None = None
    latency_ms: NumericSummary | None = None
    outcome: OutcomeSummary | None = None
    labelled: int = 0
    label_lag_s: NumericSummary | None = None

    def merge(self, other: WindowSummary) -> WindowSummary:
        """Add `other`, as if both windows had been summarised as one."""
        return merge_windows([self, other])

    def encode(self) -> bytes:
        """Pack the window for storage."""
        wire = _Window(
            format=_FORMAT,
            rows=self.rows,
            labelled=self.labelled,
            features={name: _pack_column(column) for name, column in self.features.items()},
            prediction=_pack_column(self.prediction) if self.prediction else None,
            score=_pack_column(self.score) if self.score else None,
            latency_ms=_pack_column(self.latency_ms) if self.latency_ms else None,
            label_lag_s=_pack_column(self.label_lag_s) if self.label_lag_s else None,
            outcome=_pack_outcome(self.outcome) if self.outcome else None,
        )
        return zstandard.compress(msgspec.msgpack.encode(wire), _COMPRESSION)

    @staticmethod
    def decode(data: bytes, *, features: Collection[str] | None = None) -> WindowSummary:
        """Unpack a stored window, with all features or only those named; raises `UnreadableSummary`."""
        try:
            wire = msgspec.msgpack.decode(zstandard.decompress(data), type=_Window)
        except (zstandard.ZstdError, msgspec.DecodeError) as error:
            raise UnreadableSummary(
                f"{len(data)} bytes are not a window summary ({error}); recompute this window from the log."
            ) from error
        return WindowSummary(
            rows=wire.rows,
            features={
                name: _unpack_column(column)
                for name, column in wire.features.items()
                if features is None or name in features
            },
            prediction=_unpack_column(wire.prediction) if wire.prediction else None,
            score=_unpack_numbers(wire.score),
            latency_ms=_unpack_numbers(wire.latency_ms),
            outcome=_unpack_outcome(wire.outcome) if wire.outcome else None,
            labelled=wire.labelled,
            label_lag_s=_unpack_numbers(wire.label_lag_s),
        )


def encode_outcomes(outcomes: Mapping[int, OutcomeSummary]) -> bytes:
    """Pack outcomes by the start of their window, in seconds since 1970, for storage."""
    wire = {start: _pack_outcome(outcome) for start, outcome in sorted(outcomes.items())}
    return zstandard.compress(msgspec.msgpack.encode(wire), _COMPRESSION)


def decode_outcomes(data: bytes) -> dict[int, OutcomeSummary]:
    """Unpack what `encode_outcomes` packed; raises `UnreadableSummary`."""
    try:
        wire = msgspec.msgpack.decode(zstandard.decompress(data), type=dict[int, bytes])
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise UnreadableSummary(
            f"{len(data)} bytes are not outcomes of windows ({error}); recompute this window from the log."
        ) from error
    return {start: _unpack_outcome(outcome) for start, outcome in wire.items()}


def summarise_window(
    *,
    rows: int,
    features: Mapping[str, ArrayLike],
    centres: Mapping[str, float],
    prediction: ArrayLike | None = None,
    score: ArrayLike | None = None,
    latency_ms: ArrayLike | None = None,
    outcome: OutcomeSummary | None = None,
    labelled: int = 0,
    label_lag_s: ArrayLike | None = None,
) -> WindowSummary:
    """Summarise one window's columns: a feature with a centre is numeric, any other is categorical.

    Values of another type than their feature's are counted as `wrong_type` and no more. A numeric (regression)
    prediction is summarised around the centre named `prediction`, when there is one.
    """
    return WindowSummary(
        rows=rows,
        features={name: _summarise_feature(values, centres.get(name)) for name, values in features.items()},
        prediction=None if prediction is None else _summarise(prediction, centres.get("prediction")),
        score=None if score is None else summarise_numbers(score, centre=0.0),
        latency_ms=None if latency_ms is None else summarise_numbers(latency_ms, centre=0.0),
        outcome=outcome,
        labelled=labelled,
        label_lag_s=None if label_lag_s is None else summarise_numbers(label_lag_s, centre=0.0),
    )


def _summarise_feature(values: ArrayLike, centre: float | None) -> ColumnSummary:
    return summarise_texts(values) if centre is None else summarise_numbers(values, centre=centre)


def _summarise(values: ArrayLike, centre: float | None) -> ColumnSummary:
    if centre is None:
        return summarise_categories(values)  # type: ignore[arg-type]
    return summarise_numbers(values, centre=centre)


def merge_windows(windows: Sequence[WindowSummary]) -> WindowSummary:
    """Add up windows of one model version; a column that some windows lack comes from those that have it."""
    names = dict.fromkeys(name for window in windows for name in window.features)
    outcomes = [window.outcome for window in windows if window.outcome]
    return WindowSummary(
        rows=sum(window.rows for window in windows),
        features={
            name: merge_columns([window.features[name] for window in windows if name in window.features])
            for name in names
        },
        prediction=_merge_present([window.prediction for window in windows]),
        score=_merge_numbers_present([window.score for window in windows]),
        latency_ms=_merge_numbers_present([window.latency_ms for window in windows]),
        outcome=merge_outcomes(outcomes) if outcomes else None,
        labelled=sum(window.labelled for window in windows),
        label_lag_s=_merge_numbers_present([window.label_lag_s for window in windows]),
    )


def merge_columns(columns: Sequence[ColumnSummary]) -> ColumnSummary:
    """Add up summaries of one column. Where it is numeric in any of them, categories that are no numbers are of the
    wrong type.
    """
    numeric = [column for column in columns if isinstance(column, NumericSummary)]
    categorical = [column for column in columns if isinstance(column, CategoricalSummary)]
    if not numeric:
        return merge_categories(categorical)
    return merge_numbers([*numeric, *(as_numbers(column, numeric[0].centre) for column in categorical)])


def as_numbers(column: ColumnSummary, centre: float) -> NumericSummary:
    """Read numbers that were counted as categories, as a regression's answers once were.

    Those beyond the levels that are kept are missing, or of the wrong type where any level is.
    """
    if isinstance(column, NumericSummary):
        return column
    levels = {level: _as_number(level) for level in column.counts}
    known = {level: value for level, value in levels.items() if value is not None}
    counts = [column.counts[level] for level in known]
    numbers = summarise_numbers(np.repeat(np.array(list(known.values()), np.float64), counts), centre=centre)
    wrong_type = sum(column.counts.values()) - sum(counts)
    return replace(
        numbers,
        missing=numbers.missing + column.missing + (0 if wrong_type else column.rest),
        wrong_type=column.wrong_type + wrong_type + (column.rest if wrong_type else 0),
    )


def _as_number(level: str) -> float | None:
    try:
        return float(level)
    except ValueError:
        return None


def _merge_present(columns: Sequence[ColumnSummary | None]) -> ColumnSummary | None:
    present = [column for column in columns if column is not None]
    return merge_columns(present) if present else None


def _merge_numbers_present(columns: Sequence[NumericSummary | None]) -> NumericSummary | None:
    present = [column for column in columns if column is not None]
    return merge_numbers(present) if present else None


class _Window(msgspec.Struct, array_like=True, frozen=True):
    format: int
    rows: int
    labelled: int
    features: dict[str, bytes]
    prediction: bytes | None
    score: bytes | None
    latency_ms: bytes | None
    label_lag_s: bytes | None
    outcome: bytes | None


# New fields come last and have defaults: summaries that were stored without them still decode.
class _Numbers(msgspec.Struct, array_like=True, frozen=True, tag="n"):
    centre: float
    n: int
    missing: int
    infinite: int
    minimum: float
    maximum: float
    total: float
    total_sq: float
    key_steps: bytes
    count_width: int
    counts: bytes
    means: bytes
    wrong_type: int = 0


class _Categories(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    counts: dict[str, int]
    rest: int
    missing: int
    n: int
    wrong_type: int = 0


class _Binary(msgspec.Struct, array_like=True, frozen=True, tag="binary"):
    confusion: tuple[int, int, int, int]
    n: int
    log_loss: Moments
    brier: Moments
    positives: bytes
    negatives: bytes


class _Multiclass(msgspec.Struct, array_like=True, frozen=True, tag="multiclass"):
    classes: tuple[str, ...]
    confusion: list[int]
    unknown: int
    log_loss: Moments
    brier: Moments | None = None
    right: bytes | None = None
    wrong: bytes | None = None


class _Regression(msgspec.Struct, array_like=True, frozen=True, tag="regression"):
    error: Moments
    absolute_error: Moments
    squared_error: Moments
    label_mean: float
    label_spread: float
    relative_error: Moments | None = None
    zero_labels: int = 0
    magnitude: bytes | None = None
    shape: ErrorShape | None = None
    ranking: RankingSummary | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_column = msgspec.msgpack.Decoder(_Numbers | _Categories).decode
_decode_outcome = msgspec.msgpack.Decoder(_Binary | _Multiclass | _Regression).decode


def _pack_column(column: ColumnSummary) -> bytes:
    if isinstance(column, CategoricalSummary):
        return _encode(_Categories(column.counts, column.rest, column.missing, column.n, column.wrong_type))
    largest = int(column.counts.max(initial=0))
    count_type = next(kind for kind in _COUNT_TYPES if largest <= np.iinfo(kind).max)
    return _encode(
        _Numbers(
            column.centre, column.n, column.missing, column.infinite, column.minimum, column.maximum,
            column.total, column.total_sq,
            key_steps=shuffle(np.diff(column.keys, prepend=np.uint16(0))),
            count_width=np.dtype(count_type).itemsize,
            counts=shuffle(column.counts.astype(count_type)),
            means=shuffle(column.offsets.astype(np.float32)),
            wrong_type=column.wrong_type,
        )
    )  # fmt: skip


def _unpack_column(data: bytes) -> ColumnSummary:
    wire = _decode_column(data)
    if isinstance(wire, _Categories):
        return CategoricalSummary(wire.counts, wire.rest, wire.missing, wire.n, wire.wrong_type)
    keys = np.cumsum(unshuffle(wire.key_steps, np.uint16), dtype=np.uint16)
    counts = unshuffle(wire.counts, f"u{wire.count_width}").astype(np.int64)
    return NumericSummary(
        centre=wire.centre, keys=keys, counts=counts,
        sums=np.multiply(unshuffle(wire.means, np.float32), counts, dtype=np.float64),
        n=wire.n, missing=wire.missing, infinite=wire.infinite, minimum=wire.minimum, maximum=wire.maximum,
        total=wire.total, total_sq=wire.total_sq, wrong_type=wire.wrong_type,
    )  # fmt: skip


def _unpack_numbers(data: bytes | None) -> NumericSummary | None:
    column = _unpack_column(data) if data else None
    assert not isinstance(column, CategoricalSummary)
    return column


def _pack_outcome(outcome: OutcomeSummary) -> bytes:
    match outcome:
        case BinaryOutcomeSummary():
            return _encode(
                _Binary(
                    (outcome.tp, outcome.fp, outcome.tn, outcome.fn), outcome.n, outcome.log_loss,
                    outcome.brier, _pack_column(outcome.positives), _pack_column(outcome.negatives),
                )
            )  # fmt: skip
        case MulticlassOutcomeSummary():
            return _encode(
                _Multiclass(
                    outcome.classes, outcome.confusion.ravel().tolist(), outcome.unknown, outcome.log_loss,
                    outcome.brier, _pack_column(outcome.right), _pack_column(outcome.wrong),
                )
            )  # fmt: skip
        case RegressionOutcomeSummary():
            return _encode(
                _Regression(
                    outcome.error, outcome.absolute_error, outcome.squared_error, outcome.label_mean,
                    outcome.label_spread, outcome.relative_error, outcome.zero_labels,
                    _pack_column(outcome.magnitude), outcome.shape, outcome.ranking,
                )
            )  # fmt: skip


def _unpack_outcome(data: bytes) -> OutcomeSummary:
    wire: _Binary | _Multiclass | _Regression = _decode_outcome(data)
    match wire:
        case _Binary():
            positives, negatives = _unpack_numbers(wire.positives), _unpack_numbers(wire.negatives)
            assert positives is not None
            assert negatives is not None
            return BinaryOutcomeSummary(
                wire.n, *wire.confusion, wire.log_loss, wire.brier, positives, negatives
            )
        case _Multiclass():
            k = len(wire.classes)
            confusion = np.array(wire.confusion, dtype=np.int64).reshape(k, k)
            return MulticlassOutcomeSummary(
                wire.classes, confusion, wire.unknown, wire.log_loss, wire.brier or NO_LOSSES,
                _unpack_numbers(wire.right) or NO_NUMBERS, _unpack_numbers(wire.wrong) or NO_NUMBERS,
            )  # fmt: skip
        case _Regression():
            return RegressionOutcomeSummary(
                wire.error, wire.absolute_error, wire.squared_error, wire.label_mean, wire.label_spread,
                wire.relative_error or NO_LOSSES, wire.zero_labels,
                _unpack_numbers(wire.magnitude) or NO_NUMBERS, wire.shape, wire.ranking,
            )  # fmt: skip
