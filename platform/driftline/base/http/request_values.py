"""Values that requests carry outside a JSON body: bytes with their encoding, times in queries, preconditions."""

import re
import zlib
from datetime import datetime

import zstandard
from django.http import HttpRequest

from driftline.base.errors import FieldFault, Problem
from driftline.base.periods import STEPS, Period, parse_moment
from driftline.base.strict_json import printable

_ETAG = re.compile(r'(?:W/)?"?(\d{1,18})"?')


def refuse_parameter(name: str, detail: str) -> Problem:
    """Refuse one parameter of a query or path."""
    return Problem(400, "invalid_parameter", detail, [FieldFault(f"/{name}", "invalid_parameter", detail)])


def span_refusal(name: str, span: str, *others: str) -> str:
    """Describe that a text is no span, and which there are; `others` may be sent too."""
    choices = ", ".join((*others, *STEPS))
    return f"{name} is '{printable(span)}'; use {choices}, or days that roll such as 7d (2d to 90d)."


# -- bytes -------------------------------------------------------------------------------------------------------------
def media_type(request: HttpRequest, allowed: tuple[str, ...]) -> str:
    """Return the body's media type, one of `allowed`; raises Problem 415."""
    kind = (request.content_type or "").lower()
    if kind not in allowed:
        given = f"'{printable(kind)}'" if kind else "missing"
        raise Problem(415, "unsupported_media_type", f"Content-Type is {given}; use {' or '.join(allowed)}.")
    return kind


def read_body(request: HttpRequest, *, cap: int) -> bytes:
    """Read a body of at most `cap` bytes, packed and unpacked; raises Problem 413, 415 or 400."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if length.isdigit() and int(length[:18]) > cap:
        raise _too_large(cap)
    body = request.read(cap + 1)
    if len(body) > cap:
        raise _too_large(cap)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    match encoding:
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, cap)
        case "zstd":
            return _unzstd(body, cap)
    raise Problem(
        415, "unsupported_encoding", f"Content-Encoding is '{printable(encoding)}'; use gzip, zstd or none."
    )


def _gunzip(body: bytes, cap: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, cap + 1)
    except zlib.error as error:
        raise _broken("gzip") from error
    if len(unpacked) > cap:
        raise _too_large(cap)
    if not unpacker.eof or unpacker.unused_data:
        raise _broken("gzip")
    return unpacked


def _unzstd(body: bytes, cap: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 23)
    try:
        with unpacker.stream_reader(body) as stream:
            unpacked = stream.read(cap + 1)
    except zstandard.ZstdError as error:
        raise _broken("zstd") from error
    if len(unpacked) > cap:
        raise _too_large(cap)
    return unpacked


def _too_large(cap: int) -> Problem:
    return Problem(
        413,
        "body_too_large",
        f"The body is larger than {cap >> 20:,} MiB once unpacked; send it in parts.",
        headers={"Connection": "close"},
    )


def _broken(encoding: str) -> Problem:
    return Problem(400, "malformed_encoding", f"The body does not unpack as {encoding}.")


# -- times and preconditions -------------------------------------------------------------------------------------------
def moment(name: str, text: str, *, now: datetime) -> datetime:
    """Read a time parameter: RFC 3339 with a zone, `now`, or a distance back such as `-7d`."""
    try:
        return parse_moment(text, now=now)
    except (ValueError, OverflowError) as error:
        raise refuse_parameter(
            name, f"{name} is '{printable(text)}'; use RFC 3339 with a zone, or a distance back such as -7d."
        ) from error


def period(start: str, end: str, *, now: datetime) -> Period:
    """Read the parameters `from` and `to` as a half-open interval."""
    window = Period(moment("from", start, now=now), moment("to", end, now=now))
    if window.start >= window.end:
        raise refuse_parameter("from", "'from' must lie before 'to'.")
    return window


def bounds(start: str, end: str, *, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Read the parameters `from` and `to` where they may be left out: None is no bound."""
    first, last = (
        moment(name, text, now=now) if text else None for name, text in (("from", start), ("to", end))
    )
    if first and last and first >= last:
        raise refuse_parameter("from", "'from' must lie before 'to'.")
    return first, last


def expected_generation(request: HttpRequest) -> int:
    """Read `If-Match: 7` or `If-Match: "7"`; raises Problem 428 when it is missing."""
    text = request.headers.get("If-Match", "").strip()
    if not text:
        raise Problem(
            428,
            "precondition_required",
            "Send 'If-Match: <generation>' with the generation that you have read.",
        )
    match = _ETAG.fullmatch(text)
    if match is None:
        raise refuse_parameter("If-Match", f"If-Match is '{printable(text)}'; use a generation such as 7.")
    return int(match[1])
