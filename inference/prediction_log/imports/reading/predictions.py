"""Reads a block of a file of predictions into the columns that the log takes, without a detour over JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.base.errors import UNREADABLE
from driftline.base.ids import ID_LENGTH, is_printable, is_valid_id
from driftline.base.periods import from_us, to_us
from inference.prediction_log.imports.reading import cells
from inference.prediction_log.imports.reading.cells import MAX_TEXT_BYTES, Refusals, Values
from inference.prediction_log.imports.reading.layout import CLASS_PREFIX, TAG_PREFIX, FileLayout
from inference.prediction_log.imports.reading.source import Block, UnreadableFile
from inference.prediction_log.items import LabelItem, as_objects
from inference.prediction_log.rows.body_hash import hash_items
from inference.prediction_log.rows.sent_columns import SentColumns
from inference.prediction_log.rows.sent_items import (
    AHEAD,
    DEFAULT_ROLE,
    NUMERIC_TASKS,
    RETENTION,
    SUM_TOLERANCE,
    Refused,
    check_outcome,
    check_role,
    check_subject,
    check_tags,
    check_version,
    is_latency,
    is_probability,
    label_text,
)

MAX_VERSIONS = 100
_US = timedelta(microseconds=1)
_tags = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True)
class Reading:
    """How the rows of one import are read."""

    layout: FileLayout
    task: str
    version: str
    """The version of rows that name none."""
    digest: str
    """SHA-256 of the file: rows without an id are named after it, so that importing it again adds nothing."""
    now: datetime
    skew: timedelta | None = None
    """By how much the sender's clock is behind ours, where that is to be corrected."""

    @property
    def skew_us(self) -> int:
        return self.skew // _US if self.skew else 0


@dataclass(frozen=True)
class ReadRows:
    """The rows that can be kept, the labels that they bring, and what is wrong with the others."""

    columns: SentColumns
    labels: list[LabelItem]
    refusals: Refusals
    ids: Values
    """Of all rows, also those that are refused; None where there is none."""


def read_predictions(block: Block, reading: Reading) -> ReadRows:
    """Read a block; the rows' indices in its table are their places."""
    layout, refusals = reading.layout, Refusals(block.table.num_rows)
    reader = _Reader(block, reading, refusals)
    columns: dict[str, Any] = {
        "versions": reader.versions(),
        "roles": reader.roles(),
        "predictions": reader.predictions(),
        "probabilities": reader.probabilities(),
        "latency_ms": reader.latencies(),
        "subjects": reader.subjects(),
        "tags": reader.tags(),
    }
    ids, times_us, (features, dimensions) = reader.ids(), reader.times(), reader.features()
    labels = reader.labels(ids) if "label" in layout.own else []
    _refuse_long_rows(features, refusals)
    hashed = {name: values for name, values in columns.items() if values is not None}
    hashed |= {f"features/{name}": values for name, values in features.items()}
    sent = SentColumns(
        places=np.arange(refusals.rows),
        ids=ids,
        times_us=times_us + reading.skew_us,
        features=features,
        body_hash=hash_items(times_us, hashed),
        dimensions=dimensions,
        **columns,
    )
    kept = sent.take(refusals.good()) if refusals.faults else sent
    return ReadRows(kept, [label for row, label in labels if row not in refusals.faults], refusals, ids)


