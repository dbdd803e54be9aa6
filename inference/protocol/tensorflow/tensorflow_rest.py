"""TensorFlow Serving over HTTP, and KServe's protocol V1, which has the same paths and bodies.

Source: the REST API page of TensorFlow Serving. `instances` are answered with `predictions`, `inputs` with
`outputs`; KServe V1 documents the former only. NaN is legal both ways, infinity in answers only.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import orjson
from msgspec import Struct

from inference.protocol.dialect import Headers, HttpBody, InferRequest, Target
from inference.protocol.header_facts import read_header_facts
from inference.protocol.json_forms.json_documents import read_json_with_nan
from inference.protocol.json_forms.json_rows import RowReader, Rows
from inference.protocol.json_forms.json_values import ValueWriter, write_numbers
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.tensors import InvalidRequest, TooManyRows, shorten
from inference.signatures import Signature, TensorSpec

SIGNATURE_NAME = "serving_default"
MAX_REPEATED_VALUES = 2**20  # values that a request may have us repeat, which take no room in it
LATEST = "0"  # what some clients send as the version where the caller names none

DTYPES = {
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "FP16": "DT_HALF",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "BOOL": "DT_BOOL",
    "BYTES": "DT_STRING",
}

type Verb = Literal["predict", "classify", "regress"]
type State = Literal["START", "AVAILABLE", "END"]


def method_name(verb: Verb) -> str:
    """Name a verb as signatures do, which exporters of TensorFlow often name after it."""
    return f"tensorflow/serving/{verb}"


# Requests and answers


class PredictCodec:
    """Predict requests and answers of one version."""

    def __init__(self, signature: Signature) -> None:
        self._reader = RowReader(signature)
        self._writer = ValueWriter(signature, not_finite="token", bare=False, base64_suffix="_bytes")
        self._all_outputs = range(len(signature.outputs))

    def decode(self, body: bytes, headers: Headers) -> InferRequest:
        """Read a request by rows or by columns; the answer has the same order."""
        document = _read_object(body, "predict")
        by_row = "instances" in document
        if by_row == ("inputs" in document):
            raise InvalidRequest("The body has to hold either 'instances' or 'inputs'; send one of the two.")
        read = self._reader.read_rows if by_row else self._reader.read_columns
        called = "instances" if by_row else "inputs"
        return _request(read(document[called], called), headers, self._all_outputs, by_row=by_row)

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> HttpBody:
        """Write the answer for the rows `start` to `stop` of a batch."""
        if request.answer_form:
            rows = self._writer.write_rows(outputs, start, stop, request.outputs)
            return HttpBody(b'{"predictions":[%b]}' % b",".join(rows))
        return HttpBody(b'{"outputs":%b}' % self._writer.write_columns(outputs, start, stop, request.outputs))


class ExamplesCodec:
    """Requests of examples, an object by feature each; `context` holds the features that all have alike.

    `output` is the place of the output that is asked for, None for a version that has none, with the reason.
    """

    def __init__(self, verb: Verb, signature: Signature, output: int | None, reason: str) -> None:
        self._verb: Verb = verb
        self._reader = RowReader(signature)
        self._output = output
        self._reason = reason

    def decode(self, body: bytes, headers: Headers) -> InferRequest:
        """Read the examples of a request."""
        if self._output is None:
            raise InvalidRequest(self._reason)
        document = _read_object(body, self._verb)
        examples, context = document.get("examples"), document.get("context", {})
        if not isinstance(context, dict):
            raise InvalidRequest(f"'context' is {shorten(context)}; send an object by feature.")
        if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
            raise InvalidRequest("'examples' has to be a list of objects by feature; send that.")
        if len(context) * len(examples) > MAX_REPEATED_VALUES:
            raise TooManyRows(
                f"'context' has {len(context)} features for {len(examples)} examples; send fewer at a time."
            )
        if context:
            examples = [{**context, **example} for example in examples]
        return _request(self._reader.read_rows(examples, "examples"), headers, [self._output])


class ClassifyCodec(ExamplesCodec):
    """Classify requests and answers of one version: each class with its probability."""

    def __init__(self, signature: Signature) -> None:
        output = _place(signature, signature.probabilities_output)
        super().__init__("classify", signature, output, "The model gives no probabilities; use ':predict'.")
        self._labels = [orjson.dumps(name) for name in signature.classes]

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> HttpBody:
        """Write each row's classes and probabilities."""
        (place,) = request.outputs
        scores = outputs.arrays[place][start:stop].reshape(stop - start, -1)
        if scores.shape[1] == 1 and len(self._labels) == 2:
            scores = np.hstack([1 - scores, scores])
        rows = [
            b",".join([b"[%b,%b]" % pair for pair in zip(self._labels, write_numbers(row), strict=True)])
            for row in scores
        ]
        return HttpBody(b'{"results":[%b]}' % b",".join([b"[%b]" % row for row in rows]))


