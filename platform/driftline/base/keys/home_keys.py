"""Keys that are made once for each home and kept in it."""

import contextlib
import os
import secrets
from pathlib import Path

from driftline.base.durable_files import sync_to_disk, write_file

_made: list[Path] = []
"""The keys that this process has made."""


def key_of_home(home: Path, name: str) -> str:
    """Read one of the home's keys, making it on first use; two processes that race end with the same key."""
    path = home / "keys" / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        write_file(draft, secrets.token_urlsafe(64).encode(), mode=0o600)
        with contextlib.suppress(FileExistsError):  # another process was first: its key holds
            os.link(draft, path)
            _made.append(path)
        draft.unlink()
        sync_to_disk(path.parent)
    return path.read_text()


def remove_made_keys() -> None:
    """Remove the keys that this process made, before anything is signed or sealed under one of them."""
    while _made:
        path = _made.pop()
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds others
            path.parent.rmdir()
