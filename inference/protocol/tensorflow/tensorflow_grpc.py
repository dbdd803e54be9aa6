"""TensorFlow Serving over gRPC: messages to typed requests, results to messages."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from inference.protocol.dialect import Headers, InferRequest, Target
from inference.protocol.header_facts import read_header_facts
from inference.protocol.matching import SignatureMatch, read_rows
from inference.protocol.prediction_service_pb2 import (
    DataType,
    GetModelMetadataResponse,
    GetModelStatusResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
    StatusProto,
    TensorInfo,
    TensorProto,
)
from inference.protocol.results import BatchOutputs
from inference.protocol.tensorflow.tensorflow_rest import (
    DTYPES,
    LATEST,
    MAX_REPEATED_VALUES,
    SIGNATURE_NAME,
    VersionStatus,
    check_signature_name,
    method_name,
)
from inference.protocol.v2.open_inference_grpc import end_with_the_call
from inference.protocol.v2.raw_tensors import element_of, read_raw, read_text, refuse_infinity, write_raw
from inference.protocol.v2.tensors import FLOATS, Buffer, InvalidRequest, TensorCodec, TooManyRows
from inference.signatures import Signature, TensorSpec

SIGNATURE_MAP = "type.googleapis.com/tensorflow.serving.SignatureDefMap"

_DATATYPES = {DataType.Value(dtype): datatype for datatype, dtype in DTYPES.items()}
_DTYPES: dict[str, Any] = {datatype: dtype for dtype, datatype in _DATATYPES.items()}
_FIELDS = {
    "BOOL": "bool_val",
    "INT8": "int_val",
    "INT16": "int_val",
    "INT32": "int_val",
    "INT64": "int64_val",
    "UINT8": "int_val",
    "UINT16": "int_val",
    "UINT32": "uint32_val",
    "UINT64": "uint64_val",
    "FP16": "half_val",
    "FP32": "float_val",
    "FP64": "double_val",
    "BYTES": "string_val",
}


class PredictGrpcCodec:
    """Messages of one version."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._spec = write_spec(model, version)
        self._match = SignatureMatch(signature)
        self._outputs = signature.outputs

    def decode(self, message: PredictRequest, headers: Headers) -> InferRequest:
        """Read a request; raise InvalidRequest with a sentence where it does not fit."""
        check_signature_name(message.model_spec.signature_name, "predict")
        packed: dict[str, Buffer] = {}
        rows: int | None = None
        for name, tensor in message.inputs.items():
            codec = self._match.find_input(name, _datatype_of(tensor), packed)
            rows = read_rows(codec, [dim.size for dim in tensor.tensor_shape.dim], rows)
            packed[name] = _read_tensor(codec, tensor, rows)
        tensors = self._match.in_order(packed)
        assert rows is not None
        facts = end_with_the_call(read_header_facts(headers, rows), headers)
        return InferRequest(rows, tensors, None, self._choose_outputs(message.output_filter), facts)

    def _choose_outputs(self, names: Sequence[str]) -> Sequence[int]:
        places: list[int] = []
        for name in names:
            places.append(self._match.find_output(name, places))
        return places or self._match.all_outputs

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> PredictResponse:
        """Write the answer for the rows `start` to `stop` of a batch."""
        message = PredictResponse(model_spec=self._spec)
        for place in request.outputs:
            spec = self._outputs[place]
            values = outputs.arrays[place][start:stop]
            tensor = message.outputs[spec.name]
            tensor.dtype = _DTYPES[spec.datatype]
            for size in values.shape:
                tensor.tensor_shape.dim.add(size=size)
            if spec.datatype == "BYTES":
                tensor.string_val.extend([element_of(value) for value in values.ravel().tolist()])
            else:
                tensor.tensor_content = write_raw(values, spec.datatype)
        return message


def _datatype_of(tensor: TensorProto) -> str:
    return _DATATYPES.get(tensor.dtype, f"DT_{int(tensor.dtype)}")


def _read_tensor(codec: TensorCodec, tensor: TensorProto, rows: int) -> Buffer:
    """Read a tensor's values, wherever they stand."""
    wanted = _FIELDS[codec.datatype]
    filled = [field.name for field, _ in tensor.ListFields() if field.name.endswith(("_val", "_content"))]
    if filled == ["tensor_content"] and codec.datatype != "BYTES":
        return read_raw(codec, tensor.tensor_content, rows)
    if filled != [wanted]:
        present = " and ".join(filled) or "no values"
        raise InvalidRequest(
            f"Input '{codec.name}' has {present}; values of {codec.datatype} stand in {wanted}"
            f"{'' if codec.datatype == 'BYTES' else ' or in tensor_content'}."
        )
    return _read_values(codec, list(getattr(tensor, wanted)), rows * codec.width)


