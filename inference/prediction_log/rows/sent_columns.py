"""Items of one request held as columns, the way the log keeps them: what a batch costs is then paid once a column."""

import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, repeat, starmap
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from driftline.base.errors import Problem
from driftline.base.ids import ID_LENGTH, is_printable
from driftline.base.periods import parse_timestamp, to_us
from inference.prediction_log.items import Arrived, ItemFault, as_objects, class_text
from inference.prediction_log.rows.body_hash import hash_items
from inference.prediction_log.rows.sent_items import (
    AHEAD,
    DEFAULT_ROLE,
    NUMERIC_TASKS,
    OPTIONAL_FIELDS,
    RETENTION,
    FeatureValue,
    Refused,
    SentPrediction,
    Value,
    check_feature_names,
    check_outcome,
    check_probabilities,
    check_role,
    check_subject,
    check_tags,
    check_vectors,
    check_version,
    is_latency,
    is_probability,
)
from inference.vector_names import DIRECTIONS, part_names
from inference.vectors import describe_rows

type Values = NDArray[Any]

_NUMBERS = {float, int, bool, type(None)}
_MANY_CHARACTERS = 5_000  # an item with fewer, in all its texts, stays below the cap on its bytes
MAX_CELLS = 20_000_000
"""Of a request: its items, times the features that any of them has."""
_US = timedelta(microseconds=1)
_PLAIN_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z"
)  # NumPy reads it
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class SentColumns:
    """Predictions that another server made, one entry an item in each column.

    A feature's column holds float64 with NaN for missing, or objects as they were sent where any value is text. Vectors
    are there as the numbers that `inference.vectors` makes of them; `dimensions` tells how long each was, 0 for none.
    `probabilities` holds float64, objects where any item names its classes, or is None where no item has any.
    """

    places: NDArray[np.int64]  # the item's index in the request
    ids: Values
    times_us: NDArray[np.int64]  # event time
    versions: Values
    roles: Values
    predictions: Values  # the class's text, or float64
    probabilities: Values | None
    latency_ms: NDArray[np.float64]  # NaN where nobody measured it
    subjects: Values
    tags: Values
    features: dict[str, Values]
    body_hash: NDArray[np.int64]  # 63 bits of what was sent: tells a repetition from a conflict
    absent: dict[str, NDArray[np.bool_]] = field(
        default_factory=dict
    )  # where items lack a feature others have
    dimensions: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, where: NDArray[np.generic]) -> "SentColumns":
        """Keep the items that `where` (mask or indices) picks."""
        return SentColumns(
            probabilities=None if self.probabilities is None else self.probabilities[where],
            features={name: values[where] for name, values in self.features.items()},
            absent={name: mask[where] for name, mask in self.absent.items()},
            dimensions={name: values[where] for name, values in self.dimensions.items()},
            **{name: getattr(self, name)[where] for name in _PLAIN},
        )


_PLAIN = (
    "places",
    "ids",
    "times_us",
    "versions",
    "roles",
    "predictions",
    "latency_ms",
    "subjects",
    "tags",
    "body_hash",
)


@dataclass(frozen=True)
class PredictionBatch(Arrived):
    """A request's predictions that can be kept, and by its place what is wrong with each other item."""

    columns: SentColumns
    faults: dict[int, ItemFault] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns) + len(self.faults)


# -- from rows to columns ----------------------------------------------------------------------------------------------
def columns_of(
    rows: Sequence[SentPrediction],
    *,
    task: str,
    skew: timedelta | None = None,
    places: Sequence[int] | None = None,
) -> SentColumns:
    """Turn items that were checked one by one into columns."""
    return _transposed(_Fields(rows), task=task, skew=skew, places=places)


def columns_if_plain(
    rows: Sequence[Any],
    *,
    task: str,
    now: datetime,
    skew: timedelta | None,
    colons: int,
    numbers: tuple[str, ...] = (),
) -> SentColumns | None:
    """Turn items into columns and check them there; None where anything needs a closer look.

    `colons` is how many the items have in the body: fewer were decoded where a key came twice. `numbers` names the
    features where the items hold them in a struct of numbers.
    """
    sent = _Fields(rows, numbers)
    try:
        columns = _transposed(sent, task=task, skew=skew, places=None)
        is_plain = _is_plain(sent, columns, task=task, now=now)
    except (Refused, ValueError, OverflowError):
        return None
    return columns if is_plain and _count_colons(sent, columns) == colons else None


