"""Prediction ids: UUIDs of version 7, which sort by time and so keep their index small."""

import os
import time

_TAILS = 256
_RANDOM_BITS, _VARIANT = (int.from_bytes(two_bytes * _TAILS) for two_bytes in (b"\x3f\xff", b"\x80\x00"))
_tails: list[str] = []  # random ends, made many at a time: two system calls and one conversion for all


def new_prediction_id() -> str:
    """Make a UUIDv7: milliseconds, their fraction in 12 bits, and 62 random bits (RFC 9562, 6.2 method 3)."""
    return new_prediction_ids(1)[0]


def new_prediction_ids(count: int) -> list[str]:
    """Make ids of one moment: most of what an id costs is to read the clock and to write the time."""
    while len(_tails) < count:
        _tails.extend(_make_tails())
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    high, low = divmod(milliseconds, 65536)
    moment = f"{high:08x}-{low:04x}-7{rest * 4096 // 1_000_000:03x}-"
    left = len(_tails) - count
    ids = [moment + tail for tail in _tails[left:]]
    del _tails[left:]
    return ids


def _make_tails() -> list[str]:
    firsts = int.from_bytes(os.urandom(2 * _TAILS)) & _RANDOM_BITS | _VARIANT
    lasts = os.urandom(6 * _TAILS)
    parts = zip(firsts.to_bytes(2 * _TAILS).hex("-", 2).split("-"), lasts.hex("-", 6).split("-"), strict=True)
    return ["-".join(part) for part in parts]


def row_ids(prediction_id: str, rows: int, start: int, stop: int) -> list[str]:
    """Name the rows `start` to `stop` of `rows`: the id itself for one row, else with `:0` ... `:n-1` appended."""
    if rows == 1:
        return [prediction_id]
    return [f"{prediction_id}:{row}" for row in range(start, stop)]
