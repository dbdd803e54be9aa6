"""What the hot path answers, free of any server: status, body and our header lines."""

from collections.abc import Callable
from urllib.parse import quote

from msgspec import Struct

from inference.protocol.open_inference import error_body


class Answer(Struct):
    """An answer; `fields` are whole header lines, each with its line end."""

    status: int
    body: bytes
    fields: bytes = b""

    def field_pairs(self) -> list[tuple[bytes, bytes]]:
        """Give the header lines as name and value, as ASGI wants them."""
        lines = self.fields.split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


Reply = Callable[[Answer], None]


def refusal(status: int, sentence: str, fields: bytes = b"") -> Answer:
    """Answer with an error in the protocol's shape."""
    return Answer(status, error_body(sentence), fields)


def overloaded(sentence: str, fields: bytes = b"") -> Answer:
    """Answer that the same request may succeed in a second."""
    return refusal(503, sentence, b"retry-after: 1\r\n" + fields)


def version_fields(version: str, generation: int) -> bytes:
    """Write the header lines that name the version and the deployment's generation."""
    return b"driftline-version: %b\r\ndriftline-generation: %d\r\n" % (
        quote(version, safe=" !#$&'()*+,/:;=?@[]").encode(),
        generation,
    )