class _Fields:
    """The items of a request by field, as they were sent."""

    def __init__(self, rows: Sequence[Any], numbers: tuple[str, ...] = ()) -> None:
        fields: Iterable[Any] = (
            zip(*map(msgspec.structs.astuple, rows), strict=True) if rows else repeat((), 10)
        )
        self.id: Sequence[str]
        self.timestamp: Sequence[str]
        self.version: Sequence[str]
        self.features: Sequence[Any]  # mappings, or structs of `numbers`
        self.prediction: Sequence[Value]
        self.id, self.timestamp, self.version, self.features, self.prediction, *optional = fields
        self.optional = dict(zip(OPTIONAL_FIELDS, optional, strict=True))
        self.numbers = numbers
        # the names of an item's features -> items
        self.names = Counter({numbers: len(rows)} if numbers else map(tuple, self.features))

    def named(self, field: str) -> list[Mapping[str, object]]:
        """The objects in an optional field."""
        values = self.optional[field]
        return (
            []
            if values.count(UNSET) == len(values)
            else [value for value in values if isinstance(value, dict)]
        )

    def given(self, field: str) -> Sequence[Any]:
        """An optional field of each item; None where it was left out."""
        values = self.optional[field]
        if values.count(UNSET) == len(values):
            return [None] * len(values)
        return [None if value is UNSET else value for value in values]


