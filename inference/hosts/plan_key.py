"""The key with which a host checks plans: that of its token, or the one that succeeded it, in a file of its home."""

import base64
from pathlib import Path

import msgspec
from msgspec import Struct

from driftline.base.durable_files import write_file
from driftline.base.errors import UNREADABLE
from driftline.base.keys.key_succession import Pin, SuccessionStatement, follow
from driftline.base.keys.signing import is_signed
from inference.hosts.tokens import HostToken

FILE = "host_plan_key"


class _StoredPin(Struct, frozen=True):
    """What the file has: to which key statements led from that of a token. Another token begins anew."""

    token_key: str
    pin: Pin


class PlanKey:
    """The key that a home pins."""

    def __init__(self, home: Path, token: HostToken) -> None:
        self._path = home / FILE
        self._token_key = token.key_text
        self._pin = self._read()

    @property
    def text(self) -> str:
        """The public key, in base64."""
        return self._pin.key

    def verifies(self, content: bytes, signature: str) -> bool:
        """Return whether the pinned key signed this."""
        return is_signed(base64.b64decode(self._pin.key), content, signature)

    def follow(self, statements: list[SuccessionStatement]) -> None:
        """Pin the key to which statements lead, on the disk first; raises OSError where that takes nothing."""
        pin = follow(self._pin, statements)
        if pin != self._pin:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self._path, msgspec.json.encode(_StoredPin(self._token_key, pin)), mode=0o600)
            self._pin = pin

    def _read(self) -> Pin:
        try:
            stored = msgspec.json.decode(self._path.read_bytes(), type=_StoredPin)
        except (FileNotFoundError, *UNREADABLE):  # the main server leads from the token's key again
            return Pin(self._token_key)
        return stored.pin if stored.token_key == self._token_key else Pin(self._token_key)
