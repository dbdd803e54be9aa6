"""The Open Inference Protocol over gRPC: messages to typed requests, results to messages."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from inference.protocol.dialect import Headers, InferRequest, Target
from inference.protocol.inference_service_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from inference.protocol.matching import SignatureMatch, read_client_id, read_rows
from inference.protocol.results import Array, BatchOutputs
from inference.protocol.tensorflow.classification import class_labels, read_class_count, top_classes
from inference.protocol.v2.parameters import RowFacts, read_parameters
from inference.protocol.v2.raw_tensors import element_of, read_raw, read_text, refuse_infinity, write_raw
from inference.protocol.v2.tensors import FLOATS, Buffer, InvalidRequest, TensorCodec
from inference.signatures import Signature

TIMEOUT = b"grpc-timeout"  # the header of the wire, here always in microseconds: b"1500u"

# FP16 has no field of its own: its values travel as bytes only.
_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class GrpcAnswerForm(Struct, frozen=True):
    """How a caller wants its outputs: as bytes, and of those in `classes` so many highest values named."""

    is_raw: bool
    classes: dict[int, int] = {}


class GrpcCodec:
    """Messages of one version."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._model = model
        self._version = version
        self._match = SignatureMatch(signature)
        self._outputs = signature.outputs
        self._labels = [class_labels(signature, spec) for spec in signature.outputs]

    def decode(self, message: ModelInferRequest, headers: Headers) -> InferRequest:
        """Read a request; raise InvalidRequest with a sentence where it does not fit."""
        rows, tensors = self._read_inputs(message)
        outputs, classes = self._choose_outputs(message)
        is_raw = bool(message.raw_input_contents) or self._needs_bytes(outputs, classes)
        return InferRequest(
            rows=rows,
            tensors=tensors,
            client_id=read_client_id(message.id),
            outputs=outputs,
            facts=_read_facts(message, rows, headers),
            answer_form=GrpcAnswerForm(is_raw, classes),
        )

    def _read_inputs(self, message: ModelInferRequest) -> tuple[int, list[Buffer]]:
        raw = message.raw_input_contents
        if not message.inputs:
            raise InvalidRequest("The request has no inputs; send the model's tensors.")
        if raw and len(raw) != len(message.inputs):
            raise InvalidRequest(
                f"The request has {len(message.inputs)} inputs and {len(raw)} raw_input_contents; send one an "
                "input, in the same order, or none."
            )
        packed: dict[str, Buffer] = {}
        rows: int | None = None
        for place, tensor in enumerate(message.inputs):
            _refuse_shared_memory(tensor.parameters)
            codec = self._match.find_input(tensor.name, tensor.datatype, packed)
            rows = read_rows(codec, tensor.shape, rows)
            packed[codec.name] = (
                _read_raw(codec, tensor, raw[place], rows)
                if raw
                else _read_contents(codec, tensor.contents, rows)
            )
        assert rows is not None
        return rows, self._match.in_order(packed)

    def _choose_outputs(self, message: ModelInferRequest) -> tuple[Sequence[int], dict[int, int]]:
        """Find the outputs that are asked for, and of which the highest values are to be named."""
        if not message.outputs:
            return self._match.all_outputs, {}
        places: list[int] = []
        classes: dict[int, int] = {}
        for output in message.outputs:
            _refuse_shared_memory(output.parameters)
            place = self._match.find_output(output.name, places)
            places.append(place)
            if "classification" in output.parameters:
                count = _value(output.parameters["classification"])
                classes[place] = read_class_count(count, self._outputs[place])
        return places, classes

    def _needs_bytes(self, outputs: Sequence[int], classes: Mapping[int, int]) -> bool:
        return any(self._outputs[place].datatype not in _FIELDS for place in outputs if place not in classes)

    def encode(
        self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest
    ) -> ModelInferResponse:
        """Write the answer for the rows `start` to `stop` of a batch, as bytes where the request was so."""
        form: GrpcAnswerForm = request.answer_form
        message = ModelInferResponse(
            model_name=self._model, model_version=self._version, id=request.client_id or ""
        )
        for place in request.outputs:
            spec = self._outputs[place]
            values, datatype = outputs.arrays[place][start:stop], spec.datatype
            if place in form.classes:
                values = top_classes(values, form.classes[place], self._labels[place])
                datatype = "BYTES"
            tensor = message.outputs.add(name=spec.name, datatype=datatype, shape=values.shape)
            if form.is_raw:
                message.raw_output_contents.append(write_raw(values, datatype))
            else:
                getattr(tensor.contents, _FIELDS[datatype]).extend(_list(values, datatype))
        return message


