"""What a host holds: one text of its secret and of the public key with which plans are signed."""

import base64
import binascii
import secrets

from msgspec import Struct

from driftline.base.keys.edge_keys import Purpose, newest_key
from driftline.base.keys.signing import public_bytes

PREFIX = "dl_host_"


class HostToken(Struct, frozen=True):
    """A token as a host reads it: `text` is what it sends, `public_key` what it checks its first plan with."""

    text: str
    public_key: bytes

    def __repr__(self) -> str:
        return f"HostToken {PREFIX}..."

    @property
    def key_text(self) -> str:
        """The public key in base64."""
        return base64.b64encode(self.public_key).decode()

    @classmethod
    def parse(cls, text: str) -> "HostToken":
        """Read a token; raises ValueError with words for whoever set it."""
        text = text.strip()
        _, _, key = text.removeprefix(PREFIX).partition(".")
        try:
            public_key = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        except (binascii.Error, ValueError):
            public_key = b""
        if not text.startswith(PREFIX) or len(public_key) != 32:
            raise ValueError(
                "DRIFTLINE_HOST_TOKEN is no token of a serving host; make one on the main server: "
                "manage.py serving_host add NAME."
            )
        return cls(text, public_key)


def new_token() -> HostToken:
    """Make the token of a host; it holds the newest public key, so that nothing else need be carried there."""
    public_key = public_bytes(newest_key(Purpose.PLANS))
    key = base64.urlsafe_b64encode(public_key).decode().rstrip("=")
    return HostToken(f"{PREFIX}{secrets.token_hex(32)}.{key}", public_key)
