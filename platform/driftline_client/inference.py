"""Ask a model over the Open Inference Protocol (V2, JSON)."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypedDict
from urllib.parse import quote

import httpx

from driftline_client.errors import DriftlineError
from driftline_client.frames import Tabular, is_frame, read_frame
from driftline_client.items import plain, rfc3339

Row = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class Prediction:
    """An answer: `outputs` has one entry a row; `ids` name the rows in the log, for their labels."""

    ids: list[str]
    version: str
    outputs: dict[str, list[Any]]


class About(TypedDict, total=False):
    """What is logged with an answer, beside the features."""

    id: str | None
    timestamp: datetime | None
    tags: Mapping[str, str] | None
    subject: str | None


@dataclass(frozen=True)
class Questions:
    """Where and how one model is asked."""

    path: str
    columns: Sequence[str] | None

    @classmethod
    def of(cls, model: str, version: str | None, columns: Sequence[str] | None) -> Self:
        """Ask a version, or whichever is champion."""
        path = f"/v2/models/{quote(model, safe='')}"
        return cls(path if version is None else f"{path}/versions/{quote(version, safe='')}", columns)

    def body(
        self, metadata: Mapping[str, Any], features: Row | Sequence[Row] | Tabular, about: About
    ) -> dict[str, Any]:
        """Write the request for one row, many, or a frame; raises DriftlineError for what does not fit the model."""
        rows, order = _as_rows(features)
        if not rows:
            raise DriftlineError("There are no rows to predict; give at least one.")
        timestamp, tags = about.get("timestamp"), about.get("tags")
        parameters = {
            "driftline_id": about.get("id"),
            "driftline_timestamp": None if timestamp is None else rfc3339(timestamp),
            "driftline_tags": None if tags is None else json.dumps(dict(tags)),
            "driftline_subject": about.get("subject"),
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        columns = self.columns or _features(metadata) or order
        return _tensors(metadata, rows, columns) | {"parameters": given}


def _tensors(
    metadata: Mapping[str, Any], rows: Sequence[Row], columns: Sequence[str] | None
) -> dict[str, Any]:
    """Build the tensors that `metadata` (GET /v2/models/...) asks for; raises DriftlineError for what is missing."""
    inputs = metadata["inputs"]
    table = len(inputs) == 1 and (inputs[0]["shape"][1:] != [1] or inputs[0]["name"] not in rows[0])
    if table:
        return {"inputs": [_tensor(inputs[0], [_in_order(row, inputs[0], columns) for row in rows])]}
    return {"inputs": [_tensor(spec, [[_named(row, spec["name"])] for row in rows]) for spec in inputs]}


def read_answer(response: httpx.Response) -> Prediction:
    """Cut the flat data of each output into rows."""
    answer, prediction_id = response.json(), response.headers.get("Driftline-Prediction-Id", "")
    outputs = {output["name"]: _rows(output) for output in answer["outputs"]}
    count = max((len(rows) for rows in outputs.values()), default=0)
    ids = [prediction_id] if count == 1 else [f"{prediction_id}:{row}" for row in range(count)]
    return Prediction(ids, str(answer.get("model_version", "")), outputs)


def _features(metadata: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the features in the model's order, which Driftline's metadata holds as JSON in a text."""
    text = (metadata.get("properties") or {}).get("features")
    return None if text is None else list(json.loads(text))


def _as_rows(features: Any) -> tuple[Sequence[Row], list[str] | None]:
    """Return the rows of one row, a list of rows or a frame, and the order of a frame's columns."""
    if isinstance(features, Mapping):
        return [features], None
    if is_frame(features):
        frame = read_frame(features)
        columns = [frame.values(place, 0, frame.rows) for place in range(len(frame.names))]
        frame.check(frame.names)
        return [dict(zip(frame.names, row, strict=True)) for row in zip(*columns, strict=True)], frame.names
    rows = list(features)
    many = all(
        isinstance(row, Mapping) or (hasattr(row, "__len__") and not isinstance(row, str)) for row in rows
    )
    return (rows if many else [rows]), None


def _tensor(spec: Mapping[str, Any], rows: list[list[Any]]) -> dict[str, Any]:
    values = [_value(value, spec) for row in rows for value in row]
    shape = [len(rows), *([len(rows[0])] if len(spec["shape"]) > 1 else [])]
    return {"name": spec["name"], "datatype": spec["datatype"], "shape": shape, "data": values}


def _value(value: Any, spec: Mapping[str, Any]) -> float | int | bool | str | None:
    known = plain(value, f"value for {spec['name']}")
    if known is None:
        return None
    datatype = spec["datatype"]
    try:
        if datatype.startswith("FP"):
            return float(known)
        if datatype == "BOOL":
            return bool(known)
        if datatype == "BYTES":
            return str(known)
        if int(known) != known:
            raise ValueError
        return int(known)
    except ValueError as error:
        raise DriftlineError(f"{spec['name']} takes {datatype}; {known!r} is none.") from error


def _named(row: Row, name: str) -> Any:
    if not isinstance(row, Mapping):
        raise DriftlineError("The model takes one input a feature; give each row as {feature: value}.")
    if name not in row:
        raise DriftlineError(f"The feature {name!r} is missing; give it, or None where it is unknown.")
    return row[name]


def _in_order(row: Row, spec: Mapping[str, Any], columns: Sequence[str] | None) -> list[Any]:
    width = spec["shape"][1] if len(spec["shape"]) > 1 else 1
    if isinstance(row, Mapping):
        if columns is None:
            raise DriftlineError(
                f"The model takes one tensor of {width} columns and the server does not name them; give "
                "rows as lists in order, or the names to model(columns=[...])."
            )
        values = [_named(row, name) for name in columns]
    else:
        values = list(row)
    if width not in (-1, len(values)):
        raise DriftlineError(f"The model takes {width} columns and a row has {len(values)}.")
    return values


def _rows(output: Mapping[str, Any]) -> list[Any]:
    data, shape = output["data"], output["shape"]
    width = math.prod(shape[1:])
    if len(shape) < 2:
        return list(data)
    return [data[place : place + width] for place in range(0, len(data), width or 1)]
