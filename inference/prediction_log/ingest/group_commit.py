"""Makes requests that come while others commit share the next commit: what a commit costs is then paid once for all.

Nobody waits for company: with a turn free, a request commits at once and alone.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol


class Sized(Protocol):
    def __len__(self) -> int: ...


class CommitInterrupted(Exception):
    """The thread that committed this request was stopped: nobody knows whether it is stored."""


class _Entry[Request, Result]:
    """A request until its commit has ended, one way or the other."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.since = time.monotonic()
        self.ended = threading.Event()
        self.result: Result | None = None
        self.error: Exception | None = None

    def outcome(self) -> Result:
        self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class GroupCommit[Request: Sized, Result]:
    """Commits groups of requests, each by the thread of whoever gets the turn.

    `commit` gives one result a request, or raises. A group that fails is committed again one by one, so that no
    request pays for another's fault, unless the error `dooms` them all.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Request]], Sequence[Result]],
        *,
        dooms: type[Exception] | tuple[type[Exception], ...],
        turns: int,
        max_items: int,
    ) -> None:
        self._commit, self._dooms, self._max_items = commit, dooms, max_items
        self._turns = threading.Semaphore(turns)
        self._waiting: deque[_Entry[Request, Result]] = deque()
        self._lock = threading.Lock()

    def share(self, request: Request) -> Result:
        """Commit `request`, with those that wait; gives its result or raises its own error."""
        entry: _Entry[Request, Result] = _Entry(request)
        self._waiting.append(entry)
        with self._turns:
            self._run(self._take())  # nothing, where another turn took this entry along
        return entry.outcome()

    def waiting_s(self) -> float:
        """Return for how many seconds the request that waits the longest has waited; 0 where none waits."""
        with self._lock:
            return time.monotonic() - self._waiting[0].since if self._waiting else 0.0

    def _take(self) -> list[_Entry[Request, Result]]:
        """Take those that wait the longest, up to `max_items` of all together."""
        taken: list[_Entry[Request, Result]] = []
        size = 0
        with self._lock:
            while self._waiting and (not taken or size + len(self._waiting[0].request) <= self._max_items):
                entry = self._waiting.popleft()
                taken.append(entry)
                size += len(entry.request)
        return taken

    def _run(self, group: Sequence[_Entry[Request, Result]]) -> None:
        """Commit a group and end each of its requests, whatever happens: their threads wait."""
        try:
            if group:
                self._try(group)
        except BaseException:  # no fault of a request, such as SystemExit
            for entry in group:
                if not entry.ended.is_set():
                    entry.error = CommitInterrupted()
            raise
        finally:
            for entry in group:
                entry.ended.set()

    def _try(self, group: Sequence[_Entry[Request, Result]]) -> None:
        try:
            results = self._commit([entry.request for entry in group])
            for entry, result in zip(group, results, strict=True):
                entry.result = result
        except Exception as error:
            if len(group) > 1 and not isinstance(error, self._dooms):
                for entry in group:
                    self._run([entry])
                return
            for entry in group:
                entry.error = error
