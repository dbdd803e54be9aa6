"""What each column of a file is, as a person says it or as it was guessed, and the table that comes of it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, field

from inference.data_files.arrow_types import is_text
from inference.data_files.formats import FileFormat
from inference.data_files.times import DateOrder, read_times

TAG_PREFIX, CLASS_PREFIX = "tag_", "probability_"
_CLASS_PREFIXES = (CLASS_PREFIX, "proba_", "prob_", "p_")
_COMMA_NUMBER = r"^\s*[+-]?(\d{1,3}(\.\d{3})+(,\d+)?|\d+,\d+)\s*$"


class FileKind(StrEnum):
    """What a file brings."""

    REFERENCE = "reference"
    PREDICTIONS = "predictions"
    LABELS = "labels"


class ColumnRole(StrEnum):
    """What a column is."""

    TIMESTAMP = "timestamp"
    ID = "id"
    LABEL = "label"
    LABEL_TIMESTAMP = "label_timestamp"
    PREDICTION = "prediction"
    PROBABILITY = "probability"
    VERSION = "version"
    LATENCY = "latency_ms"
    ROLE = "role"
    SUBJECT = "subject"
    TAGS = "tags"
    TAG = "tag"
    FEATURE = "feature"
    IGNORED = "ignored"


TIMES = (ColumnRole.TIMESTAMP, ColumnRole.LABEL_TIMESTAMP)
MANY = (ColumnRole.FEATURE, ColumnRole.TAG, ColumnRole.PROBABILITY, ColumnRole.IGNORED)
"""The roles that several columns may have."""
_TEXTS = (
    ColumnRole.ID,
    ColumnRole.VERSION,
    ColumnRole.ROLE,
    ColumnRole.SUBJECT,
    ColumnRole.TAGS,
    ColumnRole.TAG,
)
OWN_NAMES = {role.value for role in ColumnRole if role not in MANY} | {"probability"}
USED: Mapping[FileKind, frozenset[ColumnRole]] = {
    FileKind.REFERENCE: frozenset(
        {
            ColumnRole.FEATURE,
            ColumnRole.ID,
            ColumnRole.TIMESTAMP,
            ColumnRole.LABEL,
            ColumnRole.PREDICTION,
            ColumnRole.PROBABILITY,
        }
    ),
    FileKind.PREDICTIONS: frozenset(ColumnRole) - {ColumnRole.IGNORED},
    FileKind.LABELS: frozenset({ColumnRole.ID, ColumnRole.LABEL, ColumnRole.TIMESTAMP}),
}
"""The roles that a file of each kind stores."""
REQUIRED: Mapping[FileKind, tuple[ColumnRole, ...]] = {
    FileKind.REFERENCE: (ColumnRole.FEATURE,),
    FileKind.PREDICTIONS: (ColumnRole.TIMESTAMP, ColumnRole.PREDICTION),
    FileKind.LABELS: (ColumnRole.ID, ColumnRole.LABEL),
}


class WrongReading(Exception):
    """A reading that does not fit its file: a stable code, the column that it is about, and a sentence."""

    def __init__(self, code: str, detail: str, column: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.column = code, detail, column


class FileReading(Struct, frozen=True):
    """How a file is read: its format, and the role of each column. Without roles each column is what its name says."""

    format: FileFormat = field(default_factory=FileFormat)
    columns: dict[str, ColumnRole] = {}
    time_zone: str = ""
    """The zone of times that name none; without one such times are refused."""
    date_order: DateOrder | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the file can be read as it is."""
        return self.format.is_plain and not self.columns and not self.time_zone

    def stored_names(self) -> dict[str, str]:
        """Return the name that each column is stored under, without those that are ignored."""
        classes = [name for name, role in self.columns.items() if role == ColumnRole.PROBABILITY]
        return {
            name: _stored_name(name, role, is_alone=len(classes) == 1)
            for name, role in self.columns.items()
            if role != ColumnRole.IGNORED
        }

    def text_columns(self) -> list[str]:
        """List the columns that are read as text, so that 007 stays 007."""
        return [name for name, role in self.columns.items() if role in _TEXTS or role in TIMES]


def _stored_name(name: str, role: ColumnRole, *, is_alone: bool) -> str:
    if role == ColumnRole.FEATURE:
        return name
    if role == ColumnRole.TAG:
        return name if name.startswith(TAG_PREFIX) else TAG_PREFIX + name
    if role == ColumnRole.PROBABILITY:
        return name if name.startswith(CLASS_PREFIX) else role if is_alone else CLASS_PREFIX + class_of(name)
    return role


