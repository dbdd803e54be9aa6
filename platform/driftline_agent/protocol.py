"""The Open Inference Protocol, V2: requests to arrays, and arrays to responses; as JSON, and as bytes behind it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftline_agent.binary_tensors import SIZE, Tail, are_wanted, read_tensor, write_tensor
from driftline_agent.datatypes import DATATYPES
from driftline_agent.errors import BadRequest
from driftline_agent.model import Array, fits
from driftline_agent.server.manifest import Manifest, TensorSpec

MAX_ROWS = 1000
MAX_SIZE = 1 << 30


@dataclass(frozen=True)
class InferRequest:
    """What a program asks: arrays by the names of the model's inputs, all of so many rows."""

    feed: dict[str, Array]
    rows: int
    id: str | None
    as_bytes: frozenset[str] = frozenset()
    """The outputs that it wants as bytes."""


def read_request(head: bytes, manifest: Manifest, tail: bytes = b"") -> InferRequest:
    """Read a request for a version: JSON, and the bytes behind it; raises BadRequest, which names the field."""
    document = _parse(head)
    request_id = document.get("id")
    if request_id is not None and (not isinstance(request_id, str) or len(request_id) > 200):
        raise BadRequest("'id' must be a text of at most 200 characters")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("'inputs' must be a list of tensors")
    specs = {spec.name: spec for spec in manifest.signature.inputs}
    feed: dict[str, Array] = {}
    rest = Tail(tail)
    for place, tensor in enumerate(inputs):
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str) or name not in specs or name in feed:
            raise BadRequest(f"inputs[{place}]: 'name' must be one of {', '.join(specs)}, each once")
        feed[name] = _read_tensor(tensor, specs[name], rest, f"inputs[{place}]")
    rest.check_end()
    if missing := specs.keys() - feed.keys():
        raise BadRequest(f"'inputs' lacks the tensor {min(missing)}")
    rows = {len(values) for values in feed.values()}
    if len(rows) != 1 or not 0 < max(rows) <= MAX_ROWS:
        raise BadRequest(f"'inputs' must hold the same number of rows each, 1 to {MAX_ROWS}")
    as_bytes = are_wanted(document, (spec.name for spec in manifest.signature.outputs))
    return InferRequest(feed, rows.pop(), request_id, as_bytes)


def _parse(body: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        document = json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:100]}") from error
    if not isinstance(document, dict):
        raise BadRequest("the body must be an object with 'inputs'")
    return document


def _read_tensor(tensor: dict[str, Any], spec: TensorSpec, rest: Tail, at: str) -> Array:
    if tensor.get("datatype") != spec.datatype:
        raise BadRequest(f"{at}: 'datatype' must be {spec.datatype}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size <= MAX_SIZE for size in shape):
        raise BadRequest(f"{at}: 'shape' must be a list of whole numbers from 1 to {MAX_SIZE:,}")
    if not fits(spec, tuple(shape)):
        raise BadRequest(f"{at}: 'shape' must fit {list(spec.shape)}")
    parameters = tensor.get("parameters")
    if isinstance(parameters, dict) and SIZE in parameters:
        if "data" in tensor:
            raise BadRequest(f"{at}: give either 'data' or '{SIZE}'")
        array = read_tensor(rest.take(parameters[SIZE], at), spec.datatype, shape, at)
    else:
        array = _from_json(tensor.get("data"), spec, shape, at)
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise BadRequest(f"{at}: it has a number that {spec.datatype} cannot hold")
    return array


def _from_json(data: Any, spec: TensorSpec, shape: Sequence[int], at: str) -> Array:
    values = list(_flat(data)) if isinstance(data, list) else []
    if len(values) != math.prod(shape):
        raise BadRequest(
            f"{at}: 'data' must hold {math.prod(shape):,} values, as the shape says; it has {len(values):,}"
        )
    dtype, json_types = DATATYPES[spec.datatype]
    if not {type(value) for value in values} <= json_types:
        raise BadRequest(f"{at}: 'data' must hold values of {spec.datatype}")
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            filled = [math.nan if value is None else value for value in values]
            array: Array = np.array(filled, dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise BadRequest(f"{at}: 'data' has a number that {spec.datatype} cannot hold") from error
    return array


def _flat(values: list[Any]) -> Iterator[Any]:
    """Yield the values of nested lists, in their order."""
    stack = [iter(values)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def write_response(
    manifest: Manifest,
    request: InferRequest,
    outputs: Mapping[str, Array],
    prediction_ids: Sequence[str | None],
) -> tuple[dict[str, Any], bytes]:
    """Write the response, and the bytes behind it; `prediction_ids` name the stored rows, by which labels find them,
    but those without one."""
    tail = {name: write_tensor(outputs[name]) for name in outputs if name in request.as_bytes}
    types = {spec.name: spec.datatype for spec in manifest.signature.outputs}
    document: dict[str, Any] = {
        "model_name": manifest.model,
        "model_version": manifest.version,
        "id": request.id or next(filter(None, prediction_ids), ""),
        "outputs": [
            {
                "name": name,
                "datatype": types[name],
                "shape": list(values.shape),
            }
            | ({"parameters": {SIZE: len(tail[name])}} if name in tail else {"data": values.ravel().tolist()})
            for name, values in outputs.items()
        ],
    }
    if prediction_ids:
        document["parameters"] = {"prediction_ids": list(prediction_ids)}
    return document, b"".join(tail.values())


def describe(manifest: Manifest) -> dict[str, Any]:
    """Describe a version as V2's metadata."""

    def tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]

    return {
        "name": manifest.model,
        "versions": [manifest.version],
        "platform": "onnx_onnxruntime",
        "inputs": tensors(manifest.signature.inputs),
        "outputs": tensors(manifest.signature.outputs),
    }
