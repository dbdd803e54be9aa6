"""Why a request is not answered, free of any protocol: each dialect writes it in its own shape."""

import math

from msgspec import Struct

from inference.runtime.remote.errors import UpstreamFailed

MAX_RETRY_SECONDS = 60


class Refusal(Struct, frozen=True):
    """A status of HTTP with a sentence; `fields` are whole header lines, each with its line end.

    `fault` is the reason in counts, where the status does not tell it. `may_pass` tells that the same request may be
    answered later.
    """

    status: int
    sentence: str
    fields: bytes = b""
    fault: str = ""
    may_pass: bool = False


def overloaded(sentence: str, fields: bytes = b"", retry_s: float = 1.0) -> Refusal:
    """Refuse what may succeed later, for want of room that others take."""
    return Refusal(503, sentence, _retry_after(retry_s) + fields, may_pass=True)


def too_many(sentence: str, fields: bytes = b"", retry_s: float = 1.0) -> Refusal:
    """Refuse what may succeed later, for want of room that the caller's own project takes."""
    return Refusal(429, sentence, _retry_after(retry_s) + fields, may_pass=True)


def upstream_failed(failure: UpstreamFailed, fields: bytes = b"") -> Refusal:
    """Refuse for a failure of the other server that answers for the version."""
    retry = b"" if failure.retry_s is None else _retry_after(failure.retry_s)
    may_pass = failure.may_pass or failure.retry_s is not None
    return Refusal(failure.status, str(failure), retry + fields, fault=failure.fault, may_pass=may_pass)


def _retry_after(seconds: float) -> bytes:
    return b"retry-after: %d\r\n" % min(max(math.ceil(seconds), 1), MAX_RETRY_SECONDS)
