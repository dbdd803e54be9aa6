"""Signatures of the server, by Ed25519."""

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def is_signed(text: str, signature: str, public_key: str) -> bool:
    """Return whether a key signed a text; the signature and the public key are base64."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
        key.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):  # of base64 too
        return False
    return True
