"""Prediction ids: UUIDs of version 7, which sort by time and so keep their index small."""

import os
import time

_TAILS = 256
_tails: list[str] = []  # random ends, made many at a time: one system call and one conversion for all


def new_prediction_id() -> str:
    """Make a UUIDv7: milliseconds, their fraction in 12 bits, and 60 random bits (RFC 9562, 6.2 method 3).

    Of the 62 bits that the format leaves, the two beside the variant only count.
    """
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
    digits = os.urandom(8 * _TAILS).hex()
    return [
        f"{'89ab'[place & 3]}{digits[start : start + 3]}-{digits[start + 3 : start + 15]}"
        for place, start in enumerate(range(0, len(digits), 16))
    ]


def row_ids(prediction_id: str, rows: int, start: int, stop: int) -> list[str]:
    """Name the rows `start` to `stop` of `rows`: the id itself for one row, else with `:0` ... `:n-1` appended."""
    if rows == 1:
        return [prediction_id]
    return [f"{prediction_id}:{row}" for row in range(start, stop)]
