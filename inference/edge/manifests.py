"""Signed manifests: what a device should answer with, in bytes that it can check with the key from its enrolment.

The key is Ed25519, derived from a key of the home that is made on first use. A manifest names its device, so that it
cannot be shown to another one, its generation, so that an old one is refused, and the day on which it ends.
"""

from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from driftline.base.keys import signing
from driftline.base.periods import rfc3339
from inference.edge.models import Device, Release
from inference.registry.selectors import signature_of
from inference.signatures import Signature

LASTS = timedelta(days=7)


class Manifest(Struct, frozen=True):
    """What an agent reads: the version for a device, its file, and what it takes and gives."""

    device: str
    group: str
    generation: int
    release: int
    model: str
    version: str
    sha256: str
    size: int
    signature: Signature
    expires_at: str
    sampling: float
    ask_below: float | None
    ask_after_days: int | None
    released_at: str


def manifest_of(device: Device, release: Release, *, now: datetime) -> str:
    """Write the manifest of a device as JSON; it is the same all day long, so that a poll can answer 304."""
    version = release.version
    expires_at = now.replace(hour=0, minute=0, second=0, microsecond=0) + LASTS
    manifest = Manifest(
        device=device.name,
        group=device.group.name,
        generation=device.group.generation,
        release=release.pk,
        model=device.group.model.name,
        version=version.version,
        sha256=version.sha256,
        size=version.size,
        signature=signature_of(version),
        expires_at=rfc3339(expires_at),
        sampling=device.group.sampling,
        ask_below=device.group.ask_below,
        ask_after_days=device.group.ask_after_days,
        released_at=rfc3339(release.created_at),
    )
    return msgspec.json.encode(manifest).decode()


def sign(text: str, key: Ed25519PrivateKey) -> str:
    """Sign a manifest; base64."""
    return signing.sign(key, text.encode())
