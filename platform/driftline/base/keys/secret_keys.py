"""The secret keys of a process, which follow the file of the home while it runs.

A rotation writes the file first. Every request and task looks at it, and so does whatever seals or opens a secret: so
no process meets anything that was signed or sealed under a key which it does not know, and nobody restarts.
"""

from pathlib import Path
from typing import Any

from django.conf import settings

from driftline.base.keys.key_files import read_keys


def follow_secret_keys(**_: Any) -> None:
    """Read the secret keys of the home again if their file has changed; no file is read where the setting has one."""
    path: Path | None = settings.SECRET_KEY_FILE
    if path is None:
        return
    stamp = stamp_of(path)
    if stamp in (settings.SECRET_KEY_STAMP, None):
        return
    newest, *older = read_keys(path)
    # first what is accepted, as other threads read both between the two lines
    settings.SECRET_KEY_FALLBACKS = [newest, *older, *settings.NAMED_SECRET_KEY_FALLBACKS]
    settings.SECRET_KEY = newest
    settings.SECRET_KEY_STAMP = stamp


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file is replaced; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino
