"""Turns columns of a file into the arrays that the log takes, and collects what is wrong with which row."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from driftline.base.periods import parse_timestamp, to_us
from driftline.base.strict_json import printable
from inference.data_files.arrow_types import is_text
from inference.data_files.vectors import lengths_of, matrix_of
from inference.prediction_log.items import as_objects, class_text
from inference.vector_names import MAX_DIMENSION, MIN_DIMENSION
from inference.vectors import describe_vectors

type Values = NDArray[Any]
type Mask = NDArray[np.bool_]

_FLOAT64 = pa.float64()
MAX_TEXT_BYTES = 64 << 10  # of all texts of a row, as in the logging API
_TRUTHS = {"true": "1", "false": "0"}


@dataclass(frozen=True)
class RowFault:
    """What is wrong with one row: the column, a stable code, and a sentence."""

    column: str
    code: str
    detail: str


@dataclass
class Refusals:
    """The rows of a block that cannot be kept, by their index; of several faults of a row the first counts."""

    rows: int
    faults: dict[int, RowFault] = field(default_factory=dict)

    def add(self, row: int, column: str, code: str, detail: str) -> None:
        self.faults.setdefault(row, RowFault(column, code, detail))

    def where(self, mask: Mask, column: str, code: str, detail: str | Callable[[int], str]) -> None:
        """Refuse the rows that `mask` marks."""
        for row in np.flatnonzero(mask).tolist():
            self.add(row, column, code, detail if isinstance(detail, str) else detail(row))

    def good(self) -> NDArray[np.int64]:
        """Return the rows that nothing is wrong with."""
        mask = np.ones(self.rows, bool)
        mask[list(self.faults)] = False
        return np.flatnonzero(mask)


# -- columns -----------------------------------------------------------------------------------------------------------
def numbers(table: pa.Table, name: str, refusals: Refusals, code: str = "wrong_type") -> NDArray[np.float64]:
    """Read numbers; a missing one is NaN, true is 1."""
    column = _flat(table[name])
    if column.type == _FLOAT64 and not column.null_count:
        return _float64(column)
    if not is_text(column.type):
        column = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        return _float64(column.cast(pa.float64(), safe=False))
    try:
        return _float64(column.cast(pa.float64()))
    except pa.ArrowInvalid:
        values = np.full(len(column), np.nan)
        for row, text in enumerate(texts(table, name, refusals)):
            if text is not None:
                try:
                    values[row] = float(_TRUTHS.get(text.lower(), text))
                except ValueError:
                    refusals.add(
                        row, name, code, f"'{printable(text)}' in the column {name[:100]!r} is no number."
                    )
        return values


def vectors(
    table: pa.Table, name: str, refusals: Refusals
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Read lists of numbers as the features that vectors become, and each row's dimension, 0 where it has none."""
    column = table[name].combine_chunks()
    dimensions = lengths_of(column)
    given = column.is_valid().to_numpy(zero_copy_only=False)
    outside = given & ((dimensions < MIN_DIMENSION) | (dimensions > MAX_DIMENSION))
    refusals.where(
        outside,
        name,
        "invalid_vector",
        lambda row: (
            f"A vector has {MIN_DIMENSION} to {MAX_DIMENSION:,} numbers; the column {name[:100]!r} holds "
            f"{dimensions[row]:,} here."
        ),
    )
    dimensions[outside] = 0
    features: dict[str, NDArray[np.float64]] = {}
    for dimension in np.unique(dimensions[dimensions > 0]).tolist():
        places = np.flatnonzero(dimensions == dimension)
        for part, values in describe_vectors(name, matrix_of(column, places)).items():
            features.setdefault(part, np.full(len(dimensions), np.nan))[places] = values
    return features, dimensions


def texts(table: pa.Table, name: str, refusals: Refusals) -> Values:
    """Read texts; a missing one is None, a number is written as a class is."""
    column = table[name].combine_chunks()
    if pa.types.is_dictionary(column.type):
        return _decoded(column, name, refusals)
    if not is_text(column.type):
        return as_objects([None if value is None else class_text(value) for value in column.to_pylist()])
    return _strings(column, name, refusals)


def _decoded(column: pa.DictionaryArray, name: str, refusals: Refusals) -> Values:
    """Read each text of a dictionary once; one that is too long is never repeated in memory."""
    known = Refusals(len(column.dictionary))
    words = as_objects([*_strings(column.dictionary, name, known), None])
    indices = column.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    if known.faults:
        for row, index in enumerate(indices.tolist()):
            if fault := known.faults.get(index):
                refusals.add(row, fault.column, fault.code, fault.detail)
    return words[indices]


def _strings(column: pa.Array, name: str, refusals: Refusals) -> Values:
    if _are_plain(column):
        plain: Values = column.to_numpy(zero_copy_only=False)
        return plain
    raw = column.cast(pa.large_binary())
    lengths = pc.binary_length(raw).fill_null(0).to_numpy(zero_copy_only=False)
    too_long = lengths > MAX_TEXT_BYTES
    if too_long.any():
        refusals.where(
            too_long,
            name,
            "item_too_large",
            lambda row: f"The column {name[:100]!r} holds {lengths[row]:,} bytes; a row has at most 64 KiB.",
        )
        raw = pc.if_else(pa.array(too_long), None, raw)
        column = raw.cast(pa.large_string(), safe=False)
    try:
        column.validate(full=True)
        values: Values = column.to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        values = _decode_each(raw, name, refusals)
    return _without_nul(values, raw, name, refusals)


def _are_plain(column: pa.Array) -> bool:
    """Return whether texts that are ASCII, without NUL, cannot be too long either: most columns are looked at once."""
    _, offsets, content = column.buffers()
    if not len(column) or offsets is None or content is None:
        return False
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    bounds = np.frombuffer(offsets, kind, len(column) + 1, column.offset * np.dtype(kind).itemsize)
    characters = np.frombuffer(content, np.int8)[bounds[0] : bounds[-1]]
    return bool(np.diff(bounds).max(initial=0) <= MAX_TEXT_BYTES and characters.min(initial=1) > 0)


def _decode_each(raw: pa.Array, name: str, refusals: Refusals) -> Values:
    values = as_objects(raw.to_pylist())
    for row, value in enumerate(values):
        if value is not None:
            try:
                values[row] = value.decode()
            except UnicodeDecodeError:
                values[row] = None
                refusals.add(row, name, "invalid_text", f"The column {name[:100]!r} is not UTF-8 here.")
    return values


def _without_nul(values: Values, raw: pa.Array, name: str, refusals: Refusals) -> Values:
    has_nul = pc.match_substring(raw, b"\x00").fill_null(False).to_numpy(zero_copy_only=False)
    if has_nul.any():
        refusals.where(
            has_nul, name, "invalid_text", f"The column {name[:100]!r} holds a NUL, which cannot be kept."
        )
        values = values.copy()
        values[has_nul] = None
    return values


def moments(table: pa.Table, name: str, refusals: Refusals) -> tuple[NDArray[np.int64], Mask]:
    """Read times as microseconds, and tell which are there. Those without a zone in a Parquet file are UTC."""
    column = _flat(table[name])
    given = column.is_valid().to_numpy(zero_copy_only=False)
    if is_text(column.type):
        try:
            column = column.cast(pa.timestamp("us", "UTC"))
        except pa.ArrowInvalid:
            return _parsed(table, name, refusals), given
    elif not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        detail = f"The column {name!r} is of type {column.type}, not a time."
        refusals.where(np.ones(len(column), bool), name, "invalid_timestamp", detail)
        return np.zeros(len(column), np.int64), given
    us = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    return us.fill_null(0).to_numpy(zero_copy_only=False), given


def _parsed(table: pa.Table, name: str, refusals: Refusals) -> NDArray[np.int64]:
    us = np.zeros(table.num_rows, np.int64)
    for row, text in enumerate(texts(table, name, refusals)):
        if text is not None:
            try:
                us[row] = to_us(parse_timestamp(text))
            except (ValueError, OverflowError):
                detail = f"'{printable(text)}' is not a time with a zone, such as 2026-01-31T12:00:00Z."
                refusals.add(row, name, "invalid_timestamp", detail)
    return us


def classes(table: pa.Table, name: str, refusals: Refusals) -> Values:
    """Read classes as they are compared: 1, 1.0 and true are all `1`, whichever way a CSV writes them."""
    values = texts(table, name, refusals)
    if not is_text(_value_type(table[name].type)):
        return values
    written = {text: _class(text) for text in set(values)}
    return (
        values if all(a is b for a, b in written.items()) else as_objects([written[text] for text in values])
    )


def _class(text: str | None) -> str | None:
    if text is None or len(text) > 40:
        return text
    if text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    whole, dot, rest = text.partition(".")
    return whole if dot and whole.lstrip("-").isdigit() and rest and not rest.strip("0") else text


def fill_missing(values: Values, text: str) -> None:
    """Put `text` where one is missing."""
    if None in values.tolist():
        values[is_missing(values)] = text


def is_missing(values: Values) -> Mask:
    """Return where texts are missing."""
    return np.array([value is None for value in values.tolist()], bool)


# -- parts -------------------------------------------------------------------------------------------------------------
def _flat(column: pa.ChunkedArray) -> pa.Array:
    joined = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return joined.dictionary_decode() if pa.types.is_dictionary(joined.type) else joined


def _float64(column: pa.Array) -> NDArray[np.float64]:
    return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
