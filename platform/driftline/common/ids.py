"""Identifiers: made so that later ones sort after earlier ones."""

import os
import re
import time
import uuid

ID_LENGTH = 200
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\ud800-\udfff]+")


def uuid7() -> uuid.UUID:
    """Make a UUIDv7 (RFC 9562): 48 bits of milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def is_valid_id(text: str) -> bool:
    """Tell whether `text` may name a prediction: 1 to 200 printable characters."""
    return 0 < len(text) <= ID_LENGTH and is_printable(text)


def is_printable(text: str) -> bool:
    """Tell whether a text holds printable characters only, and at least one."""
    if text.isascii():  # asked in C, character by character as the expression does
        return text != "" and text.isprintable()
    return _PRINTABLE.fullmatch(text) is not None
