"""Who runs a home: one supervisor at a time, known by a lock that the kernel releases however it ends."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from driftline.operations.services.paths import HomePaths

LOCK_SECONDS = 1.0  # a look at the lock holds it for an instant: taking it is tried this long


@dataclass(frozen=True)
class Owner:
    """The supervisor that runs a home."""

    pid: int
    url: str
    since: str  # RFC 3339


class AlreadyRunning(Exception):
    """Another supervisor runs this home."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(
            f"Driftline already runs here: process {owner.pid}, {owner.url}, since {owner.since}. "
            "Stop it with `manage.py down`, or set DRIFTLINE_HOME and DRIFTLINE_PORT for a second one."
        )
        self.owner = owner


@contextlib.contextmanager
def own(paths: HomePaths, owner: Owner) -> Iterator[None]:
    """Hold the home for `owner` inside the block; raise `AlreadyRunning` when another supervisor lives."""
    descriptor = os.open(paths.supervisor_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AlreadyRunning(_read(descriptor))
            time.sleep(0.02)
        _write(descriptor, owner)
        yield
    finally:
        os.close(descriptor)


def current_owner(paths: HomePaths) -> Owner | None:
    """Return which supervisor runs the home, None when none lives."""
    try:
        descriptor = os.open(paths.supervisor_lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, owner: Owner) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(owner)).encode(), 0)


def _read(descriptor: int) -> Owner:
    return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
