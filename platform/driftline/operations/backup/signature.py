"""The signature of a backup's manifest, and which keys a restore trusts.

It is made with the installation's secret key, which is in the backup's keys. A restore trusts the secret key of the
home or of the settings, and the one in keys that were kept apart. Keys that lie in the backup itself show that it is
as whole as it was made, and not who made it.
"""

import tarfile
from pathlib import Path

from django.conf import settings

from driftline.base.durable_files import write_file
from driftline.base.keys.signing import is_signed, public_bytes, sign, signing_key
from driftline.operations.backup.manifest import MANIFEST, NoBackup

SIGNATURE = "manifest.sig"
KEYS_BESIDE = (
    "Its keys lay beside it, so its signature does not show who made it; `backup --keys` keeps them apart."
)
_REMEDY = (
    "Restore one that is as it was made; --trust restores it nevertheless, such as one of an earlier release, where "
    "nobody else could write to its folder."
)
_PURPOSE = "driftline backup manifest"
_SECRET_KEY = "keys/secret_key"
_MAX_BYTES = 10_000


def sign_manifest(folder: Path) -> None:
    """Sign the manifest of a backup with the secret key of this installation, durably."""
    signature = sign(signing_key(settings.SECRET_KEY, _PURPOSE), (folder / MANIFEST).read_bytes())
    write_file(folder / SIGNATURE, signature.encode(), mode=0o600)


def check_signature(folder: Path, keys: Path, *, is_apart: bool) -> str:
    """Check who signed the manifest of a backup; raises NoBackup where no key that is known did.

    Returns what to know about it: something where only keys from the backup itself fit.
    """
    try:
        content, signature = (folder / MANIFEST).read_bytes(), _read(folder / SIGNATURE)
    except OSError as error:
        raise NoBackup(f"{folder} has no {SIGNATURE}, so nobody knows who made it. {_REMEDY}") from error
    if _is_signed_by([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS], content, signature):
        return ""
    if _is_signed_by(_read_secrets(keys), content, signature):
        return "" if is_apart else KEYS_BESIDE
    raise NoBackup(
        f"{folder / MANIFEST} was changed, or signed by an installation with other keys. {_REMEDY}"
    )


def _read(path: Path) -> str:
    with path.open(errors="replace") as file:
        return file.read(_MAX_BYTES)


def _read_secrets(keys: Path) -> list[str]:
    """Read the secret keys in an archive of keys, the newest first; none where the settings name one."""
    try:
        with tarfile.open(keys) as packed:
            file = packed.extractfile(_SECRET_KEY)
            content = b"" if file is None else file.read(_MAX_BYTES)
    except KeyError:
        return []
    except (OSError, tarfile.TarError) as error:
        raise NoBackup(f"{keys} cannot be unpacked, so it is not as it was made: {error}.") from error
    return [line for line in content.decode(errors="replace").split("\n") if line]


def _is_signed_by(secrets: list[str], content: bytes, signature: str) -> bool:
    return any(
        is_signed(public_bytes(signing_key(secret, _PURPOSE)), content, signature) for secret in secrets
    )
