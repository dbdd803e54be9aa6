"""Headers that prove to another server who we are, sealed under a key of the home.

No Django here: serving processes open them. The key lies in `keys/endpoint_key`, apart from the plan that holds them.
"""

import base64
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_FILE = Path("keys") / "endpoint_key"


class CredentialUnreadable(Exception):
    """A credential was sealed under another key than the home has now."""


def seal_headers(headers: dict[str, str], key: str) -> str:
    """Seal headers under the home's key."""
    return _fernet(key).encrypt(msgspec.json.encode(headers)).decode()


def open_headers(sealed: str, home: Path) -> dict[str, str]:
    """Open what `seal_headers` gave; raises CredentialUnreadable."""
    if not sealed:
        return {}
    try:
        opened = _fernet((home / KEY_FILE).read_text()).decrypt(sealed.encode())
    except (InvalidToken, OSError) as error:
        raise CredentialUnreadable(
            "The credential of the model's server cannot be opened: it was sealed under another key; send it again."
        ) from error
    return msgspec.json.decode(opened, type=dict[str, str])


def _fernet(key: str) -> Fernet:
    derived = HKDF(SHA256(), length=32, salt=None, info=b"driftline endpoint credentials").derive(
        key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))
