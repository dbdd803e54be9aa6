"""Reads what a model was asked and what it answered, as KServe's V1 and V2 have it in JSON, row by row.

V1 has `instances` and `predictions`, or as TensorFlow Serving writes them by column `inputs` and `outputs`; V2 has
`inputs` and `outputs` of named tensors, whose data is flat or nested.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from driftline.base.errors import Problem, invalid
from driftline.base.strict_json import escape_pointer, printable
from inference.prediction_log.ingest.parsing import MAX_ITEMS, too_many_predictions
from inference.prediction_log.rows.sent_items import NUMERIC_TASKS
from inference.signatures import Signature

type Scalar = str | float | bool | None
type Cell = Scalar | list[Scalar] | dict[str, Scalar]
type Row = dict[str, Cell]
"""One row's values by the names they came with; what came without a name is under UNNAMED."""

UNNAMED = ""
_KEYS = {"request": ("instances", "inputs"), "response": ("predictions", "outputs")}
_MAX_DIMENSIONS = 8


# -- rows --------------------------------------------------------------------------------------------------------------
def read_rows(payload: Any, kind: str) -> list[Row]:
    """Read the rows of a request or of a response; raises Problem where it has another shape."""
    by_row, by_column = _KEYS[kind]
    values = payload if isinstance(payload, dict) else {}
    if isinstance(values.get(by_row), list):
        rows = _listed(values[by_row], f"/{by_row}")
    elif by_column in values:
        rows = _read_columns(values[by_column], f"/{by_column}")
    else:
        detail = f"The {kind} holds neither a list '{by_row}' nor '{by_column}'."
        raise invalid(f"/{by_row}", detail, "missing_field")
    if not rows:
        raise Problem(422, "empty_batch", f"The {kind} holds no rows.")
    return rows


def _listed(values: Sequence[Any], at: str) -> list[Row]:
    if len(values) > MAX_ITEMS:
        raise too_many_predictions()
    return [_row(value, f"{at}/{place}") for place, value in enumerate(values)]


def _row(value: Any, at: str) -> Row:
    if isinstance(value, dict):
        return {name: _cell(part, f"{at}/{escape_pointer(name)}") for name, part in value.items()}
    return {UNNAMED: _cell(value, at)}


def _cell(value: Any, at: str) -> Cell:
    if isinstance(value, list) and len(value) == 1:
        return _cell(value[0], at)
    parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if any(isinstance(part, list | dict) for part in parts):
        raise invalid(at, "A row has values and flat lists of them, nothing deeper.", "wrong_shape")
    cell: Cell = value
    return cell


def _read_columns(value: Any, at: str) -> list[Row]:
    """Read V2's tensors, TensorFlow's columns, or rows that came where columns may be."""
    if isinstance(value, list):
        if all(isinstance(item, dict) and "name" in item and "shape" in item for item in value):
            return _join_columns([_tensor(item, f"{at}/{place}") for place, item in enumerate(value)], at)
        return _listed(value, at)
    if not isinstance(value, dict):
        raise invalid(at, "This must be a list of tensors or of rows, or an object of columns.", "wrong_type")
    named = [(name, f"{at}/{escape_pointer(name)}", cells) for name, cells in value.items()]
    return _join_columns(
        [
            (name, [_cell(cell, here) for cell in cells] if isinstance(cells, list) else [_cell(cells, here)])
            for name, here, cells in named
        ],
        at,
    )


def _join_columns(columns: Sequence[tuple[str, list[Cell]]], at: str) -> list[Row]:
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise invalid(at, "A name comes twice.", "duplicate_key")
    if len({len(cells) for _, cells in columns}) > 1:
        raise invalid(at, "The columns have different numbers of rows.", "wrong_shape")
    if columns and len(columns[0][1]) > MAX_ITEMS:
        raise too_many_predictions()
    return [
        dict(zip(names, cells, strict=True)) for cells in zip(*(cells for _, cells in columns), strict=True)
    ]


def _tensor(tensor: dict[str, Any], at: str) -> tuple[str, list[Cell]]:
    """Read one tensor of V2: a cell a row, which is a list where the row has several values."""
    name, shape, data = tensor["name"], tensor["shape"], tensor.get("data")
    if not isinstance(name, str) or not name:
        raise invalid(f"{at}/name", "A tensor's name is text.", "wrong_type")
    if not _is_shape(shape):
        raise invalid(f"{at}/shape", "A shape is the number of rows and that of columns.", "wrong_shape")
    if not isinstance(data, list):
        detail = f"Tensor {printable(name)!r} has no list 'data'; tensors in binary form are not read."
        raise invalid(f"{at}/data", detail, "missing_field")
    values = list(_flatten(data))
    width = math.prod(shape[1:])
    if len(values) != shape[0] * width:
        detail = f"Tensor {printable(name)!r} holds {len(values):,} values, which is not what its shape says."
        raise invalid(f"{at}/data", detail, "wrong_shape")
    if any(isinstance(value, dict) for value in values):
        raise invalid(f"{at}/data", "A tensor holds numbers, texts and booleans.", "wrong_type")
    if width == 1:
        return name, values
    return name, [values[start : start + width] for start in range(0, len(values), width)]


