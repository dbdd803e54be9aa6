"""What each column of an imported file means, decided once from its name, its first rows and the model's signatures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import pyarrow as pa
from msgspec import Struct

from driftline.base.errors import Problem, invalid
from driftline.base.strict_json import escape_pointer
from inference.data_files.arrow_types import is_text
from inference.data_files.vectors import is_vector
from inference.prediction_log.imports.reading.source import MAX_COLUMNS
from inference.prediction_log.rows.sent_items import (
    MAX_FEATURE_NAME,
    MAX_FEATURES,
    MAX_TAGS,
    MAX_VECTOR_NAME,
    MAX_VECTORS,
    NUMERIC_TASKS,
)
from inference.registry.models import Model
from inference.signatures import Signature
from inference.vector_names import MAX_DIMENSION, part_names

type Kind = Literal["number", "truth", "text", "vector"]

CLASS_PREFIX, TAG_PREFIX, OWN_PREFIX = "probability_", "tag_", "import_"
LEFT_OUT = ("client_id",)  # an export has it; what was logged by id needs none
OF_PREDICTIONS = (
    "id",
    "timestamp",
    "version",
    "prediction",
    "probability",
    "latency_ms",
    "role",
    "subject",
    "tags",
    "label",
    "label_timestamp",
)
OF_LABELS = ("id", "label", "timestamp")
_LOOKED_AT, _MOSTLY = 1_000, 0.9
_TIMES = ("timestamp", "label_timestamp")
_NUMBERS = ("probability", "latency_ms")
_ARROW = {
    "number": pa.float64(),
    "truth": pa.bool_(),
    "text": pa.string(),
    "vector": pa.list_(pa.float64()),
}


class FileLayout(Struct, frozen=True):
    """The columns of a file by what they are; kept with the import so that going on reads them the same way."""

    own: list[str]
    """The columns with a meaning of their own that the file has."""
    features: dict[str, Kind] = {}
    classes: list[str] = []
    tags: list[str] = []
    ignored: list[str] = []

    def types(self, task: str) -> dict[str, pa.DataType]:
        """Return how a CSV's columns are read best; what is not named is text."""
        types = {name: _ARROW[kind] for name, kind in self.features.items()}
        types |= {CLASS_PREFIX + name: pa.float64() for name in self.classes}
        for name in self.own:
            if name in _TIMES:
                types[name] = pa.timestamp("us", "UTC")
            elif name in _NUMBERS or (name == "prediction" and task in NUMERIC_TASKS):
                types[name] = pa.float64()
        return types


def check_names(names: Sequence[str]) -> None:
    """Raise Problem where columns cannot be told apart."""
    if len(names) > MAX_COLUMNS:
        raise Problem(422, "too_many_columns", f"{len(names):,} columns; a file may have {MAX_COLUMNS:,}.")
    for place, name in enumerate(names, 1):
        if not name.strip():
            detail = f"Column {place} has no name; name it or leave it out (pandas: index=False)."
            raise Problem(422, "invalid_header", detail)
        if "\x00" in name:
            raise invalid(_at(name), f"Column {place} has a NUL in its name.", "invalid_text")
    [(name, times)] = Counter(names).most_common(1)
    if times > 1:
        raise invalid(
            _at(name), f"{times} columns are named {name[:100]!r}; each needs its own.", "duplicate_column"
        )


def layout_of_labels(sample: pa.Table) -> FileLayout:
    """Find the columns of a file of labels; others, such as the features beside them, are left alone."""
    names = sample.column_names
    check_names(names)
    _require(
        names, ("id", "label"), "A file of labels has the columns id, label and, where known, timestamp."
    )
    layout = FileLayout(
        own=[name for name in names if name in OF_LABELS],
        ignored=[name for name in names if name not in OF_LABELS and not name.startswith(OWN_PREFIX)],
    )
    _check_types(layout, sample.schema)
    return layout


def layout_of_predictions(model: Model, sample: pa.Table) -> FileLayout:
    """Find the columns of a file of predictions; every one without a meaning of its own is a feature."""
    names = sample.column_names
    check_names(names)
    _require(
        names,
        ("timestamp", "prediction"),
        "A file of predictions has the columns timestamp and prediction, and one a feature.",
    )
    layout = FileLayout(
        own=[name for name in names if name in OF_PREDICTIONS],
        features=_features(sample, _declared(model)),
        classes=[name.removeprefix(CLASS_PREFIX) for name in names if name.startswith(CLASS_PREFIX)],
        tags=[name.removeprefix(TAG_PREFIX) for name in names if name.startswith(TAG_PREFIX)],
        ignored=[name for name in names if name in LEFT_OUT],
    )
    _check_probabilities(layout, model.task)
    _check_types(layout, sample.schema)
    if layout.tags and "tags" in layout.own:
        raise invalid("/tags", f"Give 'tags' or columns {TAG_PREFIX}<name>, not both.", "invalid_tags")
    if len(layout.tags) > MAX_TAGS:
        raise Problem(
            422, "too_many_columns", f"{len(layout.tags)} tags; a prediction has at most {MAX_TAGS}."
        )
    return layout


def _require(names: Sequence[str], wanted: Sequence[str], hint: str) -> None:
    for name in wanted:
        if name not in names:
            raise invalid(
                _at(name), f"The column {name!r} is missing. {hint}{_separator_hint(names)}", "missing_column"
            )


