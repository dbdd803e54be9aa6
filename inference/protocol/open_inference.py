"""The Open Inference Protocol, version 2, over JSON: requests to typed values, results to answers."""

import math
from collections.abc import Sequence
from typing import Any, Union

import msgspec
from msgspec import Struct

from inference.protocol.careful_json import read_json
from inference.protocol.parameters import RowFacts, read_parameters
from inference.protocol.tensors import (
    Buffer,
    InvalidRequest,
    TensorCodec,
    json_type_of,
    shorten,
)
from inference.serving.plan import Signature, TensorSpec

MAX_ROWS = 10_000
MAX_ID_LENGTH = 200
PLATFORM = "onnx_onnxv1"
EXTENSIONS: list[str] = []

Parameters = dict[str, str | int | float | bool]


class _Output(Struct):
    name: str
    parameters: Parameters | None = None


class InferRequest(Struct):
    """A request that fits its version's signature.

    `tensors` follow the signature's inputs; `outputs` are indices into its outputs, in the order asked for.
    """

    rows: int
    tensors: list[Buffer]
    client_id: str | None
    outputs: Sequence[int]
    facts: RowFacts


class RequestCodec:
    """Reads V2 requests for one signature; built once, when a version is loaded.

    The usual request goes through a typed decoder. Whatever that does not take as it stands is read again
    slowly, which either understands it or says exactly what is wrong.
    """

    def __init__(self, signature: Signature) -> None:
        self._tensors = [TensorCodec(spec, signature.missing.get(spec.name)) for spec in signature.inputs]
        self._places = {spec.name: place for place, spec in enumerate(signature.inputs)}
        self._output_places = {spec.name: place for place, spec in enumerate(signature.outputs)}
        self._all_outputs = range(len(signature.outputs))
        self._flat, self._nested = _typed_decoders(signature.inputs)
        self._same_type = len({spec.datatype for spec in signature.inputs}) == 1

    @property
    def tensors(self) -> list[TensorCodec]:
        return self._tensors

    def decode(self, body: bytes) -> InferRequest:
        """Read a request's body; raise InvalidRequest with a sentence where it does not fit."""
        request = self._decode_usual(body)
        return request if request is not None else self._decode_carefully(body)

    # The usual request

    def _decode_usual(self, body: bytes) -> InferRequest | None:
        if b"\\" in body:
            return None
        try:
            typed = self._flat.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            try:
                typed = self._nested.decode(body)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                return None
        if body.count(b":") != _expected_colons(typed):
            return None  # a key we do not know, or one that comes twice
        tensors = self._pack_usual(typed.inputs)
        if tensors is None:
            return None
        return InferRequest(
            rows=typed.inputs[0].shape[0],
            tensors=tensors,
            client_id=_read_client_id(typed.id),
            outputs=self._choose_outputs(typed.outputs),
            facts=read_parameters(typed.parameters, typed.inputs[0].shape[0]),
        )

    def _pack_usual(self, inputs: list[Any]) -> list[Buffer] | None:
        if len(inputs) != len(self._tensors):
            return None
        rows = inputs[0].shape[0] if inputs[0].shape else 0
        if not 0 < rows <= MAX_ROWS:
            return None
        packed: list[Buffer | None] = [None] * len(inputs)
        for tensor in inputs:
            place = self._places.get(tensor.name)
            if place is None or packed[place] is not None:
                return None
            codec = self._tensors[place]
            if tensor.datatype != codec.datatype or tensor.shape != [rows, *codec.row_shape]:
                return None
            values = tensor.data
            if values and type(values[0]) is list:
                if len(values) != rows or any(len(row) != codec.width for row in values):
                    return None
                values = [value for row in values for value in row]
            if len(values) != rows * codec.width:
                return None
            if not self._same_type:
                codec.check_types(values)
            packed[place] = codec.pack(values)
        return packed  # type: ignore[return-value]  # as many as tensors, none twice: all are there

    # Any other request

    def _decode_carefully(self, body: bytes) -> InferRequest:
        document = read_json(body)
        if not isinstance(document, dict):
            raise InvalidRequest('The body is not a JSON object; send {"inputs": [...]}.')
        inputs = document.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise InvalidRequest("The request has no 'inputs'; send a list with the model's tensors.")
        rows, tensors = self._pack_carefully(inputs)
        return InferRequest(
            rows=rows,
            tensors=tensors,
            client_id=_read_client_id(document.get("id")),
            outputs=self._choose_outputs(_read_outputs(document.get("outputs"))),
            facts=read_parameters(document.get("parameters"), rows),
        )

    def _pack_carefully(self, inputs: list[object]) -> tuple[int, list[Buffer]]:
        packed: dict[str, Buffer] = {}
        rows = 0
        for tensor in inputs:
            codec = self._codec_for(tensor, packed)
            assert isinstance(tensor, dict)
            own_rows = _read_shape(tensor.get("shape"), codec)
            if packed and own_rows != rows:
                raise InvalidRequest(
                    f"Input '{codec.name}' has {own_rows} rows and others have {rows}; send as many in each."
                )
            rows = own_rows
            values = _flatten(tensor.get("data"), [rows, *codec.row_shape], codec.name)
            codec.check_types(values)
            packed[codec.name] = codec.pack(values)  # type: ignore[arg-type]  # checked on the line above
        absent = [name for name in self._places if name not in packed]
        if absent:
            raise InvalidRequest(f"Input '{absent[0]}' is missing; send all of {_names(self._places)}.")
        return rows, [packed[name] for name in self._places]

    def _codec_for(self, tensor: object, packed: dict[str, Buffer]) -> TensorCodec:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(tensor, dict) or not isinstance(name, str):
            raise InvalidRequest("Each input is an object with name, shape, datatype and data; one is not.")
        if name in packed:
            raise InvalidRequest(f"Input {shorten(name)} comes twice; send it once.")
        if name not in self._places:
            raise InvalidRequest(
                f"The model has no input {shorten(name)}; its inputs are {_names(self._places)}."
            )
        codec = self._tensors[self._places[name]]
        if tensor.get("datatype") != codec.datatype:
            raise InvalidRequest(
                f"Input '{name}' has datatype {shorten(tensor.get('datatype'))}; the model takes "
                f"{codec.datatype}."
            )
        return codec

    def _choose_outputs(self, asked: Sequence[_Output] | None) -> Sequence[int]:
        if not asked:
            return self._all_outputs
        places: list[int] = []
        for output in asked:
            if output.parameters and output.parameters.get("binary_data"):
                raise InvalidRequest(
                    f"Output {shorten(output.name)} is asked for as binary data, which this server does not "
                    "offer; leave 'binary_data' out."
                )
            place = self._output_places.get(output.name)
            if place is None:
                raise InvalidRequest(
                    f"The model has no output {shorten(output.name)}; its outputs are "
                    f"{_names(self._output_places)}."
                )
            if place in places:
                raise InvalidRequest(f"Output {shorten(output.name)} is asked for twice; ask once.")
            places.append(place)
        return places