def _transposed(
    sent: _Fields, *, task: str, skew: timedelta | None, places: Sequence[int] | None
) -> SentColumns:
    sent_us = _microseconds(sent.timestamp)
    columns: dict[str, Any] = {
        "ids": as_objects(sent.id),
        "versions": as_objects(sent.version),
        "roles": as_objects([role or DEFAULT_ROLE for role in sent.given("role")]),
        "predictions": _predictions(sent.prediction, task=task),
        "probabilities": _probabilities(sent.given("probabilities"), task=task),
        "latency_ms": np.array(sent.given("latency_ms"), np.float64),
        "subjects": as_objects(sent.given("subject")),
        "tags": as_objects([tags or None for tags in sent.given("tags")]),
    }
    features, dimensions = _features(sent)
    hashed = {name: values for name, values in columns.items() if name != "ids" and values is not None}
    hashed |= {f"features/{name}": values for name, values in features.items()}
    return SentColumns(
        places=np.arange(len(sent.id)) if places is None else np.array(places, np.int64),
        times_us=sent_us + (skew // _US if skew else 0),
        features=features,
        absent=_absent_parts(_absent(sent), dimensions),
        dimensions=dimensions,
        body_hash=hash_items(sent_us, hashed),
        **columns,
    )


def _microseconds(texts: Sequence[str]) -> NDArray[np.int64]:
    if all(map(_PLAIN_TIME.fullmatch, texts)):
        return np.array([text[:-1] for text in texts], "M8[us]").astype(np.int64)
    return np.array([to_us(parse_timestamp(text)) for text in texts], np.int64)


def _predictions(given: Sequence[Value], *, task: str) -> Values:
    if task in NUMERIC_TASKS:
        return np.array(given, np.float64)
    texts = {value: class_text(value) for value in set(given)}  # 1, 1.0 and true are one key and one text
    return as_objects([texts[value] for value in given])


def _probabilities(given: Sequence[Any], *, task: str) -> Values | None:
    if given.count(None) == len(given):
        return None
    if any(isinstance(value, dict) for value in given):
        return as_objects([check_probabilities(value, task=task) for value in given])
    numbers = np.array(given, np.float64)
    if task != "binary" or not (np.isnan(numbers) | is_probability(numbers)).all():
        for value in given:
            check_probabilities(value, task=task)
    return numbers.clip(0.0, 1.0)


def _features(sent: _Fields) -> tuple[dict[str, Values], dict[str, NDArray[np.int64]]]:
    """Turn rows into a column a feature, and vectors into several with their dimensions; a feature that a row lacks is
    missing there.
    """
    if sent.numbers:
        return _numeric_features(list(map(msgspec.structs.astuple, sent.features)), sent.numbers), {}
    rows, names = sent.features, tuple(dict.fromkeys(chain.from_iterable(sent.names)))
    _check_cells(len(rows) * len(names))
    if len(names) < 2 or any(len(key) < len(names) for key in sent.names):
        table = [tuple([row.get(name) for name in names]) for row in rows]
    else:
        table = list(map(itemgetter(*names), rows))
    if set(map(type, chain.from_iterable(table))) <= _NUMBERS:
        return _numeric_features(table, names), {}
    features: dict[str, Values] = {}
    dimensions: dict[str, NDArray[np.int64]] = {}
    columns = dict(zip(names, zip(*table, strict=True), strict=True))
    vectors = {name for name, values in columns.items() if list in set(map(type, values))}
    _check_cells(len(rows) * (len(names) + DIRECTIONS * len(vectors)))
    for name, values in columns.items():
        if name in vectors:
            parts, dimensions[name] = describe_rows(
                name, [value if type(value) is list else None for value in values]
            )
            features |= parts
            values = tuple(None if type(value) is list else value for value in values)
            if values.count(None) == len(values):
                continue
        features[name] = _column(values)
    return features, dimensions


def _check_cells(cells: int) -> None:
    """Raise Problem where items have so few names in common that a column for each name would fill the memory."""
    if cells > MAX_CELLS:
        detail = (
            f"The items together have {cells:,} values, those counted that others have and they lack, and a vector as "
            f"{DIRECTIONS + 1}; send up to {MAX_CELLS:,} at once, in several requests."
        )
        raise Problem(413, "too_many_values", detail)


def _absent(sent: _Fields) -> dict[str, NDArray[np.bool_]]:
    """Mark the items that lack a feature, for each that not all have; the masks are few, as most batches have none."""
    if len(sent.names) < 2:
        return {}
    count, having = len(sent.id), Counter[str]()
    for names, items in sent.names.items():
        having.update(dict.fromkeys(names, items))
    return {
        name: np.fromiter((name not in row for row in sent.features), bool, count)
        for name, items in having.items()
        if items < count
    }


def _absent_parts(
    absent: dict[str, NDArray[np.bool_]], dimensions: Mapping[str, NDArray[np.int64]]
) -> dict[str, NDArray[np.bool_]]:
    """Mark the items that lack a vector for each of the numbers that are made of it, too."""
    of_parts = {
        part: absent[name]
        for name, lengths in dimensions.items()
        if name in absent
        for part in part_names(name, int(lengths.max()))
    }
    return absent | of_parts


def _numeric_features(table: Sequence[tuple[Any, ...]], names: tuple[str, ...]) -> dict[str, Values]:
    numbers = _matrix(table, len(names)).reshape(len(table), len(names))
    return dict(zip(names, np.ascontiguousarray(numbers.T), strict=True))


def _matrix(table: Sequence[tuple[Any, ...]], width: int) -> NDArray[np.float64]:
    """Read rows of numbers; NumPy looks at each of them several times, but takes None for NaN."""
    try:
        return np.frombuffer(b"".join(starmap(struct.Struct(f"{width}d").pack, table)), np.float64)
    except (struct.error, OverflowError):
        return np.array(table, np.float64)


def _column(values: Sequence[FeatureValue]) -> Values:
    return np.array(values, np.float64) if set(map(type, values)) <= _NUMBERS else as_objects(values)


# -- checks ------------------------------------------------------------------------------------------------------------
def _is_plain(sent: _Fields, columns: SentColumns, *, task: str, now: datetime) -> bool:
    """Check what `check_prediction` checks, each distinct value once; raises Refused, or gives False."""
    for version in set(sent.version):
        check_version(version)
    for role in set(sent.optional["role"]):
        check_role(role)
    for subject in set(sent.optional["subject"]):
        check_subject(subject)
    for names in sent.names:
        check_feature_names(names)
    for features in sent.features if columns.dimensions else ():
        check_vectors(features)
    for tags in filter(None, columns.tags):
        check_tags(tags)
    return (
        _are_outcomes(sent.prediction, task=task)
        and _are_ids(sent.id)
        and bool(
            ((columns.times_us >= to_us(now - RETENTION)) & (columns.times_us <= to_us(now + AHEAD))).all()
        )
        and bool((np.isnan(columns.latency_ms) | is_latency(columns.latency_ms)).all())
        and _are_small(sent, columns)
        and _are_in_range(sent, columns)
    )


def _are_ids(ids: Sequence[str]) -> bool:
    lengths = list(map(len, ids))
    return min(lengths) > 0 and max(lengths) <= ID_LENGTH and is_printable("".join(ids))


def _are_outcomes(given: Sequence[Value], *, task: str) -> bool:
    if task in NUMERIC_TASKS:
        return set(map(type, given)) <= {float, int}
    for value in set(given):
        check_outcome(value, task=task)
    return True


def _are_in_range(sent: _Fields, columns: SentColumns) -> bool:
    """Return whether no number can have been an integer beyond 64 bits: a struct of floats takes those too."""
    return not sent.numbers or not any((abs(values) >= 2.0**63).any() for values in columns.features.values())


def _are_small(sent: _Fields, columns: SentColumns) -> bool:
    """Return whether no item can come near the cap on its bytes: a number takes at most 25, a character 6."""
    texts = [values for values in columns.features.values() if values.dtype == object]
    characters = sum(len(name) + 5 for name in columns.features)
    characters += sum(max(len(value) for value in values if isinstance(value, str)) for values in texts)
    for name in ("tags", "probabilities"):
        characters += max((len(_encoder.encode(value)) for value in sent.named(name)), default=0)
    return characters <= _MANY_CHARACTERS


def _count_colons(sent: _Fields, columns: SentColumns) -> int:
    """Count the colons of the items' JSON, if each key in it was written once."""
    texts: list[Iterable[object]] = [sent.id, sent.timestamp, sent.version, sent.prediction]
    texts += [values for values in columns.features.values() if values.dtype == object]
    colons = 5 * len(sent.id) + sum(map(_colons_in, texts))
    for names, items in sent.names.items():
        colons += items * (len(names) + "".join(names).count(":"))
    for name, values in sent.optional.items():
        left_out = values.count(UNSET)
        if left_out < len(values):
            colons += len(values) - left_out + _colons_in(values) + sum(map(_colons_of, sent.named(name)))
    return colons


def _colons_of(named: Mapping[str, object]) -> int:
    return len(named) + _colons_in(named) + _colons_in(named.values())


def _colons_in(values: Iterable[object]) -> int:
    return "".join([value for value in values if type(value) is str]).count(":")
