"""Files of keys in a home: one key a line, the newest first. No Django: serving processes read them too."""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftline.base.durable_files import sync_to_disk, write_file

KEPT = 2
"""A process may have read the file just before a rotation, and seal under the key that was the newest then."""


def read_keys(path: Path) -> list[str]:
    """Read the keys of a file, the newest first; raises OSError where there is none."""
    return [line for line in path.read_text().split("\n") if line]


def write_keys(path: Path, keys: list[str]) -> None:
    """Replace a file of keys in one step, on the disk when this returns."""
    write_file(path, "\n".join(keys).encode(), mode=0o600)


def add_key(path: Path) -> None:
    """Put a new key before those of a file."""
    write_keys(path, [secrets.token_urlsafe(64), *read_keys(path)])


def drop_old_keys(path: Path) -> int:
    """Delete the keys of a file but for the newest `KEPT`; returns how many."""
    keys = read_keys(path)
    if len(keys) > KEPT:
        write_keys(path, keys[:KEPT])
    return max(len(keys) - KEPT, 0)


def begin_rotation(path: Path) -> None:
    """Put a new key before those of a file, unless a rotation that was killed has put it there.

    With one more key, its second run would drop the key that signed everything before the first.
    """
    marker = _marker_of(path)
    keys = read_keys(path)
    if marker.exists() and marker.read_text() != _mark_of(keys[0]):
        return
    write_file(marker, _mark_of(keys[0]).encode(), mode=0o600)
    add_key(path)


def end_rotation(path: Path) -> None:
    """Allow the next rotation to put a new key before those of a file."""
    _marker_of(path).unlink(missing_ok=True)
    sync_to_disk(path.parent)


def _marker_of(path: Path) -> Path:
    """Return the file that is there while a rotation is under way; it names the newest key before it."""
    return path.with_name(f"{path.name}.rotating")


def _mark_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@contextmanager
def only_rotation(home: Path) -> Iterator[None]:
    """Wait for any other rotation of this home: of two at once, one would overwrite the other's key."""
    folder = home / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
