"""What a backup says of itself, and the check that it is whole."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from driftline.base.durable_files import write_file
from driftline.base.errors import UNREADABLE
from driftline.operations.services.wal_archive import LOG_NAME, SEGMENT_NAME

MANIFEST = "manifest.json"
FORMAT = 1
_BLOCK = 1 << 20
_MAX_BYTES = 16 << 20


class NoBackup(Exception):
    """A folder holds no whole backup; the text says why."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup."""

    bytes: int
    sha256: str


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """The files of the database's server, from which on its archived log is replayed."""

    log: Annotated[str, msgspec.Meta(pattern=f"^{LOG_NAME}$")]
    first_segment: Annotated[str, msgspec.Meta(pattern=f"^{SEGMENT_NAME}$")]
    usable_from: Annotated[datetime, msgspec.Meta(tz=True)]
    """The first moment that can be restored."""
    parts: dict[str, Part]


class BackupManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a backup, as they were at `moment`."""

    format: int
    moment: str
    """RFC 3339: everything that was acknowledged before is in the backup."""
    server_version: int
    """PostgreSQL's number, such as 180003."""
    migrations: dict[str, list[str]]
    rows: dict[str, int]
    """Of each table; a partitioned one counts once."""
    parts: dict[str, Part]
    keys_are_apart: bool
    base: Base | None = None
    """None where the log of the database was not archived."""

    @property
    def bytes(self) -> int:
        """The size of all files of the backup."""
        parts = [*self.parts.values(), *(self.base.parts.values() if self.base else ())]
        return sum(part.bytes for part in parts)


def part_of(path: Path) -> Part:
    """Read a file and describe it."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return Part(bytes=size, sha256=digest.hexdigest())


def write_manifest(folder: Path, manifest: BackupManifest) -> None:
    """Write it durably: from now on the folder is a backup."""
    write_file(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)), mode=0o600)


def read_manifest(folder: Path) -> BackupManifest:
    """Read the manifest of a backup; raises NoBackup."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise NoBackup(f"{path} is too large for a manifest.")
        manifest = msgspec.json.decode(path.read_bytes(), type=BackupManifest)
    except FileNotFoundError as error:
        raise NoBackup(f"{folder} holds no {MANIFEST}, so it is no finished backup.") from error
    except (OSError, *UNREADABLE) as error:
        raise NoBackup(f"{path} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise NoBackup(f"{folder} has format {manifest.format}; this release restores format {FORMAT}.")
    return manifest


def check_parts(paths: Mapping[str, Path], parts: Mapping[str, Part]) -> None:
    """Read files of a backup and compare them with its manifest; raises NoBackup."""
    for name, part in parts.items():
        path = paths[name]
        try:
            found = part_of(path)
        except FileNotFoundError as error:
            raise NoBackup(f"{path} is missing.") from error
        if found.bytes != part.bytes:
            raise NoBackup(
                f"{path} has {found.bytes:,} bytes and should have {part.bytes:,}: it was cut or changed."
            )
        if found.sha256 != part.sha256:
            raise NoBackup(f"{path} was changed: its SHA-256 is another one than when it was made.")
