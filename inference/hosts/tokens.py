"""What a host holds: one text of its secret and of the public key with which plans are signed."""

import base64
import binascii
import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from msgspec import Struct

from driftline.common.signing import public_bytes, sign, signing_key

PREFIX = "dl_host_"
_PURPOSE = "driftline plans of serving hosts"


class HostToken(Struct, frozen=True):
    """A token as a host reads it: `text` is what it sends, `public_key` what it checks plans with."""

    text: str
    public_key: bytes

    def __repr__(self) -> str:
        return f"HostToken {PREFIX}..."

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


def new_token() -> str:
    """Make the token of a host; it holds the public key, so that nothing else need be carried there."""
    key = base64.urlsafe_b64encode(public_bytes(_key())).decode().rstrip("=")
    return f"{PREFIX}{secrets.token_hex(32)}.{key}"


def sign_plan(document: bytes) -> str:
    """Sign a published plan; base64."""
    return sign(_key(), document)


def _key() -> Ed25519PrivateKey:
    return signing_key(settings.EDGE_KEY, _PURPOSE)
