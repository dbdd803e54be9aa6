"""Identifiers: UUIDs of version 7, which sort by time and so keep an index small, and what callers may use."""

import os
import re
import time

ID_LENGTH = 200
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\ud800-\udfff]+")


_BATCH = 256
_RANDOM_BITS, _VARIANT = (int.from_bytes(two_bytes * _BATCH) for two_bytes in (b"\x3f\xff", b"\x80\x00"))
_tails: list[str] = []  # random ends, made many at a time: two system calls and one conversion for all
os.register_at_fork(after_in_child=_tails.clear)  # the parent will use them


def new_id() -> str:
    """Make a UUIDv7: milliseconds, their fraction in 12 bits, and 62 random bits (RFC 9562, 6.2 method 3)."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """Make ids of one moment: most of what an id costs is to read the clock and to write the time."""
    while len(_tails) < count:
        _tails.extend(_make_tails())
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    high, low = divmod(milliseconds, 65536)
    moment = f"{high:08x}-{low:04x}-7{rest * 4096 // 1_000_000:03x}-"
    try:
        return [moment + _tails.pop() for _ in range(count)]
    except IndexError:  # other threads were faster
        return new_ids(count)


def _make_tails() -> list[str]:
    firsts = int.from_bytes(os.urandom(2 * _BATCH)) & _RANDOM_BITS | _VARIANT
    lasts = os.urandom(6 * _BATCH)
    parts = zip(firsts.to_bytes(2 * _BATCH).hex("-", 2).split("-"), lasts.hex("-", 6).split("-"), strict=True)
    return ["-".join(part) for part in parts]


def row_ids(prediction_id: str, rows: int, start: int, stop: int) -> list[str]:
    """Name the rows `start` to `stop` of `rows`: the id itself for one row, else with `:0` ... `:n-1` appended."""
    if rows == 1:
        return [prediction_id]
    return [f"{prediction_id}:{row}" for row in range(start, stop)]


def is_valid_id(text: str) -> bool:
    """Return whether `text` may name a prediction: 1 to 200 printable characters."""
    return 0 < len(text) <= ID_LENGTH and is_printable(text)


def is_printable(text: str) -> bool:
    """Return whether a text holds printable characters only, and at least one."""
    if text.isascii():  # asked in C, character by character as the expression does
        return text != "" and text.isprintable()
    return _PRINTABLE.fullmatch(text) is not None
