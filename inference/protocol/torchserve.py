"""TorchServe's inference API. There a model's handler decides what a body means; here it is rows in JSON.

Source: the inference API page of TorchServe. A list has one item a row and is answered with a list; an object
by input or feature, or a list of one row's numbers, is one row and is answered with its prediction;
`{"instances": [...]}` is answered with `{"predictions": [...]}`, as with the service envelope `kserve`. A model
of one text takes the text itself. A form's field `data` or `body`, or its only one, may hold any of these.
"""

from enum import Enum
from typing import Any

import msgspec

from inference.protocol.dialect import Headers, HttpBody, InferRequest, Target
from inference.protocol.header_facts import read_header_facts
from inference.protocol.json_forms.json_documents import read_json_with_nan
from inference.protocol.json_forms.json_rows import RowReader, Rows
from inference.protocol.json_forms.json_values import ValueWriter
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.raw_tensors import read_text
from inference.protocol.v2.tensors import InvalidRequest
from inference.signatures import Signature

# How TorchServe names what went wrong, by the status of HTTP.
ERROR_TYPES = {
    400: "BadRequestException",
    401: "InvalidKeyException",
    403: "InvalidKeyException",
    404: "ModelNotFoundException",
    405: "MethodNotAllowedException",
    409: "ConflictStatusException",
    413: "RequestEntityTooLargeException",
    429: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "InferenceTimeoutException",
}
MAX_FIELDS = 100


class Form(Enum):
    """How a request's rows were written, and so its answer."""

    ROW = b"%b"
    LIST = b"[%b]"
    ENVELOPE = b'{"predictions":[%b]}'


class TorchServeCodec:
    """Requests and answers of one version."""

    def __init__(self, signature: Signature) -> None:
        self._reader = RowReader(signature)
        self._writer = ValueWriter(signature, not_finite="null", bare=True)
        self._all_outputs = range(len(signature.outputs))

    def decode(self, body: bytes, headers: Headers) -> InferRequest:
        """Read a request."""
        if body.startswith(b"--"):
            body = _read_form(body)
        (rows, tensors), form = self._read(body)
        return InferRequest(rows, tensors, None, self._all_outputs, read_header_facts(headers, rows), form)

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> HttpBody:
        """Write the answer for the rows `start` to `stop` of a batch, in the form of the request."""
        form: Form = request.answer_form
        rows = self._writer.write_rows(outputs, start, stop, request.outputs)
        return HttpBody(form.value % b",".join(rows))

    def _read(self, body: bytes) -> tuple[Rows, Form]:
        only = self._reader.only_input
        if body.lstrip()[:1] not in (b"{", b"["):
            if only is None or only.datatype != "BYTES" or only.width != 1:
                raise InvalidRequest("The body is not JSON; send a list with one item a row, or one row.")
            return (1, [[read_text(only.name, body, 0)]]), Form.ROW
        document = read_json_with_nan(body)
        if isinstance(document, dict):
            if "instances" in document:
                return self._reader.read_rows(document["instances"], "instances"), Form.ENVELOPE
            return self._reader.read_rows([document], "The body"), Form.ROW
        if self._is_one_row(document):
            return self._reader.read_rows([document], "The body"), Form.ROW
        return self._reader.read_rows(document, "The body"), Form.LIST

    def _is_one_row(self, document: list[Any]) -> bool:
        """Return whether a list is the only input's row itself: bare values, where a row has several."""
        only = self._reader.only_input
        return (
            only is not None
            and only.width > 1
            and bool(document)
            and not isinstance(document[0], list | dict)
        )


def _read_form(body: bytes) -> bytes:
    """Take the field that holds the rows out of a form (RFC 7578)."""
    boundary, _, _ = body.partition(b"\r\n")
    parts = (b"\r\n" + body).split(b"\r\n" + boundary, MAX_FIELDS + 1)
    if len(boundary) > 72 or len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise InvalidRequest(f"The form does not end, or has more than {MAX_FIELDS} fields; send it whole.")
    fields: dict[str, bytes] = {}
    for part in parts[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        fields[_field_name(head)] = content
    for name in ("data", "body"):
        if name in fields:
            return fields[name]
    if len(fields) != 1:
        raise InvalidRequest("The form has several fields; name the one with the rows 'data'.")
    return next(iter(fields.values()))


def _field_name(head: bytes) -> str:
    _, _, rest = head.partition(b'name="')
    return rest.partition(b'"')[0].decode("latin-1")


class TorchServe:
    """TorchServe's inference API."""

    methods = ("POST", "PUT")  # `curl -T`, as its documentation has it, sends PUT
    usage = "/predictions/{model}"

    def takes(self, path: bytes) -> bool:
        """Return whether a request to this path is one."""
        return path.startswith(b"/predictions/")

    def parse_path(self, path: bytes) -> Target | None:
        """Read the path of a request."""
        try:
            parts = path.decode().split("/")
        except UnicodeDecodeError:
            return None
        match parts:
            case ["", "predictions", model] if model:
                return Target(model)
            case ["", "predictions", model, version] if model and version:
                return Target(model, version)
            case _:
                return None

    def compile(self, model: str, version: str, signature: Signature) -> TorchServeCodec:
        """Make the codec of a version."""
        return TorchServeCodec(signature)

    def write_error(self, status: int, sentence: str) -> HttpBody:
        """Write an error as TorchServe does."""
        kind = ERROR_TYPES.get(status, "InternalServerException")
        return HttpBody(msgspec.json.encode({"code": status, "type": kind, "message": sentence}))


TORCHSERVE = TorchServe()
