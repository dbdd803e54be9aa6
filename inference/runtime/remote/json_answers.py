"""Answers that are one JSON value a row, as TensorFlow Serving and TorchServe give them."""

from typing import Any

from inference.protocol.v2.tensors import shorten
from inference.runtime.remote.errors import garbage
from inference.runtime.remote.values import fit, to_array, unnest
from inference.runtime.session import Array
from inference.signatures import TensorSpec

ONLY_OUTPUT = "predictions"
MAX_LEVELS = 8


def read_rows(answers: object, outputs: list[TensorSpec], names: dict[str, str], rows: int) -> list[Array]:
    """Read one value a row, or one object by output a row; raises UpstreamFailed."""
    columns = _columns(answers, rows)
    arrays = []
    for spec in outputs:
        name = names.get(spec.name, spec.name)
        if name not in columns and not (len(outputs) == 1 and columns.keys() == {ONLY_OUTPUT}):
            raise garbage(f"its rows have no '{name}'")
        values, shape = unnest(name, columns.get(name, columns.get(ONLY_OUTPUT, [])), MAX_LEVELS)
        arrays.append(fit(spec, to_array(spec, values), shape, rows))
    return arrays


def describe_rows(answers: object, rows: int) -> list[TensorSpec]:
    """Return which outputs such an answer has; numbers with a point are FP64, without one INT64."""
    specs = []
    for name, column in _columns(answers, rows).items():
        values, shape = unnest(name, column, MAX_LEVELS)
        specs.append(TensorSpec(name, _datatype(name, values), [-1, *shape[1:]]))
    return specs


def _columns(answers: object, rows: int) -> dict[str, list[Any]]:
    if not isinstance(answers, list):
        raise garbage(f"it is {shorten(answers)} and should be a list with one item a row")
    if len(answers) != rows:
        raise garbage(f"it has {len(answers)} items for {rows} rows")
    if not answers or not isinstance(answers[0], dict):
        return {ONLY_OUTPUT: answers}
    names = answers[0].keys()
    if any(not isinstance(answer, dict) or answer.keys() != names for answer in answers):
        raise garbage("its rows have different outputs")
    return {name: [answer[name] for answer in answers] for name in names}


def _datatype(name: str, values: list[Any]) -> str:
    types = set(map(type, values))
    if types == {str}:
        return "BYTES"
    if types == {bool}:
        return "BOOL"
    if types == {int}:
        return "INT64"
    if types <= {int, float, type(None)}:
        return "FP64"
    raise garbage(f"'{name}' holds {shorten(values[:3])}, which no tensor can hold")
