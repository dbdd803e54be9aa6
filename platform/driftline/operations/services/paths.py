"""Where an embedded installation keeps its files: everything lives under one folder, `DRIFTLINE_HOME`."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 107  # sun_path holds 108 bytes with the closing zero
POSTGRES_PORT = 5432  # names the socket file only; nothing listens on TCP
POSTGRES_SOCKET = f".s.PGSQL.{POSTGRES_PORT}"  # the longest name in the socket folder
VALKEY_SOCKET = "valkey.sock"
OTHERS = 0o077  # what the home grants nobody but its owner
NOBODY = 65534  # the overflow user id: as whom PostgreSQL runs where we are root


class UnsafeSocketFolder(Exception):
    """The folder of the sockets belongs to somebody else or is open to others."""


@dataclass(frozen=True)
class HomePaths:
    """The folders and files of one home, as absolute paths; looking at them creates nothing."""

    home: Path

    @property
    def home_mode(self) -> int:
        """The permissions of the home: its owner's alone.

        Where PostgreSQL had to run as another user it may pass through, to data of its own, and list nothing.
        """
        data = self.postgres_data
        return 0o711 if data.exists() and data.stat().st_uid not in (self.home.stat().st_uid, 0) else 0o700

    @property
    def postgres_data(self) -> Path:
        return self.home / "postgres"

    @property
    def valkey_data(self) -> Path:
        return self.home / "valkey"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def run(self) -> Path:
        """The folder of locks: one file for each process that runs."""
        return self.home / "run"

    @property
    def supervisor_lock(self) -> Path:
        return self.run / "supervisor.lock"

    @property
    def sockets(self) -> Path:
        """The 0700 folder of the unix sockets: `run`, or a short one of its own where that is too deep."""
        if len(os.fsencode(self.run / POSTGRES_SOCKET)) <= MAX_SOCKET_PATH_BYTES:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path(f"/tmp/driftline-{os.geteuid()}-{digest}")

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / VALKEY_SOCKET

    @property
    def postgres_socket(self) -> Path:
        return self.sockets / POSTGRES_SOCKET


def home_paths(home: Path | str) -> HomePaths:
    """Return the paths of `home`, which may be relative to the working folder."""
    return HomePaths(Path(home).absolute())


def create_folders(paths: HomePaths) -> None:
    """Create the home, its log folder and its 0700 folders for locks and sockets.

    Raises `UnsafeSocketFolder` when somebody else made the folder first: in /tmp anybody could.
    """
    paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.log.mkdir(mode=0o700, exist_ok=True)
    owners = {os.geteuid()} | ({NOBODY} if os.geteuid() == 0 else set())
    for folder in (paths.run, paths.sockets):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
            raise UnsafeSocketFolder(
                f"{folder} belongs to user id {found.st_uid}, not to {os.geteuid()}; "
                "remove it or set DRIFTLINE_HOME to a shorter path."
            )
        folder.chmod(0o700)
