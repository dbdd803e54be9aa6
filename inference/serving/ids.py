"""Prediction ids: UUIDs of version 7, which sort by time and so keep their index small."""

import random
import time

_random = random.Random()  # seeded by the operating system in each process


def new_prediction_id() -> str:
    """Make a UUIDv7: milliseconds, their fraction in 12 bits, and 62 random bits (RFC 9562, 6.2 method 3)."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    tail = _random.getrandbits(62)
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{fraction:03x}"
        f"-{0x8000 | tail >> 48:04x}-{tail & 0xFFFFFFFFFFFF:012x}"
    )


def row_ids(prediction_id: str, rows: int) -> list[str]:
    """Name each row: the id itself for one row, else the id with `:0` ... `:n-1` appended."""
    if rows == 1:
        return [prediction_id]
    return [f"{prediction_id}:{row}" for row in range(rows)]