def _separator_hint(names: Sequence[str]) -> str:
    found = next((mark for mark in (";", "\t", "|") if len(names) == 1 and mark in names[0]), None)
    return f" The header seems to be separated by {found!r}; use commas." if found else ""


def _declared(model: Model) -> dict[str, Kind]:
    """The kinds of the features that the model's versions declare; the newest version has the last word."""
    declared: dict[str, Kind] = {}
    for signature in (
        model.versions.exclude(signature__isnull=True).order_by("pk").values_list("signature", flat=True)
    ):
        for feature in msgspec.convert(signature, Signature).features:
            declared[feature.name] = "text" if feature.type == "string" else "number"
    return declared


def _features(sample: pa.Table, declared: Mapping[str, Kind]) -> dict[str, Kind]:
    names = [name for name in sample.column_names if not _is_reserved(name)]
    if len(names) > MAX_FEATURES:
        raise Problem(
            422, "too_many_columns", f"{len(names):,} features; a prediction has at most {MAX_FEATURES:,}."
        )
    for name in names:
        if len(name) > MAX_FEATURE_NAME:
            raise invalid(
                _at(name), f"A feature's name has at most {MAX_FEATURE_NAME} characters.", "key_too_long"
            )
    kinds: dict[str, Kind] = {
        name: "number"
        if name not in declared and _looks_numeric(sample[name])
        else _kind(name, sample.schema.field(name).type, declared.get(name))
        for name in names
    }
    _check_vectors([name for name, kind in kinds.items() if kind == "vector"], names)
    return kinds


def _check_vectors(vectors: Sequence[str], names: Sequence[str]) -> None:
    if len(vectors) > MAX_VECTORS:
        detail = f"{len(vectors)} columns of vectors; a prediction has at most {MAX_VECTORS}."
        raise Problem(422, "too_many_columns", detail)
    for name in vectors:
        if len(name) > MAX_VECTOR_NAME:
            detail = f"A vector's name has at most {MAX_VECTOR_NAME} characters."
            raise invalid(_at(name), detail, "key_too_long")
        for part in part_names(name, MAX_DIMENSION):
            if part in names:
                detail = (
                    f"{part!r} is a number that is made of the vector {name!r}; rename one of the columns."
                )
                raise invalid(_at(part), detail, "name_taken")


def _looks_numeric(column: pa.ChunkedArray) -> bool:
    """Return whether a column of texts holds numbers but for a few: those are bad rows, not a column of texts."""
    if _kind_of(column.type) != "text":
        return False
    texts = column.slice(0, _LOOKED_AT).drop_null().to_pylist()
    numbers = sum(map(_is_number, texts))
    return len(texts) > 0 and numbers >= _MOSTLY * len(texts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_reserved(name: str) -> bool:
    return name in OF_PREDICTIONS + LEFT_OUT or name.startswith((CLASS_PREFIX, TAG_PREFIX, OWN_PREFIX))


def _kind(name: str, given: pa.DataType, declared: Kind | None) -> Kind:
    kind = _kind_of(given)
    if kind is None or (kind == "vector" and declared):
        detail = (
            f"The column {name[:100]!r} is of type {given}; features are numbers, true or false, text, or lists of "
            "numbers."
        )
        raise invalid(_at(name), detail, "wrong_type")
    if kind == "vector":
        return kind
    return declared if declared == "text" or (declared and kind != "truth") else kind


def _kind_of(given: pa.DataType) -> Kind | None:
    kinds = pa.types
    if kinds.is_dictionary(given):
        given = given.value_type
    if kinds.is_boolean(given):
        return "truth"
    if kinds.is_integer(given) or kinds.is_floating(given) or kinds.is_decimal(given) or kinds.is_null(given):
        return "number"
    if is_text(given):
        return "text"
    if is_vector(given):
        return "vector"
    return None


def _check_types(layout: FileLayout, schema: pa.Schema) -> None:
    """Refuse columns with a meaning of their own that hold lists, bytes or other things without one."""
    names = [
        *layout.own,
        *(CLASS_PREFIX + name for name in layout.classes),
        *(TAG_PREFIX + name for name in layout.tags),
    ]
    for name in names:
        given = schema.field(name).type
        is_time = name in _TIMES and (pa.types.is_timestamp(given) or pa.types.is_date(given))
        is_text = _kind_of(given) == "text" or pa.types.is_null(given)
        is_value = name not in _TIMES and _kind_of(given) not in (None, "vector")
        if not (is_time or is_text or is_value):
            wanted = "a time or a text such as 2026-01-31T12:00:00Z" if name in _TIMES else "numbers or text"
            raise invalid(
                _at(name), f"The column {name[:100]!r} is of type {given}; use {wanted}.", "wrong_type"
            )


def _check_probabilities(layout: FileLayout, task: str) -> None:
    named = [CLASS_PREFIX + layout.classes[0]] if layout.classes else []
    if "probability" in layout.own:
        if task != "binary":
            hint = f"{CLASS_PREFIX}<class>" if task not in NUMERIC_TASKS else "no probabilities"
            raise invalid(
                "/probability", f"A {task} model has {hint}, not one probability.", "invalid_probability"
            )
        if named:
            raise invalid(
                _at(named[0]), "Give 'probability' or a column a class, not both.", "invalid_probability"
            )
    if named and task in NUMERIC_TASKS:
        raise invalid(_at(named[0]), f"A {task} model has no probabilities.", "invalid_probability")


def _at(name: str) -> str:
    return f"/{escape_pointer(name)}"
