"""TorchServe's inference API as a client. Its handler decides what a body means: here a JSON list with one item a row.

The handler is to answer with a list of one item a row, or with such a list in `predictions`, as its envelope does; one
row may be answered with the item itself.
"""

from urllib.parse import quote

from inference.runtime.remote.connections import UpstreamReply
from inference.runtime.remote.json_answers import describe_rows, read_rows
from inference.runtime.remote.json_requests import RowsWriter
from inference.runtime.remote.values import read_strict_json
from inference.runtime.session import Array
from inference.signatures import EndpointSpec, TensorSpec


class TorchServeProtocol:
    """Requests and answers of one model."""

    def __init__(self, endpoint: EndpointSpec, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        version = f"/{quote(endpoint.version, safe='')}" if endpoint.version else ""
        self.path = f"/predictions/{quote(endpoint.model, safe='')}{version}"
        self._rows = RowsWriter(inputs, endpoint.names, "null")
        self._outputs = outputs
        self._names = endpoint.names

    def write(self, batch: dict[str, Array]) -> tuple[bytes, dict[str, str]]:
        """Write the body of a request for a batch, with its headers."""
        return self._rows.write(batch), {"Content-Type": "application/json"}

    def read(self, reply: UpstreamReply, rows: int) -> list[Array]:
        """Read an answer to so many rows, in the order of the outputs; raises UpstreamFailed."""
        return read_rows(_answers(reply, rows), self._outputs, self._names, rows)

    def describe(self, reply: UpstreamReply, rows: int) -> list[TensorSpec]:
        """Return which outputs an answer to so many rows has."""
        return describe_rows(_answers(reply, rows), rows)


def _answers(reply: UpstreamReply, rows: int) -> object:
    answer = read_strict_json(reply.body)
    if isinstance(answer, dict) and answer.keys() == {"predictions"}:
        return answer["predictions"]
    return [answer] if rows == 1 and not isinstance(answer, list) else answer
