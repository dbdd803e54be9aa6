"""TensorFlow Serving's REST API, which is also KServe's V1, as a client: rows in, one prediction a row out."""

from urllib.parse import quote

from inference.protocol.v2.tensors import shorten
from inference.runtime.remote.connections import UpstreamReply
from inference.runtime.remote.errors import garbage
from inference.runtime.remote.json_answers import describe_rows, read_rows
from inference.runtime.remote.json_requests import RowsWriter
from inference.runtime.remote.values import read_json_with_tokens
from inference.runtime.session import Array
from inference.signatures import EndpointSpec, TensorSpec


class V1Protocol:
    """Requests and answers of one model."""

    def __init__(self, endpoint: EndpointSpec, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        version = f"/versions/{quote(endpoint.version, safe='')}" if endpoint.version else ""
        self.path = f"/v1/models/{quote(endpoint.model, safe='')}{version}:predict"
        self._rows = RowsWriter(inputs, endpoint.names, "token")
        self._outputs = outputs
        self._names = endpoint.names

    def write(self, batch: dict[str, Array]) -> tuple[bytes, dict[str, str]]:
        """Write the body of a request for a batch, with its headers."""
        return b'{"instances":%b}' % self._rows.write(batch), {"Content-Type": "application/json"}

    def read(self, reply: UpstreamReply, rows: int) -> list[Array]:
        """Read an answer to so many rows, in the order of the outputs; raises UpstreamFailed."""
        return read_rows(_predictions(reply), self._outputs, self._names, rows)

    def describe(self, reply: UpstreamReply, rows: int) -> list[TensorSpec]:
        """Return which outputs an answer to so many rows has."""
        return describe_rows(_predictions(reply), rows)


def _predictions(reply: UpstreamReply) -> object:
    answer = read_json_with_tokens(reply.body)
    if not isinstance(answer, dict) or "predictions" not in answer:
        raise garbage(f"it is {shorten(answer)} and has no 'predictions'")
    return answer["predictions"]