class _Reader:
    """One block's columns, read one by one."""

    def __init__(self, block: Block, reading: Reading, refusals: Refusals) -> None:
        self._block, self._table = block, block.table
        self._reading, self._refusals = reading, refusals
        self._rows = block.table.num_rows
        self._names = set(block.table.column_names)

    def ids(self) -> Values:
        if not self._has("id"):
            return derived_ids(self._block, self._reading.digest)
        return read_ids(self._block, self._refusals)

    def times(self) -> NDArray[np.int64]:
        us, given = cells.moments(self._table, "timestamp", self._refusals)
        self._require(~given, "timestamp")
        meant = us + self._reading.skew_us
        outside = (meant < to_us(self._reading.now - RETENTION)) | (meant > to_us(self._reading.now + AHEAD))
        detail = f"The time is more than 10 minutes ahead or older than {RETENTION.days:,} days."
        self._refusals.where(outside & given, "timestamp", "timestamp_out_of_window", detail)
        return us

    def versions(self) -> Values:
        values = self._text("version")
        cells.fill_missing(values, self._reading.version)
        names = set(values)
        if len(names) > MAX_VERSIONS:
            raise UnreadableFile(
                f"More than {MAX_VERSIONS} versions follow each other from row {self._block.start.rows + 1:,} on; "
                "does the column 'version' hold something else?"
            )
        self._check_distinct(values, names, "version", check_version)
        return values

    def roles(self) -> Values:
        values = self._text("role")
        cells.fill_missing(values, DEFAULT_ROLE)
        self._check_distinct(values, set(values), "role", check_role)
        return values

    def subjects(self) -> Values:
        values = self._text("subject")
        self._check_distinct(values, set(values) - {None}, "subject", check_subject)
        return values

    def predictions(self) -> Values:
        if self._reading.task in NUMERIC_TASKS:
            numbers = cells.numbers(self._table, "prediction", self._refusals, "invalid_prediction")
            self._require(np.isnan(numbers), "prediction")
            self._refusals.where(
                np.isinf(numbers), "prediction", "invalid_prediction", "A prediction is a finite number."
            )
            return numbers
        values = cells.classes(self._table, "prediction", self._refusals)
        self._require(cells.is_missing(values), "prediction")
        task = self._reading.task
        self._check_distinct(
            values, set(values) - {None}, "prediction", lambda value: check_outcome(value, task=task)
        )
        return values

    def probabilities(self) -> Values | None:
        names = self._reading.layout.classes
        if names:
            return self._probabilities_by_class(names)
        if not self._has("probability"):
            return None
        values = self._probability("probability")
        return None if np.isnan(values).all() else values

    def _probabilities_by_class(self, names: list[str]) -> Values | None:
        matrix = np.stack([self._probability(CLASS_PREFIX + name) for name in names], axis=1)
        given = ~np.isnan(matrix)
        wrong = given.any(axis=1) & (np.abs(np.nansum(matrix, axis=1) - 1) > SUM_TOLERANCE)
        self._refusals.where(
            wrong,
            CLASS_PREFIX + names[0],
            "invalid_probability",
            lambda row: f"The probabilities sum to {np.nansum(matrix[row]):.6g}, not to 1.",
        )
        if not given.any():
            return None
        return as_objects(
            [
                {name: p for name, p in zip(names, row, strict=True) if p == p} or None
                for row in matrix.tolist()
            ]
        )

    def _probability(self, name: str) -> NDArray[np.float64]:
        values = cells.numbers(self._table, name, self._refusals, "invalid_probability")
        self._refusals.where(
            ~np.isnan(values) & ~is_probability(values),
            name,
            "invalid_probability",
            lambda row: f"A probability lies between 0 and 1; this is {values[row]:.10g}.",
        )
        clipped: NDArray[np.float64] = values.clip(0.0, 1.0)
        return clipped

    def latencies(self) -> NDArray[np.float64]:
        if not self._has("latency_ms"):
            return np.full(self._rows, np.nan)
        values = cells.numbers(self._table, "latency_ms", self._refusals, "invalid_latency")
        wrong = ~np.isnan(values) & ~is_latency(values)
        self._refusals.where(
            wrong, "latency_ms", "invalid_latency", "A latency lies between 0 ms and one day."
        )
        return values

    def tags(self) -> Values:
        names = self._reading.layout.tags
        if not names:
            return self._tags_as_json()
        columns = [self._text(TAG_PREFIX + name) for name in names]
        return as_objects(
            [
                {name: value for name, value in zip(names, row, strict=True) if value is not None} or None
                for row in zip(*columns, strict=True)
            ]
        )

    def _tags_as_json(self) -> Values:
        """Read the column `tags` of an export: an object of texts in each row."""
        texts = self._text("tags")
        if not self._has("tags"):
            return texts
        known: dict[str, dict[str, str] | None] = {}
        for text in set(texts) - {None}:
            try:
                known[text] = _tags.decode(text) or None
                check_tags(known[text])
            except (*UNREADABLE, Refused):
                detail = 'Tags are an object of at most 50 texts, such as {"shop": "web"}.'
                self._refusals.where(texts == text, "tags", "invalid_tags", detail)
        return as_objects([known.get(text) for text in texts])

    def features(self) -> tuple[dict[str, Values], dict[str, NDArray[np.int64]]]:
        """Read the features, vectors as what is kept of them, and the dimensions of these."""
        features: dict[str, Values] = {}
        dimensions: dict[str, NDArray[np.int64]] = {}
        for name, kind in self._reading.layout.features.items():
            if kind == "vector":
                parts, dimensions[name] = cells.vectors(self._table, name, self._refusals)
                features |= parts
            elif kind == "text":
                features[name] = cells.texts(self._table, name, self._refusals)
            else:
                features[name] = cells.numbers(self._table, name, self._refusals)
        return features, dimensions

    def labels(self, ids: Values) -> list[tuple[int, LabelItem]]:
        return read_labels(
            self._block,
            ids,
            self._refusals,
            reading=self._reading,
            time_column="label_timestamp",
            required=False,
        )

    def _has(self, name: str) -> bool:
        return name in self._reading.layout.own

    def _text(self, name: str) -> Values:
        if name in self._names:
            return cells.texts(self._table, name, self._refusals).copy()
        return np.full(self._rows, None, object)

    def _require(self, missing: NDArray[np.bool_], name: str) -> None:
        self._refusals.where(missing, name, "missing_field", f"The row has no {name}.")

    def _check_distinct(
        self, values: Values, names: set[Any], column: str, check: Callable[[Any], None]
    ) -> None:
        """Check each value once, and refuse the rows that hold one which cannot be kept."""
        for name in names:
            try:
                check(name)
            except Refused as refused:
                self._refusals.where(values == name, column, refused.code, refused.detail)


