"""What is stored of each row that a version answered, as the server itself logs it."""

import math
from collections.abc import Mapping
from typing import Any

from driftline_agent.measures import measure
from driftline_agent.model import Array, probabilities_of
from driftline_agent.protocol import InferRequest
from driftline_agent.server.manifest import Manifest, Signature


def rows_of(
    manifest: Manifest, request: InferRequest, outputs: Mapping[str, Array], latency_ms: float
) -> list[dict[str, Any]]:
    """Write each row as the logging API takes it, without its id and time."""
    features = _features(manifest.signature, request, outputs)
    matrix = probabilities_of(manifest.signature, outputs)
    predictions = _predictions(manifest.signature, outputs, matrix)
    rows = []
    for place in range(request.rows):
        row: dict[str, Any] = {
            "version": manifest.version,
            "features": {name: values[place] for name, values in features.items()},
            "prediction": predictions[place],
            "latency_ms": round(latency_ms, 3),
        }
        if matrix is not None:
            row["probabilities"] = dict(zip(manifest.signature.classes, matrix[place].tolist(), strict=True))
        rows.append(row)
    return rows


def _features(
    signature: Signature, request: InferRequest, outputs: Mapping[str, Array]
) -> dict[str, list[Any]]:
    """Return a column for each feature: of the one table, or of one input each, and what is measured.

    A tensor of higher rank has no other.
    """
    [first, *others] = signature.inputs
    if not others and first.shape[1:] == (len(signature.features),):
        table = request.feed[first.name].T
        columns = dict(zip(signature.features, table, strict=True))
    elif all(spec.shape[1:] in ((1,), ()) for spec in signature.inputs):
        names = tuple(request.feed) if others else signature.features
        columns = dict(zip(names, (values.reshape(-1) for values in request.feed.values()), strict=True))
    else:
        columns = {}
    columns |= measure(signature, request.feed, outputs)
    return {name: _plain(values, signature.missing.get(name)) for name, values in columns.items()}


def _plain(values: Array, missing: str | None) -> list[Any]:
    """Turn a column into values of JSON; NaN, and the text that stands for a missing one, become null."""
    return [
        None
        if (isinstance(value, float) and math.isnan(value)) or (missing is not None and value == missing)
        else value
        for value in values.tolist()
    ]


def _predictions(
    signature: Signature, outputs: Mapping[str, Array], matrix: Array | None
) -> list[float] | list[str]:
    """Return a number for each row, or the text of its class: the one that is answered, else the likeliest."""
    name = signature.prediction_output
    if name is None and matrix is not None:
        return [signature.classes[place] for place in matrix.argmax(axis=1).tolist()]
    values = outputs[name or signature.outputs[0].name].reshape(-1)
    return [_class_text(value) for value in values.tolist()] if signature.classes else values.tolist()


def _class_text(value: Any) -> str:
    """Write a class as the server does: the label 1.0 is the class "1"."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
