"""Content-addressed store of model files: `artifacts/<aa>/<sha256>.onnx` under DRIFTLINE_HOME.

The name that a caller gave a file is never part of a path. A file appears under its digest whole or not at all.
"""

import errno
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.launcher import DEFAULT_LIMITS, artifact_too_large

_FOLDER = "artifacts"
_CHUNK = 1 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Readable(Protocol):
    """Anything that gives its bytes in pieces, and b"" at its end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class StoredArtifact:
    """A file in the store; `path` is relative to DRIFTLINE_HOME, as the plan names it; `size` in bytes."""

    sha256: str
    path: str
    size: int


class ArtifactDamaged(Exception):
    """The store has no file with that digest, or its bytes are not the ones that were stored."""


def relative_path(sha256: str) -> str:
    """Name the file of a digest, relative to DRIFTLINE_HOME."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{sha256!r} is no SHA-256 digest; use 64 hexadecimal digits in lower case.")
    return f"{_FOLDER}/{sha256[:2]}/{sha256}.onnx"


def store(home: Path, stream: Readable, *, max_bytes: int = DEFAULT_LIMITS.file_bytes) -> StoredArtifact:
    """Keep the stream's bytes durably under their digest; the same bytes again change nothing.

    Raises `IntakeRefused`: `artifact_too_large` (413) past `max_bytes`, `insufficient_storage` (507) on a full
    disk. Nothing of a refused file is left.
    """
    folder = home / _FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".arriving-", delete_on_close=False) as arriving:
            sha256, size = _copy(stream, arriving.file, max_bytes)
            _move_into_place(Path(arriving.name), home / relative_path(sha256))
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise IntakeRefused(
                "insufficient_storage", 507, "The disk is full; make room for the model and upload it again."
            ) from error
        raise
    return StoredArtifact(sha256, relative_path(sha256), size)


def verify(home: Path, sha256: str) -> Path:
    """Return the file of a digest after reading all of it; raises `ArtifactDamaged`."""
    path = home / relative_path(sha256)
    try:
        with path.open("rb") as artifact:
            found = hashlib.file_digest(artifact, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ArtifactDamaged(f"{path} is missing; restore it from a backup or upload it again.") from error
    if found != sha256:
        raise ArtifactDamaged(f"{path} holds other bytes (sha256 {found}); restore it from a backup.")
    return path


def _copy(stream: Readable, target: IO[bytes], max_bytes: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise artifact_too_large(max_bytes)
        digest.update(chunk)
        target.write(chunk)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest(), size


def _move_into_place(arrived: Path, final: Path) -> None:
    """Give the file its name, replacing an equal or damaged one, and make the names durable too."""
    final.parent.mkdir(mode=0o700, exist_ok=True)
    arrived.replace(final)
    for folder in (final.parent, final.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
