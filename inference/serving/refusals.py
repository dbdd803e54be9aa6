"""Why a request is not answered, free of any protocol: each dialect writes it in its own shape."""

import math

from msgspec import Struct

LONGEST_RETRY_S = 60


class Refusal(Struct, frozen=True):
    """A status of HTTP with a sentence; `fields` are whole header lines, each with its line end."""

    status: int
    sentence: str
    fields: bytes = b""


def overloaded(sentence: str, fields: bytes = b"", retry_s: float = 1.0) -> Refusal:
    """Refuse what may succeed later, for want of room that others take."""
    return Refusal(503, sentence, _retry_after(retry_s) + fields)


def too_many(sentence: str, fields: bytes = b"", retry_s: float = 1.0) -> Refusal:
    """Refuse what may succeed later, for want of room that the caller's own project takes."""
    return Refusal(429, sentence, _retry_after(retry_s) + fields)


def _retry_after(seconds: float) -> bytes:
    return b"retry-after: %d\r\n" % min(max(math.ceil(seconds), 1), LONGEST_RETRY_S)
