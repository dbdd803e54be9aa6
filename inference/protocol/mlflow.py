"""MLflow's scoring protocol: four forms of JSON, and CSV.

Source: the scoring server's documentation. Which form a body has is read from the body itself, because many
callers send a Content-Type that is not its own. `params` may hold the Open Inference Protocol's parameters.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from inference.protocol.dialect import ONLY_MODEL, Headers, HttpBody, InferRequest, Target
from inference.protocol.header_facts import read_header_facts
from inference.protocol.json_forms.json_documents import check_text, read_json_with_nan
from inference.protocol.json_forms.json_rows import RowReader, Rows
from inference.protocol.json_forms.json_values import ValueWriter
from inference.protocol.matching import MAX_ROWS
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.tensors import InvalidRequest, shorten
from inference.signatures import Signature

PATH = b"/invocations"

# How MLflow names what went wrong, by the status of HTTP.
ERROR_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "BAD_REQUEST",
    409: "INVALID_STATE",
    413: "BAD_REQUEST",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# What pandas writes, or reads, as a missing value; an empty cell is one too.
_MISSING = {"", "NaN", "nan", "NA", "N/A", "<NA>", "null", "NULL", "None"}
_TRUTH = {"true": True, "false": False}


class MlflowCodec:
    """Requests and answers of one version."""

    def __init__(self, signature: Signature) -> None:
        self._reader = RowReader(signature)
        self._writer = ValueWriter(signature, not_finite="null", bare=True)
        self._all_outputs = range(len(signature.outputs))
        self._kinds = _kinds_of_features(signature)
        self._forms: dict[str, Callable[[object], Rows]] = {
            "dataframe_split": self._read_split,
            "dataframe_records": lambda given: self._reader.read_rows(given, "dataframe_records"),
            "instances": lambda given: self._reader.read_rows(given, "instances"),
            "inputs": lambda given: self._reader.read_columns(given, "inputs"),
        }

    def decode(self, body: bytes, headers: Headers) -> InferRequest:
        """Read a request."""
        params: dict[str, object] | None = None
        if body.lstrip()[:1] in (b"{", b"["):
            (rows, tensors), params = self._read_document(read_json_with_nan(body))
        else:
            rows, tensors = self._read_csv(body)
        facts = read_header_facts(headers, rows, params)
        return InferRequest(rows, tensors, None, self._all_outputs, facts)

    def encode(self, outputs: BatchOutputs, start: int, stop: int, request: InferRequest) -> HttpBody:
        """Write the answer for the rows `start` to `stop` of a batch."""
        rows = self._writer.write_rows(outputs, start, stop, request.outputs)
        return HttpBody(b'{"predictions":[%b]}' % b",".join(rows))

    def _read_document(self, document: object) -> tuple[Rows, dict[str, object] | None]:
        forms = [name for name in self._forms if isinstance(document, dict) and name in document]
        if not isinstance(document, dict) or len(forms) != 1:
            raise InvalidRequest(
                f"The body has to be a JSON object with exactly one of {', '.join(self._forms)}; send that, or CSV."
            )
        params = document.get("params")
        if params is not None and not isinstance(params, dict):
            raise InvalidRequest(f"'params' is {shorten(params)}; send an object.")
        return self._forms[forms[0]](document[forms[0]]), params

    def _read_split(self, given: object) -> Rows:
        columns = given.get("columns") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(columns, list | None) or "data" not in given:
            raise InvalidRequest(
                "'dataframe_split' has to be an object with 'columns' and 'data'; send that."
            )
        names: Sequence[object] = range(len(self._reader.features)) if columns is None else columns
        return self._reader.read_table(names, given["data"], "dataframe_split.data")

    def _read_csv(self, body: bytes) -> Rows:
        """Read a table whose first line names its columns."""
        try:
            text = body.decode("utf-8-sig")
            check_text(text)
            table = (line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line)
            names, *lines = islice(table, MAX_ROWS + 2)
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"The body is not UTF-8 at byte {error.start}; send text.") from None
        except csv.Error as error:
            raise InvalidRequest(f"The body is neither a JSON object nor CSV: {error}.") from None
        except ValueError as error:
            if isinstance(error, InvalidRequest):
                raise
            raise InvalidRequest("The body is empty; send JSON, or CSV with a line of names.") from None
        if not lines:
            raise InvalidRequest("The CSV has no rows; send some below the line of names.")
        kinds = [self._kinds.get(name, str) for name in names]
        rows = [_read_line(line, names, kinds, place) for place, line in enumerate(lines)]
        return self._reader.read_table(names, rows, "The CSV")


def _kinds_of_features(signature: Signature) -> dict[str, type]:
    """Return as what the cells of each feature are read."""
    datatypes = {spec.name: spec.datatype for spec in signature.inputs}
    only = signature.inputs[0].datatype
    return {feature.name: _kind(datatypes.get(feature.name, only)) for feature in signature.features}


def _kind(datatype: str) -> type:
    if datatype == "BYTES":
        return str
    if datatype == "BOOL":
        return bool
    return float if datatype.startswith("FP") else int


def _read_line(line: list[str], names: list[str], kinds: list[type], place: int) -> list[Any]:
    if len(line) != len(names):
        raise InvalidRequest(
            f"Row {place} of the CSV has {len(line)} values and its first line {len(names)} names; send as many."
        )
    return [_read_cell(cell, kind, name) for cell, kind, name in zip(line, kinds, names, strict=True)]


def _read_cell(cell: str, kind: type, name: str) -> Any:
    """Read a cell; None where its value is missing."""
    if kind is str:
        return cell or None
    if cell.strip() in _MISSING:
        return None
    try:
        value = _TRUTH[cell.strip().lower()] if kind is bool else kind(cell)
    except (KeyError, ValueError):
        value = None
    if value is None or "_" in cell or value in (math.inf, -math.inf):
        raise InvalidRequest(
            f"Column '{name[:200]}' holds {shorten(cell)}; send a finite number, or true or false where it has those."
        )
    return value


class Mlflow:
    """MLflow's scoring protocol; a path without a model is for the only one of the token's project."""

    methods = ("POST",)
    usage = "/invocations/{model}"

    def takes(self, path: bytes) -> bool:
        """Return whether a request to this path is one."""
        return path == PATH or path.startswith(PATH + b"/")

    def parse_path(self, path: bytes) -> Target | None:
        """Read the path of a request."""
        try:
            parts = path.decode().split("/")
        except UnicodeDecodeError:
            return None
        match parts:
            case ["", "invocations"]:
                return ONLY_MODEL
            case ["", "invocations", model] if model:
                return Target(model)
            case _:
                return None

    def compile(self, model: str, version: str, signature: Signature) -> MlflowCodec:
        """Make the codec of a version."""
        return MlflowCodec(signature)

    def write_error(self, status: int, sentence: str) -> HttpBody:
        """Write an error as MLflow does."""
        code = ERROR_CODES.get(status, "INTERNAL_ERROR")
        return HttpBody(msgspec.json.encode({"error_code": code, "message": sentence}))


MLFLOW = Mlflow()
