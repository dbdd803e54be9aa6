"""Content-addressed store of model files: `artifacts/<aa>/<sha256>.onnx` under DRIFTLINE_HOME.

The name that a caller gave a file is never part of a path. A file appears under its digest whole, and after the
intake has passed it, or not at all.
"""

import errno
import hashlib
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from driftline.base.durable_files import sync_to_disk
from driftline.base.http.uploads import Readable, receive_file
from inference.registry.intake.errors import IntakeRefused
from inference.registry.intake.launcher import DEFAULT_LIMITS, artifact_too_large

LEFT_OVER_AFTER = timedelta(days=1)
_FOLDER = "artifacts"
_ARRIVING = ".arriving-"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class StoredArtifact:
    """A file in the store; `path` is relative to DRIFTLINE_HOME, as the plan names it; `size` in bytes."""

    sha256: str
    path: str
    size: int


@dataclass(frozen=True)
class ArrivedArtifact:
    """A file that was received whole and is not in the store yet."""

    home: Path
    location: Path
    sha256: str
    size: int

    def keep(self) -> StoredArtifact:
        """Move the file into the store under its digest; the same bytes again change nothing."""
        path = relative_path(self.sha256)
        _move_into_place(self.location, self.home / path)
        return StoredArtifact(self.sha256, path, self.size)


class ArtifactDamaged(Exception):
    """The store has no file with that digest, or its bytes are not the ones that were stored."""


def relative_path(sha256: str) -> str:
    """Name the file of a digest, relative to DRIFTLINE_HOME."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"{sha256!r} is no SHA-256 digest; use 64 hexadecimal digits in lower case.")
    return f"{_FOLDER}/{sha256[:2]}/{sha256}.onnx"


@contextmanager
def receive(
    home: Path, stream: Readable, *, max_bytes: int = DEFAULT_LIMITS.file_bytes
) -> Iterator[ArrivedArtifact]:
    """Receive the stream's bytes durably beside the store; what is not kept by the end of the block is removed.

    Raises `IntakeRefused`: `artifact_too_large` (413) past `max_bytes`, `insufficient_storage` (507) on a full
    disk.
    """
    folder = home / _FOLDER
    with refuse_full_disk():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=_ARRIVING, delete_on_close=False) as arriving:
            sha256, size = receive_file(
                stream, arriving.file, too_large=artifact_too_large(max_bytes), max_bytes=max_bytes
            )
            sync_to_disk(Path(arriving.name))
            yield ArrivedArtifact(home, Path(arriving.name), sha256, size)


@contextmanager
def refuse_full_disk() -> Iterator[None]:
    """Turn the system's word that the disk is full into a refusal (507)."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise IntakeRefused(
                "insufficient_storage", 507, "The disk is full; make room for the model and upload it again."
            ) from error
        raise


def remove_leftovers(home: Path, *, older_than: timedelta = LEFT_OVER_AFTER) -> int:
    """Remove what uploads left whose process was killed, and return how many files there were.

    A younger file may still be arriving: no upload takes a day.
    """
    removed = 0
    for leftover in (home / _FOLDER).glob(f"{_ARRIVING}*"):
        with suppress(FileNotFoundError):  # it has just arrived or was refused
            if time.time() - leftover.stat().st_mtime > older_than.total_seconds():
                leftover.unlink()
                removed += 1
    return removed


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


def _move_into_place(arrived: Path, final: Path) -> None:
    """Move the file to its name, replacing an equal or damaged one, and make the names durable too."""
    final.parent.mkdir(mode=0o700, exist_ok=True)
    arrived.replace(final)
    for folder in (final.parent, final.parent.parent):
        sync_to_disk(folder)
