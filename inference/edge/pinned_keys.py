"""Which signing key a device pins, and which one signs for it.

An agent that can follow a succession names its key in each poll and report, and gets what the newest key signed. One of
an earlier release names none: it gets what the key of its enrolment signed, for as long as that is there.
"""

import base64
import binascii
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db.models import QuerySet
from django.http import HttpRequest

from driftline.base.errors import invalid
from driftline.base.keys.edge_keys import Purpose, edge_keys, first_key, newest_key, successions
from driftline.base.keys.key_succession import KEY_HEADER
from driftline.base.keys.signing import public_text
from inference.edge.models import Device

CANNOT_FOLLOW = (
    "It trusts a signing key that was rotated away, and its agent is too old to follow: upgrade its agent, or enrol it "
    "anew with a new code."
)
UNKNOWN_KEY = (
    "It trusts a signing key that this installation does not have: put keys/edge_key and keys/edge_successions of the "
    "newest backup in place, or enrol it anew with a new code."
)


@dataclass(frozen=True)
class DeviceKey:
    """The public half (base64) of the key that a device trusts, and whether its agent follows successions."""

    key: str
    follows: bool

    def signer(self) -> Ed25519PrivateKey:
        """Return the key that signs for the device."""
        keys = edge_keys(Purpose.MANIFESTS)
        return (
            keys[0] if self.follows else next((one for one in keys if public_text(one) == self.key), keys[0])
        )

    def failure(self) -> str:
        """Return why the device cannot trust what is signed for it; empty where it can."""
        if self.key in map(public_text, edge_keys(Purpose.MANIFESTS)):
            return ""
        if not self.follows:
            return CANNOT_FOLLOW
        return "" if self.key in (one.key for one in successions(Purpose.MANIFESTS)) else UNKNOWN_KEY


def device_key(request: HttpRequest, device: Device) -> DeviceKey:
    """Return the key that a device pins, and note the one that its agent names.

    Raises Problem 422 for a header that names none.
    """
    named = request.headers.get(KEY_HEADER)
    if named is None:
        return DeviceKey(device.pinned_key or first_key(Purpose.MANIFESTS), follows=False)
    if not _is_key(named):
        raise invalid("", f"{KEY_HEADER} is no public key of Ed25519 in base64.")
    if named != device.pinned_key:
        Device.objects.filter(pk=device.pk).update(pinned_key=named)
    return DeviceKey(named, follows=True)


def devices_behind() -> QuerySet[Device]:
    """Return the enrolled devices that pin another key than the newest, as far as they were heard of."""
    newest = public_text(newest_key(Purpose.MANIFESTS))
    current = [newest, ""] if newest == first_key(Purpose.MANIFESTS) else [newest]
    return Device.objects.active().exclude(enrolled_at=None).exclude(pinned_key__in=current)


def _is_key(text: str) -> bool:
    try:
        return len(text) == 44 and len(base64.b64decode(text, validate=True)) == 32
    except (binascii.Error, ValueError):
        return False
