"""Downloads model files beside everything else: a large one keeps neither tokens nor the status waiting."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from driftline.base.errors import Problem
from inference.hosts.main_server import MainServer, MainServerFailed
from inference.registry.files.artifacts import receive
from inference.registry.intake.errors import IntakeRefused

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 600.0


class FileDownloads:
    """Downloads what is wanted, one file after the other, in a thread that lives while there is something to do."""

    def __init__(self, home: Path, server: MainServer) -> None:
        self._home, self._server = home, server
        self._lock = threading.Lock()
        self._wanted: list[str] = []
        self._arrived = 0
        self._retry_at: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    def want(self, digests: Sequence[str]) -> None:
        """Set which files are missing, those that are needed first at the front."""
        with self._lock:
            self._wanted = list(digests)
            for known in (self._retry_at, self._pauses, self._failures):
                for digest in known.keys() - set(digests):
                    del known[digest]
            if self._thread is None and self._next() is not None:
                self._thread = threading.Thread(target=self._run, name="model files", daemon=True)
                self._thread.start()

    def take_arrived(self) -> bool:
        """Return whether files have arrived since the last call."""
        with self._lock:
            arrived, self._arrived = self._arrived, 0
        return arrived > 0

    @property
    def failure(self) -> str:
        """Why the first of the missing files did not come; empty where none failed."""
        with self._lock:
            return next((self._failures[digest] for digest in self._wanted if digest in self._failures), "")

    def has_tried(self, digests: Sequence[str]) -> bool:
        """Return whether each of these files has arrived or failed."""
        with self._lock:
            return all(digest in self._failures or digest not in self._wanted for digest in digests)

    def _next(self) -> str | None:
        """Return the next file that is due; call it with the lock."""
        due = (digest for digest in self._wanted if self._retry_at.get(digest, 0.0) <= time.monotonic())
        return next(due, None)

    def _run(self) -> None:
        while True:
            with self._lock:
                digest = self._next()
                if digest is None:
                    self._thread = None
                    return
            failure = self._download(digest)
            with self._lock:
                if failure:
                    self._note(digest, failure)
                else:
                    self._arrived += 1
                    self._wanted = [one for one in self._wanted if one != digest]

    def _download(self, sha256: str) -> str:
        """Download a file, whole and with that digest or not at all; gives why it failed."""
        try:
            with self._server.download(sha256) as stream, receive(self._home, stream) as arrived:
                if arrived.sha256 != sha256:
                    return f"The file {sha256[:12]} arrived with other bytes."
                arrived.keep()
        except (MainServerFailed, IntakeRefused, Problem, OSError) as error:
            return f"The file {sha256[:12]} did not come: {error}"
        return ""

    def _note(self, digest: str, failure: str) -> None:
        pause = min(self._pauses.get(digest, FIRST_PAUSE_SECONDS / 2) * 2, MAX_PAUSE_SECONDS)
        self._pauses[digest], self._failures[digest] = pause, failure
        self._retry_at[digest] = time.monotonic() + pause
