"""Signs what others pull, with Ed25519 keys that are derived from a key of the home: one for each purpose."""

import base64
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@lru_cache(maxsize=8)
def signing_key(secret: str, purpose: str) -> Ed25519PrivateKey:
    """Derive the key of a purpose: what was signed for one is not valid for another."""
    derived = HKDF(SHA256(), length=32, salt=None, info=purpose.encode())
    return Ed25519PrivateKey.from_private_bytes(derived.derive(secret.encode()))


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the raw public key, 32 bytes, which others pin."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the raw public key in base64."""
    return base64.b64encode(public_bytes(key)).decode()


def sign(key: Ed25519PrivateKey, content: bytes) -> str:
    """Sign bytes; base64."""
    return base64.b64encode(key.sign(content)).decode()


def is_signed(public_key: bytes, content: bytes, signature: str) -> bool:
    """Return whether bytes were signed with the private half of a key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            base64.b64decode(signature, validate=True), content
        )
    except (InvalidSignature, ValueError):
        return False
    return True
