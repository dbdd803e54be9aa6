"""Encrypts the few secrets that must be read back, such as a webhook's signing key."""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes

from driftline.base.errors import invalid
from driftline.base.keys.secret_keys import follow_secret_keys

MAX_SECRET_BYTES = 64 << 10  # the private key of a client's certificate


class SecretUnreadable(Exception):
    """A stored secret was encrypted under a key that this installation no longer has."""

    def __str__(self) -> str:
        return (
            "A stored secret cannot be decrypted, so DRIFTLINE_SECRET_KEY changed since it was stored; "
            "name the old key in DRIFTLINE_SECRET_KEY_FALLBACKS, or make the secret anew."
        )


def encrypt(text: str) -> bytes:
    """Encrypt `text` under the installation's secret key."""
    return _keys().encrypt(text.encode())


def encrypt_sent(secret: str, *, max_length: int, pointer: str = "/secret") -> bytes:
    """Encrypt a secret as it was sent, or return nothing for an empty one; raises Problem (422)."""
    if len(secret) > max_length or "\x00" in secret:
        raise invalid(pointer, f"A secret has up to {max_length:,} characters.")
    return encrypt(secret) if secret else b""


def decrypt(stored: bytes | memoryview) -> str:
    """Decrypt what `encrypt` gave, under the secret key or one of Django's SECRET_KEY_FALLBACKS."""
    try:
        return _keys().decrypt(bytes(stored)).decode()
    except InvalidToken as error:
        raise SecretUnreadable from error


def decrypt_optional(stored: bytes | memoryview) -> str:
    """Decrypt what was stored; empty where nothing was."""
    return decrypt(stored) if stored else ""


def is_sealed(text: str) -> bool:
    """Return whether `text` looks like what `encrypt` gave: the version and the first bytes of a time, in base64."""
    return text.startswith("gAAAAA")


def reseal(stored: bytes | memoryview) -> bytes:
    """Encrypt under the secret key what is encrypted under it or one of the fallbacks."""
    try:
        return _keys().rotate(bytes(stored))
    except InvalidToken as error:
        raise SecretUnreadable from error


def _keys() -> MultiFernet:
    follow_secret_keys()
    return MultiFernet(
        [Fernet(_derive(key)) for key in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]]
    )


def _derive(secret_key: str | bytes) -> bytes:
    """The secret key also signs sessions; a derived one keeps the two uses apart."""
    derived = HKDF(SHA256(), length=32, salt=None, info=b"driftline secrets at rest").derive(
        force_bytes(secret_key)
    )
    return base64.urlsafe_b64encode(derived)
