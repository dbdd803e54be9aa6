"""What a Prefer header says, as RFC 7240 writes it, and what it says where it is not written so."""

import pytest

from inference.protocol.preferences import Preferences, read_preferences


@pytest.mark.parametrize(
    ("header", "respond_async", "wait_seconds"),
    [
        (b"respond-async", True, None),
        (b"Respond-Async", True, None),
        (b"respond-async, wait=10", True, 10),
        (b"wait=10 , respond-async", True, 10),
        (b'respond-async, wait="7"', True, 7),
        (b'respond-async; note="a, b"; c, wait=5', True, 5),
        (b'return=minimal, foo="x, respond-async"', False, None),
        (b"respond-async, wait=5, wait=9", True, 5),
        (b"respond-async, wait=-1", True, None),
        (b"respond-async, wait=soon", True, None),
        (b"respond-async, wait", True, None),
        (b"respond-async, wait=99999999999999999999", True, None),
        (b", ,, respond-async", True, None),
        (b'"broken, respond-async', False, None),
        (b"wait=10", False, 10),
        (b"", False, None),
        (b"\xff\xfe=, respond-async", True, None),
        (b"respond-asynchronously", False, None),
        (b"respond-async, wait=5, " + b"x" * 1024, True, 5),
        (b"respond-async,".ljust(1024 - len(b"wait=1")) + b"wait=10", True, None),  # not 1 second
        (b" " * 1024 + b", respond-async", False, None),
    ],
)
def test_is_read_and_what_is_broken_is_passed_over(
    header: bytes, respond_async: bool, wait_seconds: int | None
) -> None:
    assert read_preferences(header) == Preferences(respond_async, wait_seconds)
