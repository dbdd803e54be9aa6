"""The plan as hosts pull it: with the keys that their home needs, signed, and encoded once for all of them."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from msgspec import Struct

from driftline.base.keys.edge_keys import Purpose, edge_keys
from driftline.base.keys.signing import public_text, sign
from inference.serving.plan import PLAN_FILE, Plan, PlanReader

SIGNATURE_HEADER = "Driftline-Signature"
KEYS = ("hash_key", "log_key", "endpoint_key")
"""Of `keys/` in a home: hashes of private features, what seals the log, what opens credentials of other servers."""


class HostPlan(Struct, frozen=True):
    """What a host pulls: everything that is served, and the content of those of `KEYS` that there are.

    `encrypts_log` says whether what is logged is sealed, which must be the same everywhere.
    """

    plan: Plan
    keys: dict[str, str]
    encrypts_log: bool

    def __repr__(self) -> str:
        return f"HostPlan of generation {self.plan.generation}"


class SignedPlan(Struct, frozen=True):
    """A `HostPlan` as JSON, with the ETag of these bytes and their signature by the newest key.

    For hosts of a release that follows no succession, `signatures` has those of all keys that are left, the newest
    first, each by the public half (base64) of its key.
    """

    content: bytes
    etag: str
    signature: str
    signatures: dict[str, str]

    def signature_for(self, token_key: str) -> str:
        """Return the signature by the key of a token; by the oldest key where that is not known or was deleted."""
        return self.signatures.get(token_key) or list(self.signatures.values())[-1]


class PublishedPlan:
    """The plan of a home, read again where it has changed; for the threads of one process."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._reader = PlanReader(home / PLAN_FILE)
        self._keys: dict[str, str] = {}
        self._signers: list[Ed25519PrivateKey] = []
        self._signed: SignedPlan | None = None

    def current(self) -> SignedPlan:
        """Return the plan as it is now; raises PlanUnreadable where there is none."""
        with self._lock:
            keys = {name: path.read_text() for name in KEYS if (path := self._home / "keys" / name).exists()}
            signers = edge_keys(Purpose.PLANS)
            is_same = (keys, signers) == (self._keys, self._signers)
            if self._signed is None or not is_same or self._reader.has_changed():
                self._signed = _sign(HostPlan(self._reader.read(), keys, settings.ENCRYPT_LOG), signers)
                self._keys, self._signers = keys, signers
            return self._signed


def _sign(document: HostPlan, signers: Sequence[Ed25519PrivateKey]) -> SignedPlan:
    content = msgspec.json.encode(document)
    signatures = {public_text(key): sign(key, content) for key in signers}
    signature = signatures[public_text(signers[0])]
    digest = hashlib.sha256(content + signature.encode()).hexdigest()
    return SignedPlan(content, f'"{digest[:32]}"', signature, signatures)