def class_of(name: str) -> str:
    """Return the class that a column of probabilities is of."""
    prefix = next((one for one in _CLASS_PREFIXES if name.lower().startswith(one)), "")
    return name[len(prefix) :] or name


def check_reading(reading: FileReading, kind: FileKind, names: Iterable[str]) -> None:
    """Raise WrongReading where a mapping does not fit the columns that a file has, or lacks what its kind needs."""
    names = list(names)
    known = frozenset(names)
    for name in reading.columns:
        if name not in known:
            nearest = get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {_listed(names)}."
            raise WrongReading("unknown_column", f"The file has no column {name[:100]!r}; {hint}", name)
    by_role: dict[ColumnRole, list[str]] = {}
    for name, role in reading.columns.items():
        by_role.setdefault(role, []).append(name)
    for role, columns in by_role.items():
        if role not in MANY and len(columns) > 1:
            detail = f"{_listed(columns)} are all {role}; choose one, and ignore the others."
            raise WrongReading("duplicate_role", detail, columns[1])
    for role in REQUIRED[kind]:
        if role not in by_role:
            raise WrongReading("missing_role", _MISSING[kind, role])
    for name in by_role.get(ColumnRole.FEATURE, []):
        if name in OWN_NAMES or name.startswith((TAG_PREFIX, CLASS_PREFIX)):
            detail = f"A feature cannot be called {name!r}, which names something else; rename the column in the file."
            raise WrongReading("reserved_name", detail, name)
    times = Counter(reading.stored_names().values())
    if twice := [name for name, count in times.items() if count > 1]:
        raise WrongReading(
            "duplicate_role", f"Two columns would be stored as {min(twice)!r}; ignore one of them."
        )


_MISSING = {
    (FileKind.REFERENCE, ColumnRole.FEATURE): "No column is a feature; choose at least one.",
    (
        FileKind.PREDICTIONS,
        ColumnRole.TIMESTAMP,
    ): "No column is the timestamp; choose the one with the time of each prediction.",
    (
        FileKind.PREDICTIONS,
        ColumnRole.PREDICTION,
    ): "No column is the prediction; choose the one with the model's "
    "output. A file without predictions may be a reference.",
    (
        FileKind.LABELS,
        ColumnRole.ID,
    ): "No column is the id; choose the one with the ids of the predictions, as they were logged.",
    (
        FileKind.LABELS,
        ColumnRole.LABEL,
    ): "No column is the label; choose the one that holds the true outcome.",
}


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:5])
    return f"{shown} and {len(names) - 5:,} more" if len(names) > 5 else shown


# -- the table ---------------------------------------------------------------------------------------------------------
def rewrite(table: pa.Table, reading: FileReading) -> pa.Table:
    """Return the columns of a table as they are stored: renamed, with times in UTC and numbers with a point."""
    stored = reading.stored_names() if reading.columns else {name: name for name in table.column_names}
    columns: dict[str, pa.ChunkedArray] = {}
    own = dict(zip(table.column_names, table.columns, strict=True))  # Arrow lists its names anew each time
    for name, stored_name in stored.items():
        if name in own:
            columns[stored_name] = _rewrite(own[name], reading, reading.columns.get(name), stored_name)
    return pa.table(columns) if columns else table.select([])


def _rewrite(
    column: pa.ChunkedArray, reading: FileReading, role: ColumnRole | None, stored_name: str
) -> pa.ChunkedArray:
    if role in TIMES or (role is None and stored_name in TIMES):
        return read_times(column, zone=reading.time_zone, date_order=reading.date_order) if role else column
    if reading.format.decimal == "," and role not in _TEXTS and is_text(column.type):
        return with_points(column)
    return column


def with_points(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write numbers that have a decimal comma, such as 1.234,5, with a point; other texts stay as they are."""
    is_number = pc.fill_null(pc.match_substring_regex(column, _COMMA_NUMBER), False)
    if not pc.any(is_number, min_count=0).as_py():
        return column
    bare = pc.utf8_trim_whitespace(pc.replace_substring(pc.replace_substring(column, ".", ""), ",", "."))
    return pc.if_else(is_number, bare, column)


_SPACES = re.compile(r"[^a-z0-9]+")


def plain_name(name: str) -> str:
    """Return a column's name in lower case with single underscores, so that spellings can be compared."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _SPACES.sub("_", parted.lower()).strip("_")
