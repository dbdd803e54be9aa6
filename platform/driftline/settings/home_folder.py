"""Keeps what the home holds from the machine's other users: keys, passwords, mail with links that sign in."""

import os
import stat
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from driftline.operations.services.paths import OTHERS, home_paths

UMASK = 0o077


def protect_home(home: Path) -> None:
    """Close to everybody but us what this process and its children make, and what the home holds already.

    Raises ImproperlyConfigured for a folder that is not ours to close.
    """
    os.umask(UMASK)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = home.stat()
    if found.st_mode & stat.S_ISVTX or home == home.parent:
        raise ImproperlyConfigured(
            f"DRIFTLINE_HOME is {home}, a folder that all users of this machine share; "
            "use a folder that holds nothing else."
        )
    _close(home, home_paths(home).home_mode)
    for path in home.iterdir():
        if not path.is_symlink():
            _close(path, 0o700)


def _close(path: Path, mode: int) -> None:
    """Take from `path` the permissions that `mode` lacks; raises ImproperlyConfigured where it stays open."""
    try:
        found = stat.S_IMODE(path.stat().st_mode)
        if found & ~mode:
            path.chmod(found & mode)
            found = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:  # another process took it away meanwhile
        return
    except PermissionError:
        pass
    if found & OTHERS & ~mode:
        raise ImproperlyConfigured(
            f"Other users can reach {path} (mode {found:04o}), and it cannot be closed to them; make it yours and "
            "run chmod go-rwx on it, or set DRIFTLINE_HOME to a folder inside it, which Driftline then makes."
        )