def _read_values(codec: TensorCodec, values: list[Any], wanted: int) -> Buffer:
    """Read values from the field of their type, of which the last stands for all that are left out."""
    if len(values) > wanted:
        raise InvalidRequest(
            f"Input '{codec.name}' has {len(values)} values and its shape asks for {wanted}."
        )
    absent = wanted - len(values)
    if absent > MAX_REPEATED_VALUES:
        raise TooManyRows(
            f"Input '{codec.name}' has {len(values)} values and its shape asks for {wanted}; send them all, or fewer "
            "rows at a time."
        )
    values += values[-1:] * absent
    if codec.datatype == "BYTES":
        return [read_text(codec.name, element, place) for place, element in enumerate(values)]
    packed = _pack_halves(codec, values) if codec.datatype == "FP16" else codec.pack(values)
    if isinstance(packed, bytes) and codec.datatype in FLOATS:
        refuse_infinity(codec, packed)
    return packed


def _pack_halves(codec: TensorCodec, values: list[int]) -> bytes:
    """Pack numbers of 16 bits, which stand as the whole numbers of the same bits."""
    try:
        return struct.pack(f"<{len(values)}H", *values)
    except struct.error:
        raise InvalidRequest(f"Input '{codec.name}' has a half_val of more than 16 bits.") from None


class TensorFlowGrpc:
    """PredictionService.Predict; its paths name a model, a version and a label, of which the last two may be empty."""

    usage = "tensorflow.serving.PredictionService/Predict"

    def write_path(self, message: PredictRequest) -> bytes:
        """Write the path of what a request names."""
        target = read_spec(message.model_spec)
        parts = [quote(part or "", safe="") for part in (target.model, target.version, target.label)]
        return "/".join([self.usage, *parts]).encode()

    def parse_path(self, path: bytes) -> Target:
        """Read what such a path names."""
        _, model, version, label = path.decode().rsplit("/", 3)
        return Target(unquote(model), unquote(version) or None, unquote(label) or None)

    def compile(self, model: str, version: str, signature: Signature) -> PredictGrpcCodec:
        """Make the codec of a version."""
        return PredictGrpcCodec(model, version, signature)


TENSORFLOW_GRPC = TensorFlowGrpc()


# What names a model, and messages that need no request


def read_spec(spec: ModelSpec) -> Target:
    """Read what a request names."""
    if spec.WhichOneof("version_choice") == "version_label":
        return Target(spec.name, label=spec.version_label)
    version = str(spec.version.value)
    return Target(spec.name, None if version == LATEST else version)


def write_spec(model: str, version: str) -> ModelSpec:
    """Name a version; one that is not a number, which this protocol cannot name, is left out."""
    spec = ModelSpec(name=model, signature_name=SIGNATURE_NAME)
    if _number_of(version):
        spec.version.value = _number_of(version)
    return spec


def _number_of(version: str) -> int:
    is_number = version.isascii() and version.isdecimal() and len(version) < 19
    return int(version) if is_number else 0


def metadata_message(model: str, version: str, signature: Signature) -> GetModelMetadataResponse:
    """Describe a version's tensors."""
    described = SignatureDefMap()
    definition = described.signature_def[SIGNATURE_NAME]
    definition.method_name = method_name("predict")
    _describe(signature.inputs, definition.inputs)
    _describe(signature.outputs, definition.outputs)
    message = GetModelMetadataResponse(model_spec=write_spec(model, version))
    packed = message.metadata["signature_def"]
    packed.type_url, packed.value = SIGNATURE_MAP, described.SerializeToString()
    return message


def _describe(specs: Sequence[TensorSpec], described: Mapping[str, TensorInfo]) -> None:
    for spec in specs:
        tensor = described[spec.name]
        tensor.name, tensor.dtype = spec.name, _DTYPES[spec.datatype]
        for size in spec.shape:
            tensor.tensor_shape.dim.add(size=size)


def status_message(statuses: Sequence[VersionStatus]) -> GetModelStatusResponse:
    """Return whether versions answer."""
    message = GetModelStatusResponse()
    for status in statuses:
        message.model_version_status.add(
            version=_number_of(status.version),
            state=status.state,
            status=StatusProto(error_code=status.error_code, error_message=status.reason),
        )
    return message
