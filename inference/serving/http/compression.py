"""Bodies that are compressed on the wire: gzip and deflate, unpacked within a bound."""

import functools
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from inference.serving.http.incoming_body import MAX_BODY_BYTES
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer

QUICK_PACKED_BYTES = 8 * 1024  # up to here a body is unpacked at once, in the event loop
QUICK_UNPACKED_BYTES = 128 * 1024  # unless it unpacks to more than this
MIN_PACKED_BYTES = 1024  # a shorter answer fits into one packet as it is
QUICK_ANSWER_BYTES = 32 * 1024

_thread = ThreadPoolExecutor(1, "compression")  # long bodies take turns, so that few are unpacked at once
_WINDOWS = {b"gzip": 31, b"deflate": 15}  # zlib's codes for the two wrappers


def unpack(coding: bytes, body: bytes, max_bytes: int = MAX_BODY_BYTES) -> bytes | Refusal:
    """Unpack a body, or refuse one that is broken or longer than `max_bytes` when it is unpacked."""
    coding = coding.strip().lower()
    if coding == b"identity":
        return body
    if coding not in _WINDOWS:
        shown = coding[:40].decode("ascii", "backslashreplace")
        return Refusal(415, f"The Content-Encoding '{shown}' is not taken; use gzip, deflate or none.")
    unpacker = zlib.decompressobj(_WINDOWS[coding])
    try:
        unpacked = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        return _broken(coding)
    if len(unpacked) > max_bytes:
        return Refusal(413, f"The body unpacks to more than {max_bytes} bytes; send fewer rows at a time.")
    if not unpacker.eof or unpacker.unused_data:
        return _broken(coding)
    return unpacked


def unpack_quickly(coding: bytes, body: bytes) -> bytes | Refusal | None:
    """Unpack a small body that stays small; None for another, which belongs in a thread."""
    if len(body) > QUICK_PACKED_BYTES:
        return None
    unpacked = unpack(coding, body, QUICK_UNPACKED_BYTES)
    return None if isinstance(unpacked, Refusal) and unpacked.status == 413 else unpacked


def _broken(coding: bytes) -> Refusal:
    return Refusal(400, f"The body is not one whole piece of {coding.decode()}; compress it again.")


def choose_coding(answer: Answer, accepted: bytes | None) -> bytes | None:
    """Choose how to compress an answer for a caller who accepts such codings; None to send it as it is."""
    if accepted is None or len(answer.body) < MIN_PACKED_BYTES:
        return None
    return next((coding for coding in _accepted_codings(accepted) if coding in _WINDOWS), None)


@functools.lru_cache(256)
def _accepted_codings(accepted: bytes) -> Sequence[bytes]:
    """List the codings of an Accept-Encoding that are not refused by q=0, in its order."""
    codings: list[bytes] = []
    for item in accepted.lower().split(b","):
        coding, _, weight = item.replace(b" ", b"").partition(b";q=")
        if weight.rstrip(b"0.") or not weight:
            codings.append(coding)
    return codings


def pack(answer: Answer, coding: bytes) -> Answer:
    """Compress an answer, as fast as it goes."""
    packer = zlib.compressobj(1, wbits=_WINDOWS[coding])
    body = packer.compress(answer.body) + packer.flush()
    fields = b"%bcontent-encoding: %b\r\nvary: accept-encoding\r\n" % (answer.fields, coding)
    return Answer(answer.status, body, fields)


def in_turn[*Given, Result](work: Callable[[*Given], Result], *given: *Given) -> Future[Result]:
    """Pack or unpack a long body in the one thread that does this."""
    return _thread.submit(work, *given)
