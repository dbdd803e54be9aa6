"""Which header lines the server reads of a request, whichever way it came in."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from inference.protocol.dialect import RELEVANT_HEADERS
from inference.serving.http.incoming_body import MAX_BODY_BYTES

MAX_LENGTH_DIGITS = 12  # of a Content-Length, without zeros before them


class RequestHeaders(Struct):
    """What the lines of a request's head say.

    `relevant` holds those that a dialect may ask for, `forwarded_for` the value of X-Forwarded-For. `content_length` is
    None where there is none, or one that is too long.
    """

    authorization: bytes = b""
    forwarded_for: bytes = b""
    content_length: int | None = None
    is_too_long: bool = False  # the body, by its Content-Length
    hosts: list[bytes] = msgspec.field(default_factory=list)
    expects_continue: bool = False
    relevant: dict[bytes, bytes] = msgspec.field(default_factory=dict)


def read_headers(lines: Iterable[tuple[bytes, bytes]]) -> RequestHeaders:
    """Read header lines of lower-case names.

    Lines of one name among `relevant`, and those of X-Forwarded-For, are joined, as RFC 9110 (5.3) has it; of
    Authorization the last counts.
    """
    headers = RequestHeaders()
    for name, value in lines:
        if name == b"authorization":
            headers.authorization = value
        elif name == b"content-length" and value.isdigit():
            digits = value.lstrip(b"0") or b"0"
            headers.is_too_long = len(digits) > MAX_LENGTH_DIGITS or int(digits) > MAX_BODY_BYTES
            headers.content_length = None if headers.is_too_long else int(digits)
        elif name == b"host":
            headers.hosts.append(value)
        elif name == b"expect":
            headers.expects_continue = value.lower() == b"100-continue"
        elif name == b"x-forwarded-for":
            earlier = headers.forwarded_for
            headers.forwarded_for = earlier + b", " + value if earlier else value
        elif name in RELEVANT_HEADERS:
            before = headers.relevant.get(name)
            headers.relevant[name] = value if before is None else before + b", " + value
    return headers
