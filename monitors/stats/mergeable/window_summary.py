"""One window of a model version as a mergeable, storable whole: features, answers, latency, outcomes.

Stored form: msgpack of raw arrays inside one zstd frame. Each column is a byte string of its own, so reading
one feature of a stored window unpacks that feature alone. Cell means are stored as float32 (a relative error
below 6e-8 of the distance to the centre); counts, totals, minimum and maximum are stored exactly. Few distinct values
are stored themselves where cells would not give them back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from struct import Struct

import msgspec
import numpy as np
import zstandard
from numpy.typing import ArrayLike

from monitors.stats.mergeable.byte_planes import shuffle, unshuffle, unshuffle_together
from monitors.stats.mergeable.class_scores import NO_SCORES, ClassScores
from monitors.stats.mergeable.expression_sums import ExpressionSums, merge_expressions
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
    MAX_DISTINCT,
    CategoricalSummary,
    Distinct,
    FloatArray,
    IntArray,
    NumericSummary,
    merge_categories,
    merge_numbers,
    summarise_categories,
    summarise_counted,
    summarise_distinct,
    summarise_numbers,
    summarise_texts,
    summarise_value,
)

ColumnSummary = NumericSummary | CategoricalSummary

_FORMAT = 1
_COMPRESSION = 3  # of a reference the bytes seed its draws: another level would give other limits
_COUNT_TYPES = (np.uint8, np.uint16, np.uint32, np.uint64)
_COUNT_WIDTHS = (1, 2, 4, 8)
_FLOAT, _DOUBLE = Struct("<f"), Struct("<d")


class UnreadableSummary(ValueError):
    """Stored bytes are not a window summary of this format."""


@dataclass(frozen=True, eq=False, slots=True)
class WindowSummary:
    """What is remembered of one window and segment.

    `score` is the probability of the positive class, or of several that of the answered one; `latency_ms` is
    per prediction; `outcome` covers the rows whose label has arrived and `labelled` counts them; `label_lag_s` is
    the time from prediction to label; `custom` holds the sums of custom metrics, each by its key.
    """

    rows: int
    features: dict[str, ColumnSummary]
    prediction: ColumnSummary | None = None
    score: NumericSummary | None = None
    latency_ms: NumericSummary | None = None
    outcome: OutcomeSummary | None = None
    labelled: int = 0
    label_lag_s: NumericSummary | None = None
    custom: Mapping[str, ExpressionSums] = field(default_factory=dict)

    def merge(self, other: WindowSummary) -> WindowSummary:
        """Add `other`, as if both windows had been summarised as one."""
        return merge_windows([self, other])

    def without(self, features: Collection[str]) -> WindowSummary:
        """Leave these features out; nothing else changes, `rows` included."""
        kept = {name: column for name, column in self.features.items() if name not in features}
        return replace(self, features=kept) if len(kept) < len(self.features) else self

    def encode(self) -> bytes:
        """Pack the window for storage."""
        wire = (_WindowWithCustom if self.custom else _Window)(
            format=_FORMAT,
            rows=self.rows,
            labelled=self.labelled,
            features={name: _pack_column(column) for name, column in self.features.items()},
            prediction=_pack_column(self.prediction) if self.prediction else None,
            score=_pack_column(self.score) if self.score else None,
            latency_ms=_pack_column(self.latency_ms) if self.latency_ms else None,
            label_lag_s=_pack_column(self.label_lag_s) if self.label_lag_s else None,
            outcome=_pack_outcome(self.outcome) if self.outcome else None,
            **({"custom": _pack_custom(self.custom)} if self.custom else {}),
        )
        return zstandard.compress(msgspec.msgpack.encode(wire), _COMPRESSION)

    @staticmethod
    def decode(data: bytes, *, features: Collection[str] | None = None) -> WindowSummary:
        """Unpack a stored window, with all features or only those named; raises `UnreadableSummary`."""
        wire = _read(data)
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
            custom=_unpack_custom(wire.custom),
        )


def merge_stored(
    stored: Sequence[bytes], *, features: Collection[str] | None = None, with_outcomes: bool = True
) -> tuple[WindowSummary, list[OutcomeSummary | None]]:
    """Add up stored windows of one model version, with all features or only those named; also return the outcome of
    each, or None.

    The sum is that of `merge_windows`, but for the order in which cells are added up, and takes a fraction of the
    time: few columns are unpacked by themselves. Raises `UnreadableSummary`.
    """
    wires = [_read(data) for data in stored]
    names = dict.fromkeys(name for wire in wires for name in wire.features)
    outcomes = [_unpack_outcome(wire.outcome) if wire.outcome and with_outcomes else None for wire in wires]
    known = [outcome for outcome in outcomes if outcome]
    merged = WindowSummary(
        rows=sum(wire.rows for wire in wires),
        features={
            name: _merge_packed([wire.features[name] for wire in wires if name in wire.features])
            for name in names
            if features is None or name in features
        },
        prediction=_merge_packed_present([wire.prediction for wire in wires]),
        score=_numbers(_merge_packed_present([wire.score for wire in wires])),
        latency_ms=_numbers(_merge_packed_present([wire.latency_ms for wire in wires])),
        outcome=merge_outcomes(known) if known else None,
        labelled=sum(wire.labelled for wire in wires),
        label_lag_s=_numbers(_merge_packed_present([wire.label_lag_s for wire in wires])),
        custom=merge_expressions(_unpack_custom(wire.custom) for wire in wires),
    )
    return merged, outcomes


_UNREADABLE = (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _read(data: bytes) -> _WindowWithCustom:
    try:
        return msgspec.msgpack.decode(zstandard.decompress(data), type=_WindowWithCustom)
    except _UNREADABLE as error:
        raise UnreadableSummary(
            f"{len(data)} bytes are not a window summary ({error}); recompute this window from the log."
        ) from error


def encode_outcomes(outcomes: Mapping[int, OutcomeSummary]) -> bytes:
    """Pack outcomes by the start of their window, in seconds since 1970, for storage."""
    wire = {start: _pack_outcome(outcome) for start, outcome in sorted(outcomes.items())}
    return zstandard.compress(msgspec.msgpack.encode(wire), _COMPRESSION)


def decode_outcomes(data: bytes) -> dict[int, OutcomeSummary]:
    """Unpack what `encode_outcomes` packed; raises `UnreadableSummary`."""
    try:
        wire = msgspec.msgpack.decode(zstandard.decompress(data), type=dict[int, bytes])
    except _UNREADABLE as error:
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
    custom: Mapping[str, ExpressionSums] | None = None,
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
        custom=custom or {},
    )


def _summarise_feature(values: ArrayLike, centre: float | None) -> ColumnSummary:
    return summarise_texts(values) if centre is None else summarise_numbers(values, centre=centre)


def _summarise(values: ArrayLike, centre: float | None) -> ColumnSummary:
    if centre is None:
        return summarise_categories(values)  # type: ignore[arg-type]
    return summarise_numbers(values, centre=centre)


def merge_windows(windows: Sequence[WindowSummary]) -> WindowSummary:
    """Add up windows of one model version; a column that some windows lack comes from those that have it."""
    if len(windows) == 1:
        return windows[0]
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
        custom=merge_expressions(window.custom for window in windows),
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


class _WindowWithCustom(_Window, array_like=True, frozen=True):
    """A window of a model with custom metrics; one without any keeps the bytes that it always had."""

    custom: dict[str, _Expression] = {}


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


class _Values(msgspec.Struct, array_like=True, frozen=True, tag="v"):
    centre: float
    missing: int
    infinite: int
    wrong_type: int
    count_width: int
    counts: bytes
    values: bytes


class _Categories(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    counts: dict[str, int]
    rest: int
    missing: int
    n: int
    wrong_type: int = 0


class _Expression(msgspec.Struct, array_like=True, frozen=True):
    rows: int
    left_out: int
    values: Moments
    minimum: float | None
    maximum: float | None
    divisors: Moments | None
    product: float
    sketch: bytes | None


class _Binary(msgspec.Struct, array_like=True, frozen=True, tag="binary"):
    confusion: tuple[int, int, int, int]
    n: int
    log_loss: Moments
    brier: Moments
    positives: bytes
    negatives: bytes


class _Scores(msgspec.Struct, array_like=True, frozen=True):
    dropped_bits: int
    step_width: int
    steps: bytes
    count_width: int
    counts: bytes


class _Multiclass(msgspec.Struct, array_like=True, frozen=True, tag="multiclass"):
    classes: tuple[str, ...]
    confusion: list[int]
    unknown: int
    log_loss: Moments
    brier: Moments | None = None
    right: bytes | None = None
    wrong: bytes | None = None
    scores: _Scores | None = None


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
_decode_column = msgspec.msgpack.Decoder(_Numbers | _Values | _Categories).decode
_ROUNDING = 1e-12  # share of a sum that adding up in another order may move it by
_decode_outcome = msgspec.msgpack.Decoder(_Binary | _Multiclass | _Regression).decode


def _pack_column(column: ColumnSummary) -> bytes:
    if isinstance(column, CategoricalSummary):
        return _encode(_Categories(column.counts, column.rest, column.missing, column.n, column.wrong_type))
    if column.keys.size == 1:
        return _pack_single(column)
    if column.distinct is not None and not _gives_back(column, column.distinct):
        return _pack_values(column, column.distinct)
    count_width, counts = _pack_counts(column.counts)
    return _encode(
        _Numbers(
            column.centre, column.n, column.missing, column.infinite, column.minimum, column.maximum,
            column.total, column.total_sq,
            key_steps=shuffle(np.diff(column.keys, prepend=np.uint16(0))),
            count_width=count_width,
            counts=counts,
            means=shuffle(column.offsets.astype(np.float32)),
            wrong_type=column.wrong_type,
        )
    )  # fmt: skip


def _pack_single(column: NumericSummary) -> bytes:
    """Pack a column of one cell to the bytes that one of several would be packed to: an hour of a row has many."""
    count, mean = int(column.counts[0]), _FLOAT.pack(column.sums[0] / column.counts[0])
    width = next(size for size in _COUNT_WIDTHS if count < 1 << 8 * size)
    counts = count.to_bytes(width, "little")
    if column.distinct is not None:
        values, [stored] = column.distinct.values, _FLOAT.unpack(mean)
        if values.size != 1:
            return _pack_values(column, column.distinct)
        if column.centre + stored != values[0]:
            return _encode(
                _Values(
                    column.centre, column.missing, column.infinite, column.wrong_type,
                    width, counts, _DOUBLE.pack(values[0]),
                )
            )  # fmt: skip
    return _encode(
        _Numbers(
            column.centre, column.n, column.missing, column.infinite, column.minimum, column.maximum,
            column.total, column.total_sq,
            key_steps=int(column.keys[0]).to_bytes(2, "little"), count_width=width, counts=counts, means=mean,
            wrong_type=column.wrong_type,
        )
    )  # fmt: skip


def _gives_back(column: NumericSummary, distinct: Distinct) -> bool:
    """Return whether the cells as they are stored are the distinct values."""
    if column.keys.size != distinct.values.size:
        return False
    stored = column.offsets.astype(np.float32).astype(np.float64)
    return bool((column.centre + stored == distinct.values).all())


def _pack_values(column: NumericSummary, distinct: Distinct) -> bytes:
    count_width, counts = _pack_counts(distinct.counts)
    return _encode(
        _Values(
            column.centre, column.missing, column.infinite, column.wrong_type,
            count_width, counts, shuffle(distinct.values),
        )
    )  # fmt: skip


def _pack_counts(counts: IntArray) -> tuple[int, bytes]:
    largest = int(counts.max(initial=0))
    count_type = next(kind for kind in _COUNT_TYPES if largest <= np.iinfo(kind).max)
    return np.dtype(count_type).itemsize, shuffle(counts.astype(count_type))


def _merge_packed_present(columns: Sequence[bytes | None]) -> ColumnSummary | None:
    present = [column for column in columns if column]
    return _merge_packed(present) if present else None


def _merge_packed(columns: Sequence[bytes]) -> ColumnSummary:
    """Unpack columns and add them up; those that are stored as their values are unpacked all at once."""
    wires = [_decode_column(data) for data in columns]
    values = [wire for wire in wires if isinstance(wire, _Values)]
    if len(values) < 2 or len({wire.centre for wire in values}) > 1:
        return merge_columns([_unpack_wire(wire) for wire in wires])
    others = [_unpack_wire(wire) for wire in wires if not isinstance(wire, _Values)]
    return merge_columns([_merge_values(values), *others])


def _merge_values(wires: Sequence[_Values]) -> NumericSummary:
    by_width: dict[int, list[_Values]] = {}
    for wire in wires:
        by_width.setdefault(wire.count_width, []).append(wire)
    counts = [
        unshuffle_together([wire.counts for wire in some], f"u{width}").astype(np.int64)
        for width, some in by_width.items()
    ]
    values = [
        unshuffle_together([wire.values for wire in some], np.float64).astype(np.float64, copy=False)
        for some in by_width.values()
    ]
    summary = summarise_counted(np.concatenate(values), np.concatenate(counts), centre=wires[0].centre)
    return replace(
        summary,
        missing=sum(wire.missing for wire in wires),
        infinite=sum(wire.infinite for wire in wires),
        wrong_type=sum(wire.wrong_type for wire in wires),
    )


def _unpack_column(data: bytes) -> ColumnSummary:
    return _unpack_wire(_decode_column(data))


def _unpack_wire(wire: _Numbers | _Values | _Categories) -> ColumnSummary:
    if isinstance(wire, _Categories):
        return CategoricalSummary(wire.counts, wire.rest, wire.missing, wire.n, wire.wrong_type)
    if len(wire.counts) == wire.count_width:
        return _unpack_single(wire, int.from_bytes(wire.counts, "little"))
    counts = unshuffle(wire.counts, f"u{wire.count_width}").astype(np.int64)
    if isinstance(wire, _Values):
        distinct = Distinct(unshuffle(wire.values, np.float64).astype(np.float64, copy=False), counts)
        return _with_others(summarise_distinct(distinct, centre=wire.centre), wire)
    keys = np.cumsum(unshuffle(wire.key_steps, np.uint16), dtype=np.uint16)
    means = unshuffle(wire.means, np.float32).astype(np.float64)
    return NumericSummary(
        centre=wire.centre, keys=keys, counts=counts, sums=means * counts,
        n=wire.n, missing=wire.missing, infinite=wire.infinite, minimum=wire.minimum, maximum=wire.maximum,
        total=wire.total, total_sq=wire.total_sq, wrong_type=wire.wrong_type,
        distinct=_read_distinct(wire, means, counts),
    )  # fmt: skip


def _unpack_single(wire: _Numbers | _Values, count: int) -> NumericSummary:
    """Unpack a column of one cell, without what several would take."""
    counts = np.array([count], np.int64)
    if isinstance(wire, _Values):
        [value] = _DOUBLE.unpack(wire.values)
        return _with_others(summarise_value(value, count, centre=wire.centre), wire)
    [mean] = _FLOAT.unpack(wire.means)
    return NumericSummary(
        centre=wire.centre, keys=np.array([int.from_bytes(wire.key_steps, "little")], np.uint16), counts=counts,
        sums=np.array([mean * count]), n=wire.n, missing=wire.missing, infinite=wire.infinite, minimum=wire.minimum,
        maximum=wire.maximum, total=wire.total, total_sq=wire.total_sq, wrong_type=wire.wrong_type,
        distinct=_read_distinct(wire, np.array([mean]), counts),
    )  # fmt: skip


def _with_others(summary: NumericSummary, wire: _Values) -> NumericSummary:
    """Add what a column has beside its values."""
    if not (wire.missing or wire.infinite or wire.wrong_type):
        return summary
    return replace(summary, missing=wire.missing, infinite=wire.infinite, wrong_type=wire.wrong_type)


def _read_distinct(wire: _Numbers, means: FloatArray, counts: IntArray) -> Distinct | None:
    """Return the distinct values, if each cell has one: then there is no spread within the cells.

    The stored sum of squares is that of the cells' means plus the spread around them.
    """
    values, squares = wire.centre + means, float(counts @ means**2)
    if values.size > MAX_DISTINCT or not abs(squares - wire.total_sq) <= _ROUNDING * squares:
        return None
    if values.size and (values[0], values[-1]) != (wire.minimum, wire.maximum):
        return None
    return Distinct(values, counts)


def _unpack_numbers(data: bytes | None) -> NumericSummary | None:
    return _numbers(_unpack_column(data) if data else None)


def _numbers(column: ColumnSummary | None) -> NumericSummary | None:
    assert not isinstance(column, CategoricalSummary)
    return column


def _pack_custom(custom: Mapping[str, ExpressionSums]) -> dict[str, _Expression]:
    return {
        key: _Expression(
            sums.rows, sums.left_out, sums.values, sums.minimum, sums.maximum, sums.divisors, sums.product,
            _pack_column(sums.sketch) if sums.sketch else None,
        )
        for key, sums in custom.items()
    }  # fmt: skip


def _unpack_custom(wire: Mapping[str, _Expression]) -> dict[str, ExpressionSums]:
    return {
        key: ExpressionSums(
            one.rows, one.left_out, one.values, one.minimum, one.maximum, one.divisors, one.product,
            _unpack_numbers(one.sketch),
        )
        for key, one in wire.items()
    }  # fmt: skip


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
                    _pack_scores(outcome.scores),
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
                _unpack_scores(wire.scores) if wire.scores else NO_SCORES,
            )  # fmt: skip
        case _Regression():
            return RegressionOutcomeSummary(
                wire.error, wire.absolute_error, wire.squared_error, wire.label_mean, wire.label_spread,
                wire.relative_error or NO_LOSSES, wire.zero_labels,
                _unpack_numbers(wire.magnitude) or NO_NUMBERS, wire.shape, wire.ranking,
            )  # fmt: skip


def _pack_scores(scores: ClassScores) -> _Scores | None:
    if not scores.steps.size:
        return None
    gaps = np.diff(scores.steps >> scores.dropped_bits, prepend=0)
    counts = np.concatenate([scores.positives, scores.negatives])
    return _Scores(scores.dropped_bits, *_pack_counts(gaps), *_pack_counts(counts))


def _unpack_scores(wire: _Scores) -> ClassScores:
    gaps = unshuffle(wire.steps, f"u{wire.step_width}").astype(np.int64)
    positives, negatives = unshuffle(wire.counts, f"u{wire.count_width}").astype(np.int64).reshape(2, -1)
    return ClassScores(np.cumsum(gaps) << wire.dropped_bits, positives, negatives, wire.dropped_bits)