# -- what files of labels share ----------------------------------------------------------------------------------------
def read_ids(block: Block, refusals: Refusals) -> Values:
    """Read the column of ids, each of which must be one."""
    values = cells.texts(block.table, "id", refusals)
    texts = ["" if value is None else value for value in values]
    lengths = list(map(len, texts))
    if texts and (min(lengths) == 0 or max(lengths) > ID_LENGTH or not is_printable("".join(texts))):
        wrong = np.array([not is_valid_id(text) for text in texts])
        refusals.where(wrong, "id", "invalid_id", f"An id has 1 to {ID_LENGTH} printable characters.")
    return values


def derived_ids(block: Block, digest: str) -> Values:
    """Name rows after their file and their number in it; texts sort as the numbers do."""
    first = block.start.rows + 1
    return as_objects([f"import-{digest[:20]}-{first + place:010d}" for place in block.places.tolist()])


def read_labels(
    block: Block, ids: Values, refusals: Refusals, *, reading: Reading, time_column: str, required: bool
) -> list[tuple[int, LabelItem]]:
    """Read the column of labels with the rows that hold one; a label without a time counts as known at the event."""
    values = cells.classes(block.table, "label", refusals)
    if required:
        refusals.where(cells.is_missing(values), "label", "missing_field", "The row has no label.")
    known: dict[str, str] = {}
    for value in set(values) - {None}:
        try:
            known[value] = label_text(value, task=reading.task)
        except Refused as refused:
            refusals.where(values == value, "label", refused.code, refused.detail)
    times = _label_times(block, refusals, reading, time_column)
    return [
        (row, LabelItem(id_, known[value], moment, is_known_at_event=moment is None))
        for row, (id_, value, moment) in enumerate(zip(ids, values, times, strict=True))
        if value in known
    ]


def _label_times(block: Block, refusals: Refusals, reading: Reading, name: str) -> list[datetime | None]:
    if name not in block.table.column_names:
        return [None] * block.table.num_rows
    us, given = cells.moments(block.table, name, refusals)
    inside = (us >= to_us(reading.now - RETENTION)) & (us <= to_us(reading.now + AHEAD))
    detail = f"The time is more than 10 minutes ahead or older than {RETENTION.days:,} days."
    refusals.where(given & ~inside, name, "timestamp_out_of_window", detail)
    return [
        from_us(value) if is_usable else None
        for value, is_usable in zip(us.tolist(), (given & inside).tolist(), strict=True)
    ]


def _refuse_long_rows(features: dict[str, Values], refusals: Refusals) -> None:
    """Refuse rows whose texts are larger together than the logging API takes in one item."""
    columns = [values for values in features.values() if values.dtype == object]
    if not columns:
        return
    if sum(max(map(len, filter(None, values)), default=0) for values in columns) * 4 <= MAX_TEXT_BYTES:
        return  # not even rows with the longest text in each column, of four bytes a character
    sizes = np.sum([[len(text.encode()) if text else 0 for text in values] for values in columns], axis=0)
    detail = "The texts of a row have at most 64 KiB."
    refusals.where(sizes > MAX_TEXT_BYTES, "", "item_too_large", detail)
