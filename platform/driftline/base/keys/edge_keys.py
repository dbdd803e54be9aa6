"""The keys with which this installation signs what devices and serving hosts pull, and how they succeeded each other.

The file of the home has the newest secret first. While the one before is in it, the statement of its succession is
signed when it is read, so it is there as soon as the new key is; it is stored before that secret is deleted. The file
is read at each use: a rotation holds at once in every process.
"""

from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from driftline.base.durable_files import write_file
from driftline.base.keys.key_files import read_keys
from driftline.base.keys.key_succession import Succession, succeed
from driftline.base.keys.signing import public_text, signing_key


class Purpose(StrEnum):
    """What is signed; each purpose has keys of its own, which are derived from the same secrets."""

    MANIFESTS = "driftline manifests of devices"
    PLANS = "driftline plans of serving hosts"


def edge_keys(purpose: Purpose) -> list[Ed25519PrivateKey]:
    """Return the keys that are still there, the newest first."""
    return [signing_key(secret, purpose) for secret in read_keys(settings.EDGE_KEY_FILE)]


def newest_key(purpose: Purpose) -> Ed25519PrivateKey:
    """Return the key that signs for everybody who can follow its succession."""
    return edge_keys(purpose)[0]


def successions(purpose: Purpose) -> list[Succession]:
    """Return who succeeded whom, from the first key to the newest; no other statement that was ever made."""
    keys = edge_keys(purpose)
    by_successor = {one.next_key: one for one in _stored().get(purpose, [])}
    for key, next_key in pairwise(reversed(keys)):
        before = by_successor.get(public_text(key))
        made = succeed(key, next_key, 1 + (before.number if before else 0))
        by_successor.setdefault(made.next_key, made)
    chain: list[Succession] = []
    successor = public_text(keys[0])
    while (one := by_successor.pop(successor, None)) is not None:
        chain.append(one)
        successor = one.key
    return chain[::-1]


def first_key(purpose: Purpose) -> str:
    """Return the public half (base64) of the first key that this installation had."""
    known = successions(purpose)
    return known[0].key if known else public_text(newest_key(purpose))


def store_successions() -> None:
    """Write down all statements, so that the keys that signed them may be deleted."""
    write_file(_path(), msgspec.json.encode({one: successions(one) for one in Purpose}), mode=0o600)


def _stored() -> dict[str, list[Succession]]:
    try:
        return msgspec.json.decode(_path().read_bytes(), type=dict[str, list[Succession]])
    except FileNotFoundError:
        return {}


def _path() -> Path:
    path: Path = settings.EDGE_KEY_FILE
    return path.with_name("edge_successions")