def _typed_decoders(inputs: Sequence[TensorSpec]) -> tuple[Any, Any]:
    """Build decoders for flat and for nested data whose values have just the types of these tensors."""
    types: Any = Union[tuple(json_type_of(spec) for spec in inputs)]  # noqa: UP007  made at run time

    def decoder(data_type: object) -> Any:
        tensor = msgspec.defstruct(
            "Tensor",
            [
                ("name", str),
                ("shape", list[int]),
                ("datatype", str),
                ("data", data_type),
                ("parameters", Parameters | None, None),
            ],
        )
        request = msgspec.defstruct(
            "Request",
            [
                ("inputs", list[tensor]),  # type: ignore[valid-type]
                ("id", str | None, None),
                ("parameters", Parameters | None, None),
                ("outputs", list[_Output] | None, None),
            ],
        )
        return msgspec.json.Decoder(request)

    return decoder(list[types]), decoder(list[list[types]])


def _expected_colons(request: Any) -> int:
    """Count the colons that the body has if every key in it is known and comes once.

    Holds for bodies without a backslash, where each string stands as it is.
    """
    colons = 1
    if request.id is not None:
        colons += 1 + request.id.count(":")
    if request.parameters is not None:
        colons += 1 + _colons_in(request.parameters)
    for tensor in request.inputs:
        colons += 4 + tensor.name.count(":") + tensor.datatype.count(":")
        if tensor.parameters is not None:
            colons += 1 + _colons_in(tensor.parameters)
        if type(tensor.data) is list and tensor.data and type(tensor.data[0]) is not float:
            colons += _colons_in_values(tensor.data)
    if request.outputs is not None:
        colons += 1
        for output in request.outputs:
            colons += 1 + output.name.count(":")
            if output.parameters is not None:
                colons += 1 + _colons_in(output.parameters)
    return colons