def _read_raw(
    codec: TensorCodec, tensor: ModelInferRequest.InferInputTensor, raw: bytes, rows: int
) -> Buffer:
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"Input '{codec.name}' has contents beside raw_input_contents; send one of the two."
        )
    return read_raw(codec, raw, rows)


def _read_contents(codec: TensorCodec, contents: InferTensorContents, rows: int) -> Buffer:
    """Read values that stand in the field of their datatype."""
    wanted = _FIELDS.get(codec.datatype)
    if wanted is None:
        raise InvalidRequest(
            f"Input '{codec.name}' is of {codec.datatype}, which has no contents; send raw_input_contents."
        )
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise InvalidRequest(
                f"Input '{codec.name}' has {field.name}; values of {codec.datatype} stand in {wanted}."
            )
    values = list(getattr(contents, wanted))
    if len(values) != rows * codec.width:
        raise InvalidRequest(
            f"Input '{codec.name}' has {len(values)} values and its shape asks for {rows * codec.width}."
        )
    if codec.datatype == "BYTES":
        return [read_text(codec.name, element, place) for place, element in enumerate(values)]
    packed = codec.pack(values)
    if isinstance(packed, bytes) and codec.datatype in FLOATS:
        refuse_infinity(codec, packed)
    return packed


def _list(values: Array, datatype: str) -> list[Any]:
    flat = values.ravel().tolist()
    return [element_of(value) for value in flat] if datatype == "BYTES" else flat


def _refuse_shared_memory(parameters: Mapping[str, InferParameter]) -> None:
    if "shared_memory_region" in parameters:
        raise InvalidRequest("Shared memory is not offered by this server; send tensors in the message.")


def _read_facts(message: ModelInferRequest, rows: int, headers: Headers) -> RowFacts:
    facts = read_parameters({name: _value(given) for name, given in message.parameters.items()}, rows)
    return end_with_the_call(facts, headers)


def end_with_the_call(facts: RowFacts, headers: Headers) -> RowFacts:
    """Return the facts with the call's deadline where it comes before the time that they allow."""
    if TIMEOUT not in headers:
        return facts
    left_us = int(headers[TIMEOUT].removesuffix(b"u"))
    return msgspec.structs.replace(facts, timeout_us=min(left_us, facts.timeout_us or left_us))


def _value(parameter: InferParameter) -> object:
    kind = parameter.WhichOneof("parameter_choice")
    return None if kind is None else getattr(parameter, kind)


class OpenInferenceGrpc:
    """The Open Inference Protocol over gRPC; its paths name a model and a version, which may be empty."""

    usage = "inference.GRPCInferenceService/ModelInfer"

    def write_path(self, message: ModelInferRequest) -> bytes:
        """Write the path of what a request names."""
        model, version = quote(message.model_name, safe=""), quote(message.model_version, safe="")
        return f"{self.usage}/{model}/{version}".encode()

    def parse_path(self, path: bytes) -> Target:
        """Read what such a path names."""
        _, model, version = path.decode().rsplit("/", 2)
        return Target(unquote(model), unquote(version) or None)

    def compile(self, model: str, version: str, signature: Signature) -> GrpcCodec:
        """Make the codec of a version."""
        return GrpcCodec(model, version, signature)


OPEN_INFERENCE_GRPC = OpenInferenceGrpc()
