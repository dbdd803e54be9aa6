"""A device without a network: its identity, manifests signed as the server signs them, and a server that is played."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from driftline_agent import durable_files
from driftline_agent.accelerators import CPU
from driftline_agent.agent import Options
from driftline_agent.errors import NotReached
from driftline_agent.rows.row_file import make_row_file
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.identity import Identity, read_identity, store_identity
from driftline_agent.server.key_succession import Statement
from driftline_agent.server.manifest import Manifest, SignedManifest
from driftline_agent.server.updater import Updater
from driftline_agent.serving import ModelInUse
from driftline_agent.versions import VersionStore
from inference.signatures import Signature
from tests.inference.onnx_models import linear_model, linear_signature

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
YEAR_2026_MS = 1_767_225_600_000


def public_key_of(key: Ed25519PrivateKey) -> str:
    """Write what a device pins of a key."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


IDENTITY = Identity(
    url="http://127.0.0.1:1",
    device="truck",
    group="trucks",
    token="dl_device_test",
    public_key=public_key_of(KEY),
    enrolled_ms=YEAR_2026_MS,
)


def signed(
    content: bytes,
    version: str = "1",
    signature: Signature | None = None,
    key: Ed25519PrivateKey = KEY,
    **changes: Any,
) -> SignedManifest:
    """Sign a manifest of a file; its generation and release are the version's number unless they are given."""
    document = {
        "device": "truck",
        "group": "trucks",
        "generation": int(version),
        "release": int(version),
        "model": "fuel",
        "version": version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "signature": msgspec.to_builtins(signature or linear_signature()),
        "expires_at": "2100-01-01T00:00:00Z",
    } | changes
    text = json.dumps(document)
    return SignedManifest(text, base64.b64encode(key.sign(text.encode())).decode())


def succession(key: Ed25519PrivateKey, next_key: Ed25519PrivateKey, number: int) -> Statement:
    """Let a key name the one that succeeds it, as the server writes it."""
    text = f"driftline key succession {number} {public_key_of(next_key)}"
    return Statement(text, base64.b64encode(key.sign(text.encode())).decode())


def enrol_in(home: Path) -> None:
    """Leave in a folder what the enrolment of the device leaves there."""
    store_identity(home, IDENTITY)
    make_row_file(home, 1, max_bytes=Options.max_row_bytes)


def times(factor: int) -> bytes:
    """A model that answers so many times x."""
    return linear_model(float(factor), 0.0)


@dataclass
class PlayedServer:
    """What the uplink is to an updater; files are sent whole unless `cut_at` ends them."""

    offered: SignedManifest | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    cut_at: int | None = None
    downloads: int = 0
    forgotten: int = 0
    delivered: SignedManifest | None = None
    successions: list[Statement] | None = field(default_factory=list)
    """None for a server that does not answer them."""
    named_key: str = ""

    def offer(self, content: bytes, version: str, **changes: Any) -> None:
        """Assign a version from now on."""
        self.offered = signed(content, version, **changes)
        self.files[json.loads(self.offered.manifest)["sha256"]] = content

    def assignment(self) -> SignedManifest | None:
        """Answer once with an assignment, as ETags have it, unless it is forgotten."""
        if self.offered is self.delivered:
            return None
        self.delivered = self.offered
        return self.offered

    def key_successions(self) -> list[Statement]:
        if self.successions is None:
            raise NotReached("no answer")
        return self.successions

    def name_key(self, public_key: str) -> None:
        self.named_key = public_key

    def forget_assignment(self) -> None:
        self.forgotten += 1
        self.delivered = None

    def download(self, manifest: Manifest, draft: Path, path: Path) -> None:
        self.downloads += 1
        content = self.files[manifest.sha256]
        draft.write_bytes(content[: self.cut_at])
        if self.cut_at is not None:
            raise NotReached("the download broke off")
        durable_files.put_in_place(draft, path)


@dataclass
class PlayedDevice:
    """An updater with its folder, and a server that is played."""

    home: Path
    server: PlayedServer = field(default_factory=PlayedServer)
    clock: DeviceClock = field(default_factory=DeviceClock)
    profile: str = CPU

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin as a process that starts: only what is on the disk is known."""
        self.server.delivered = None
        self.identity = read_identity(self.home) if (self.home / "device.json").exists() else IDENTITY
        self.in_use = ModelInUse()
        self.versions = VersionStore(self.home)
        self.updater = Updater(
            self.home,
            self.identity,
            self.versions,
            self.in_use,
            self.server,  # type: ignore[arg-type]
            self.clock,
            self.profile,
        )
        self.updater.load_from_disk()

    def version(self) -> str | None:
        """Say which version answers."""
        return self.in_use.model and self.in_use.model.manifest.version
