"""What the engine answers, and how that becomes an answer over HTTP; free of any server."""

from collections.abc import Callable

from msgspec import Struct

from inference.protocol.dialect import JSON_FIELDS, HttpBody, HttpDialect
from inference.serving.refusals import Refusal
from inference.serving.routing import Route


class Prediction[Content](Struct):
    """An answer to a request; `content` is what its codec wrote.

    `log_state` is what Driftline-Log says: `spooled`, or `dropped` where the policy allows it.
    """

    content: Content
    route: Route
    prediction_id: str
    log_state: bytes

    @property
    def fields(self) -> bytes:
        """Write the header lines that go with every prediction."""
        return b"%b%b\r\n" % (self.route.fields_by_log_state[self.log_state], self.prediction_id.encode())


type Reply[Content] = Callable[[Prediction[Content] | Refusal], None]


class Answer(Struct):
    """An answer over HTTP; `fields` are whole header lines, each with its line end."""

    status: int
    body: bytes
    fields: bytes = JSON_FIELDS


def write_answer(dialect: HttpDialect, result: Prediction[HttpBody] | Refusal) -> Answer:
    """Turn what the engine answers into the dialect's answer over HTTP."""
    if isinstance(result, Refusal):
        error = dialect.write_error(result.status, result.sentence)
        return Answer(result.status, error.content, error.fields + result.fields)
    body = result.content
    return Answer(200, body.content, body.fields + result.fields)


def field_pairs(fields: bytes) -> list[tuple[bytes, bytes]]:
    """Return header lines as name and value, as ASGI and gRPC want them."""
    lines = fields.split(b"\r\n")[:-1]
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
