"""Statements by which a signing key names the next one: whoever pins the first follows without being enrolled anew.

A statement is one line of text, which no manifest and no plan can be, and is signed by the key that it succeeds. Its
number grows with each rotation, so that nobody is led back to an earlier key.
"""

import base64
import re
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from driftline.base.http.responses import ResponseBody
from driftline.base.keys.signing import is_signed, public_text, sign

KEY_HEADER = "Driftline-Signing-Key"
"""With it a device or a host names the key that it pins, and says that it can follow statements."""
_STATEMENT = re.compile(r"driftline key succession ([1-9]\d{0,8}) ([A-Za-z0-9+/]{43}=)")


class SuccessionStatement(ResponseBody, frozen=True):
    """A statement as it is sent, with its signature (base64)."""

    statement: str
    signature: str


class KeySuccessions(ResponseBody, frozen=True):
    """How the keys of one purpose succeeded each other, the first statement first."""

    successions: list[SuccessionStatement]


class Pin(Struct, frozen=True):
    """A public key (base64) that is trusted, and the number of the statement that named it; 0 for none."""

    key: str
    number: int = 0


class Succession(Struct, frozen=True):
    """That `next_key` succeeds `key`, as `key` signed it; the keys are public halves (base64)."""

    key: str
    number: int
    next_key: str
    signature: str

    @property
    def statement(self) -> SuccessionStatement:
        """What is sent of it."""
        return SuccessionStatement(_text(self.number, self.next_key), self.signature)


def succeed(key: Ed25519PrivateKey, next_key: Ed25519PrivateKey, number: int) -> Succession:
    """Sign with a key that another one succeeds it."""
    named = public_text(next_key)
    return Succession(public_text(key), number, named, sign(key, _text(number, named).encode()))


def follow(pin: Pin, statements: Iterable[SuccessionStatement]) -> Pin:
    """Return the key to which statements lead from the pinned one, which is that one itself where they lead nowhere."""
    for one in statements:
        parts = _STATEMENT.fullmatch(one.statement)
        if parts is None or int(parts[1]) <= pin.number:
            continue
        if is_signed(base64.b64decode(pin.key), one.statement.encode(), one.signature):
            pin = Pin(parts[2], int(parts[1]))
    return pin


def _text(number: int, next_key: str) -> str:
    return f"driftline key succession {number} {next_key}"
