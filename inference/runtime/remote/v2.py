"""The Open Inference Protocol (Triton, KServe, MLServer, Driftline) as a client: JSON, or binary tensors."""

from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import orjson
from msgspec import Struct

from inference.protocol.v2.raw_tensors import read_raw, write_raw
from inference.protocol.v2.tensors import NUMPY_TYPES, InvalidRequest, TensorCodec
from inference.runtime.remote.connections import UpstreamReply
from inference.runtime.remote.errors import garbage
from inference.runtime.remote.values import fit, read_strict_json, to_array, unnest
from inference.runtime.session import Array
from inference.signatures import EndpointSpec, TensorSpec

_LENGTH = "inference-header-content-length"


class _Output(Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class _Answer(Struct):
    outputs: list[_Output]


class _Metadata(Struct):
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []


class _Server(Struct):
    extensions: list[str] = []


def model_path(endpoint: EndpointSpec) -> str:
    """Return the path of a model, or of one of its versions."""
    version = f"/versions/{quote(endpoint.version, safe='')}" if endpoint.version else ""
    return f"/v2/models/{quote(endpoint.model, safe='')}{version}"


def read_metadata(reply: UpstreamReply) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Read which tensors a model takes and gives, by its own account; empty where it does not tell."""
    try:
        metadata = msgspec.convert(read_strict_json(reply.body), _Metadata)
    except msgspec.ValidationError as error:
        raise garbage(f"its metadata is no metadata of a model ({error})") from error
    return metadata.inputs, metadata.outputs


def takes_binary(reply: UpstreamReply) -> bool:
    """Return by a server's metadata whether it knows binary tensors."""
    try:
        return "binary_tensor_data" in msgspec.convert(orjson.loads(reply.body), _Server).extensions
    except (ValueError, msgspec.ValidationError):
        return False


class V2Protocol:
    """Requests and answers of one model."""

    def __init__(self, endpoint: EndpointSpec, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        self.path = f"{model_path(endpoint)}/infer"
        self._inputs = inputs
        self._outputs = outputs
        self._names = endpoint.names
        self._binary = endpoint.binary

    def write(self, batch: dict[str, Array]) -> tuple[bytes, dict[str, str]]:
        """Write the body of a request for a batch, with its headers."""
        tail: list[bytes] = []
        document: dict[str, Any] = {
            "inputs": [self._tensor(spec, batch[spec.name], tail) for spec in self._inputs]
        }
        if self._outputs:
            document["outputs"] = [self._wanted(spec) for spec in self._outputs]
        head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        if not self._binary:
            return head, {"Content-Type": "application/json"}
        headers = {"Content-Type": "application/octet-stream", _LENGTH: str(len(head))}
        return b"".join([head, *tail]), headers

    def _tensor(self, spec: TensorSpec, values: Array, tail: list[bytes]) -> dict[str, Any]:
        tensor: dict[str, Any] = {
            "name": self._names.get(spec.name, spec.name),
            "shape": values.shape,
            "datatype": spec.datatype,
        }
        if self._binary:
            raw = write_raw(values, spec.datatype)
            tail.append(raw)
            return tensor | {"parameters": {"binary_data_size": len(raw)}}
        if spec.datatype == "BYTES":
            return tensor | {"data": values.ravel().tolist()}
        wide = values.astype(np.float32) if spec.datatype == "FP16" else values
        return tensor | {"data": np.ascontiguousarray(wide).ravel()}

    def _wanted(self, spec: TensorSpec) -> dict[str, Any]:
        wanted: dict[str, Any] = {"name": self._names.get(spec.name, spec.name)}
        return wanted | {"parameters": {"binary_data": True}} if self._binary else wanted

    def read(self, reply: UpstreamReply, rows: int) -> list[Array]:
        """Read an answer to so many rows, in the order of the outputs; raises UpstreamFailed."""
        head, tail = _split(reply)
        answered = _read_answer(head)
        tensors = {tensor.name: values for tensor, values in _with_bytes(answered, tail)}
        heads = {tensor.name: tensor for tensor in answered}
        arrays: list[Array] = []
        for spec in self._outputs:
            name = self._names.get(spec.name, spec.name)
            if name not in heads:
                raise garbage(f"it has no output '{name}'")
            arrays.append(_to_array(spec, heads[name], tensors[name], rows))
        return arrays

    def describe(self, reply: UpstreamReply, rows: int) -> list[TensorSpec]:
        """Return which outputs an answer to so many rows has."""
        head, _ = _split(reply)
        specs = [
            TensorSpec(tensor.name, tensor.datatype, [-1, *tensor.shape[1:]]) for tensor in _read_answer(head)
        ]
        for spec in specs:
            if spec.datatype != "BYTES" and spec.datatype not in NUMPY_TYPES:
                raise garbage(f"'{spec.name}' has the datatype {spec.datatype[:20]}")
        return specs


def _split(reply: UpstreamReply) -> tuple[bytes, bytes]:
    """Cut an answer into its JSON and what follows it."""
    length = reply.headers.get(_LENGTH)
    if length is None:
        return reply.body, b""
    if not length.isdecimal() or len(length) > 12 or int(length) > len(reply.body):
        raise garbage("the length of its JSON is not that of a part of it")
    return reply.body[: int(length)], reply.body[int(length) :]


def _read_answer(head: bytes) -> list[_Output]:
    try:
        return msgspec.convert(read_strict_json(head), _Answer).outputs
    except msgspec.ValidationError as error:
        raise garbage(f"it is no answer of V2 ({error})") from error


def _with_bytes(outputs: list[_Output], tail: bytes) -> list[tuple[_Output, bytes | None]]:
    """Return each output with its part of what follows the JSON; None where its values are in the JSON."""
    parts: list[tuple[_Output, bytes | None]] = []
    place = 0
    for tensor in outputs:
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            parts.append((tensor, None))
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - place:
            raise garbage(f"'{tensor.name}' has {size} bytes and {len(tail) - place} are there")
        parts.append((tensor, tail[place : place + size]))
        place += size
    return parts


def _to_array(spec: TensorSpec, tensor: _Output, raw: bytes | None, rows: int) -> Array:
    if tensor.datatype != spec.datatype:
        raise garbage(f"'{spec.name}' is {tensor.datatype[:20]} and should be {spec.datatype}")
    if raw is not None:
        return fit(spec, _read_raw(spec, tensor, raw), tensor.shape, rows)
    if tensor.data is None:
        raise garbage(f"'{spec.name}' has no data")
    values, _ = unnest(spec.name, tensor.data, len(tensor.shape) - 1)
    return fit(spec, to_array(spec, values), tensor.shape, rows)


def _read_raw(spec: TensorSpec, tensor: _Output, raw: bytes) -> Array:
    if not tensor.shape or min(tensor.shape) < 0:
        raise garbage(f"'{spec.name}' has the shape {tensor.shape}")
    if spec.datatype != "BYTES":
        dtype = NUMPY_TYPES[spec.datatype]
        if len(raw) % dtype.itemsize:
            raise garbage(f"'{spec.name}' has {len(raw)} bytes, which are no values of {spec.datatype}")
        return np.frombuffer(raw, dtype)
    codec = TensorCodec(TensorSpec(spec.name, "BYTES", [-1, *tensor.shape[1:]]), None)
    try:
        return np.array(read_raw(codec, raw, tensor.shape[0]), object)
    except InvalidRequest as error:
        raise garbage(f"'{spec.name}' holds bytes that are no texts") from error