def _is_shape(shape: Any) -> bool:
    """Return whether a shape is one of rows: at most one dimension besides has more than one value."""
    if not isinstance(shape, list) or not 0 < len(shape) <= _MAX_DIMENSIONS:
        return False
    if any(type(size) is not int or size < 1 for size in shape[1:]) or type(shape[0]) is not int:
        return False
    return shape[0] >= 0 and sum(size > 1 for size in shape[1:]) <= 1


def _flatten(data: list[Any]) -> Iterator[Any]:
    for value in data:
        if isinstance(value, list):
            yield from _flatten(value)
        else:
            yield value


# -- what they mean ----------------------------------------------------------------------------------------------------
def features_of(row: Row, signature: Signature, place: int) -> dict[str, Scalar]:
    """Name a row's features: a list has them in the signature's order, all else brings their names."""
    names = [feature.name for feature in signature.features]
    if len(row) == 1:
        [(name, cell)] = row.items()
        is_tensor = name == UNNAMED or any(spec.name == name for spec in signature.inputs)
        if isinstance(cell, list) or (is_tensor and name not in names):
            values = cell if isinstance(cell, list) else [cell]
            row = dict(zip(names, _ordered(values, names, place), strict=True))
    features: dict[str, Scalar] = {}
    for name, cell in row.items():
        if isinstance(cell, list | dict):
            detail = f"Feature {printable(name)!r} of row {place} has several values."
            raise invalid("/request", detail, "wrong_shape")
        is_missing = name in signature.missing and cell == signature.missing[name]
        features[name] = None if is_missing else cell
    return features


def _ordered(values: list[Any], names: list[str], place: int) -> list[Any]:
    if not names:
        detail = (
            f"Row {place} is a list, and nobody has named the features of this version; "
            "send objects or one named input a feature, or give the version a reference first."
        )
        raise invalid("/request", detail, "unnamed_features")
    if len(values) != len(names):
        detail = f"Row {place} has {len(values):,} values, and the version has {len(names):,} features."
        raise invalid("/request", detail, "wrong_shape")
    return values


def answer_of(row: Row, signature: Signature, place: int) -> tuple[Scalar, dict[str, Any] | float | None]:
    """Find the prediction and the probabilities in a row of a response.

    A list where a classifier's answer should be holds the probabilities of the classes in their order; without a
    prediction beside them the likeliest class is it.
    """
    scores_name = signature.probabilities_output or "probabilities"
    scores = row.get(scores_name)
    others = {name: cell for name, cell in row.items() if name != scores_name}
    known = (name for name in (signature.prediction_output, "prediction", "label") if name in others)
    prediction = others.get(next(known, None) or next(iter(others), UNNAMED))
    if signature.task in NUMERIC_TASKS:
        scores = None
    elif scores is None and isinstance(prediction, list | dict):
        scores, prediction = prediction, None
    probabilities = None if scores is None else _probabilities(scores, signature, place)
    if prediction is None and probabilities is not None:
        prediction = _likeliest(probabilities, signature)
    if prediction is None or isinstance(prediction, list | dict):
        detail = f"Row {place} of the response holds no single prediction."
        raise invalid("/response", detail, "missing_prediction")
    return prediction, probabilities


def _probabilities(scores: Cell, signature: Signature, place: int) -> dict[str, Any] | float:
    parts = scores if isinstance(scores, list) else scores.values() if isinstance(scores, dict) else [scores]
    if any(isinstance(part, bool) or not isinstance(part, int | float) for part in parts):
        detail = f"A probability of row {place} of the response is no number."
        raise invalid("/response", detail, "invalid_probability")
    if not isinstance(scores, list):
        return scores  # type: ignore[return-value]  # numbers, as was checked
    if not scores or len(scores) != len(signature.classes):
        detail = (
            f"Row {place} of the response has {len(scores):,} probabilities without names, "
            f"and the version has {len(signature.classes):,} known classes."
        )
        raise invalid("/response", detail, "unnamed_classes")
    named: dict[str, Any] = dict(zip(signature.classes, scores, strict=True))
    return named[_positive(signature)] if signature.task == "binary" else named


def _positive(signature: Signature) -> str:
    return signature.positive_class or (signature.classes[-1] if signature.classes else "1")


def _likeliest(probabilities: dict[str, Any] | float, signature: Signature) -> str:
    if isinstance(probabilities, dict):
        return max(probabilities, key=lambda name: probabilities[name])
    positive = _positive(signature)
    negative = next((name for name in signature.classes if name != positive), "0")
    return positive if probabilities >= 0.5 else negative
