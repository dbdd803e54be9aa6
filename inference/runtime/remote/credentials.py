"""Headers that prove to another server who we are, sealed under a key of the home.

No Django here: serving processes open them. The key lies in `keys/endpoint_key`, apart from the plan that holds them.
"""

import base64
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from driftline.base.keys.key_files import read_keys

KEY_FILE = Path("keys") / "endpoint_key"


class CredentialUnreadable(Exception):
    """A credential was sealed under another key than the home has now."""


def seal_headers(headers: dict[str, str], key: str) -> str:
    """Seal headers under a key of the home, the newest."""
    return _fernet(key).encrypt(msgspec.json.encode(headers)).decode()


def open_headers(sealed: str, home: Path) -> dict[str, str]:
    """Open what `seal_headers` gave; raises CredentialUnreadable."""
    if not sealed:
        return {}
    try:
        keys = [_fernet(key) for key in read_keys(home / KEY_FILE)]
        opened = MultiFernet(keys).decrypt(sealed.encode())
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