class RegressCodec(ExamplesCodec):
    """Regress requests and answers of one version: a number a row."""

    def __init__(self, signature: Signature) -> None:
        predicts_numbers = signature.task in ("regression", "ranking")
        output = (_place(signature, signature.prediction_output) or 0) if predicts_numbers else None
        reason = "The model predicts classes; use ':classify' or ':predict'."
        super().__init__("regress", signature, output, reason)

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> HttpBody:
        """Write each row's number."""
        (place,) = request.outputs
        numbers = write_numbers(outputs.arrays[place][start:stop])
        return HttpBody(b'{"results":[%b]}' % b",".join(numbers))


def _place(signature: Signature, output: str | None) -> int | None:
    names = [spec.name for spec in signature.outputs]
    return None if output is None else names.index(output)


_CODECS: dict[Verb, type[PredictCodec | ClassifyCodec | RegressCodec]] = {
    "predict": PredictCodec,
    "classify": ClassifyCodec,
    "regress": RegressCodec,
}


def _read_object(body: bytes, verb: Verb) -> dict[str, Any]:
    """Read a body, and check the signature that it names."""
    document = read_json_with_nan(body)
    if not isinstance(document, dict):
        raise InvalidRequest('The body is not a JSON object; send {"instances": [...]}.')
    check_signature_name(document.get("signature_name"), verb)
    return document


def check_signature_name(name: object, verb: Verb) -> None:
    """Refuse a signature that no model has: each has one, which may also go by the name of the verb's method."""
    if name not in (None, "", SIGNATURE_NAME, method_name(verb)):
        raise InvalidRequest(
            f"The model has no signature {shorten(name)}; leave it out, or send '{SIGNATURE_NAME}'."
        )


def _request(rows: Rows, headers: Headers, outputs: Sequence[int], *, by_row: bool = True) -> InferRequest:
    count, tensors = rows
    return InferRequest(count, tensors, None, outputs, read_header_facts(headers, count), by_row)


# The dialect


class TensorFlowRest:
    """One verb of TensorFlow Serving over HTTP."""

    methods = ("POST",)

    def __init__(self, verb: Verb) -> None:
        self._verb = verb
        self._ending = f":{verb}".encode()
        self.usage = f"/v1/models/{{model}}:{verb}"

    def takes(self, path: bytes) -> bool:
        """Return whether a request to this path has this verb."""
        return path.endswith(self._ending) and path.startswith(b"/v1/models/")

    def parse_path(self, path: bytes) -> Target | None:
        """Read the path of a request."""
        return parse_v1_path(path.removesuffix(self._ending))

    def compile(
        self, model: str, version: str, signature: Signature
    ) -> PredictCodec | ClassifyCodec | RegressCodec:
        """Make the codec of a version."""
        return _CODECS[self._verb](signature)

    def write_error(self, status: int, sentence: str) -> HttpBody:
        """Write an error as both protocols do."""
        return HttpBody(msgspec.json.encode({"error": sentence}))


TENSORFLOW_REST = (TensorFlowRest("predict"), TensorFlowRest("classify"), TensorFlowRest("regress"))


def parse_v1_path(path: bytes) -> Target | None:
    """Read /v1/models/{model}[/versions/{version}|/labels/{label}]; None for any other path."""
    try:
        parts = path.decode().split("/")
    except UnicodeDecodeError:
        return None
    match parts:
        case ["", "v1", "models", model] if model:
            return Target(model)
        case ["", "v1", "models", model, "versions", version] if model and version:
            return Target(model, None if version == LATEST else version)
        case ["", "v1", "models", model, "labels", label] if model and label:
            return Target(model, label=label)
        case _:
            return None


# Bodies that need no request


class VersionStatus(Struct, frozen=True):
    """Whether a version answers; `reason` says why it does not, where something went wrong."""

    version: str
    state: State
    reason: str = ""

    @property
    def error_code(self) -> str:
        """Name the error in the words of both its protocols."""
        return "UNAVAILABLE" if self.reason else "OK"


def model_status(name: str, statuses: Sequence[VersionStatus], *, is_ready: bool) -> dict[str, object]:
    """Describe whether a model's versions answer, with what KServe V1 asks under the same path."""
    return {
        "name": name,
        "ready": is_ready,
        "model_version_status": [
            {
                "version": status.version,
                "state": status.state,
                "status": {"error_code": status.error_code, "error_message": status.reason},
            }
            for status in statuses
        ],
    }


def model_metadata(name: str, version: str, signature: Signature) -> dict[str, object]:
    """Describe a version's tensors."""
    described = {
        "inputs": {spec.name: _tensor_info(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in signature.outputs},
        "method_name": method_name("predict"),
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE_NAME: described}}},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, object]:
    dimensions = [{"size": str(size), "name": ""} for size in spec.shape]
    return {
        "dtype": DTYPES[spec.datatype],
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": spec.name,
    }