def _colons_in(parameters: Parameters) -> int:
    return len(parameters) + sum(
        key.count(":") + (value.count(":") if isinstance(value, str) else 0)
        for key, value in parameters.items()
    )


def _colons_in_values(values: Sequence[Any]) -> int:
    if type(values[0]) is list:
        return sum(_colons_in_values(row) for row in values if row)
    return sum(value.count(":") for value in values if type(value) is str)


def _read_client_id(client_id: object) -> str | None:
    if client_id is None or client_id == "":
        return None
    if not isinstance(client_id, str) or len(client_id) > MAX_ID_LENGTH or not client_id.isprintable():
        raise InvalidRequest(
            f"The id {shorten(client_id)} is not a string of 1 to {MAX_ID_LENGTH} printable characters."
        )
    return client_id


def _read_outputs(outputs: object) -> list[_Output] | None:
    try:
        return msgspec.convert(outputs, list[_Output] | None)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"'outputs' is not a list of objects with a name: {error}.") from None


def _read_shape(shape: object, codec: TensorCodec) -> int:
    """Check a tensor's shape against the model's and return its rows."""
    wanted = ["rows", *codec.row_shape]
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise InvalidRequest(f"Input '{codec.name}' has no shape of whole numbers; send {_show(wanted)}.")
    if len(shape) != len(wanted) or shape[1:] != codec.row_shape:
        raise InvalidRequest(
            f"Input '{codec.name}' has the shape {_show(shape)}; the model takes {_show(wanted)}."
        )
    rows: int = shape[0]
    if rows < 1:
        raise InvalidRequest(f"Input '{codec.name}' has {rows} rows; send at least one.")
    if rows > MAX_ROWS:
        raise InvalidRequest(f"Input '{codec.name}' has {rows} rows; send at most {MAX_ROWS} at a time.")
    return rows


def _flatten(data: object, shape: list[int], name: str) -> list[object]:
    """Flatten rows nested as `shape` says; data that is flat already stays as it is."""
    if not isinstance(data, list):
        raise InvalidRequest(f"Input '{name}' has no list of data; send its values in 'data'.")
    values = data
    for size in shape[1:]:
        if not values or not isinstance(values[0], list):
            break
        if not all(isinstance(row, list) and len(row) == size for row in values):
            raise InvalidRequest(
                f"Input '{name}' has rows of unequal length; nest its data as the shape {_show(shape)} says."
            )
        values = [value for row in values for value in row]
    if len(values) != math.prod(shape):
        raise InvalidRequest(
            f"Input '{name}' has {len(values)} values and its shape asks for {math.prod(shape)}."
        )
    return values


def _names(names: dict[str, int]) -> str:
    shown = ", ".join(f"'{name}'" for name in list(names)[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def _show(shape: Sequence[object]) -> str:
    return "[" + ", ".join(str(size)[:20] for size in shape[:8]) + (", ..." if len(shape) > 8 else "") + "]"


# Bodies that need no request


def error_body(sentence: str) -> bytes:
    """Encode an error in the protocol's own shape."""
    return msgspec.json.encode({"error": sentence})


def server_metadata(version: str) -> dict[str, object]:
    """Describe the server, with the extensions that it really has."""
    return {"name": "driftline", "version": version, "extensions": EXTENSIONS}


def model_metadata(name: str, versions: Sequence[str], signature: Signature) -> dict[str, object]:
    """Describe a model's tensors."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [msgspec.structs.asdict(spec) for spec in signature.inputs],
        "outputs": [msgspec.structs.asdict(spec) for spec in signature.outputs],
    }
