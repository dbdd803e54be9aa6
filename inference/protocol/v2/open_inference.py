"""The Open Inference Protocol, version 2, over HTTP."""

from collections.abc import Sequence

import msgspec

from inference.protocol.dialect import Headers, HttpBody, InferRequest, Target
from inference.protocol.matching import MAX_ROWS
from inference.protocol.v2.tensors import InvalidRequest, shorten
from inference.protocol.v2.v2_answers import AnswerCodec
from inference.protocol.v2.v2_requests import RequestCodec
from inference.signatures import Signature, TensorSpec

PLATFORM = "onnx_onnxv1"
EXTENSIONS = [
    "asynchronous_inference",
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
]


class OpenInferenceCodec:
    """V2 requests and answers of one version."""

    def __init__(self, model: str, version: str, signature: Signature) -> None:
        self._requests = RequestCodec(signature)
        self._answers = AnswerCodec(model, version, signature)
        self.encode = self._answers.encode

    def decode(self, body: bytes, headers: Headers) -> InferRequest:
        """Read a request: JSON, JSON followed by binary data, or the data of the only input alone."""
        given = headers.get(b"inference-header-content-length") if headers else None
        if given is None:
            return self._requests.decode(body)
        length = _read_length(given, body)
        if length == 0:
            return self._requests.decode_raw(body)
        return self._requests.decode(body[:length], body[length:])


def _read_length(given: bytes, body: bytes) -> int:
    if not given.isdigit() or len(given) > 12 or int(given) > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {shorten(given.decode('latin-1'))} and the body has "
            f"{len(body)} bytes; send the length of the JSON in bytes, or 0 where there is none."
        )
    return int(given)


class OpenInference:
    """The Open Inference Protocol over HTTP."""

    methods = ("POST",)
    usage = "/v2/models/{model}/infer"

    def takes(self, path: bytes) -> bool:
        """Return whether a POST to this path is an inference request."""
        return path.endswith(b"/infer") and path.startswith(b"/v2/models/")

    def parse_path(self, path: bytes) -> Target | None:
        """Read the path of an inference request."""
        return parse_model_path(path.removesuffix(b"/infer"))

    def compile(self, model: str, version: str, signature: Signature) -> OpenInferenceCodec:
        """Make the codec of a version."""
        return OpenInferenceCodec(model, version, signature)

    def write_error(self, status: int, sentence: str) -> HttpBody:
        """Write an error as the protocol does, which has no place for its status."""
        return HttpBody(msgspec.json.encode({"error": sentence}))


OPEN_INFERENCE = OpenInference()


def parse_model_path(path: bytes) -> Target | None:
    """Read /v2/models/{model}[/versions/{version}]; None for any other path."""
    try:
        parts = path.decode().split("/")
    except UnicodeDecodeError:
        return None
    match parts:
        case ["", "v2", "models", model] if model:
            return Target(model)
        case ["", "v2", "models", model, "versions", version] if model and version:
            return Target(model, version)
        case _:
            return None


# Bodies that need no request


def server_metadata(version: str) -> dict[str, object]:
    """Describe the server, with the extensions that it really has."""
    return {"name": "driftline", "version": version, "extensions": EXTENSIONS}


def model_metadata(name: str, versions: Sequence[str], signature: Signature) -> dict[str, object]:
    """Describe a model's tensors, and in its properties what they mean."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [msgspec.structs.asdict(spec) for spec in signature.inputs],
        "outputs": [msgspec.structs.asdict(spec) for spec in signature.outputs],
        "properties": model_properties(signature),
    }


def model_properties(signature: Signature) -> dict[str, str]:
    """Return what a model answers and the names of its features; properties are texts, so lists are JSON in one.

    The features are the inputs, or the columns of the only input, in order.
    """
    properties = {
        "task": signature.task,
        "features": msgspec.json.encode([feature.name for feature in signature.features]).decode(),
    }
    if signature.classes:
        properties["classes"] = msgspec.json.encode(signature.classes).decode()
    return properties


def model_configuration(name: str, version: str, signature: Signature) -> dict[str, object]:
    """Describe a model as the configuration extension does: tensors without their rows."""
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [version]}},
        "max_batch_size": MAX_ROWS,
        "input": [_configure(spec) for spec in signature.inputs],
        "output": [_configure(spec) for spec in signature.outputs],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
    }


def _configure(spec: TensorSpec) -> dict[str, object]:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": spec.shape[1:]}
