"""Runs the same work in several processes, forked of one that has loaded everything, so that one is back at once."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from driftline.base.processes.parent_death import die_with_parent

_HEEDED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
_EARLY_SECONDS = 2.0
"""A process that dies sooner than this after its start may do so each time: the pauses before the next ones grow."""
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.1, 2.0


class ForkedWorkers:
    """Keeps `count` processes that run `work` until it returns; one that dies is replaced.

    `work` gets SIGTERM to end by; they end with this process. Whoever makes one has no threads by then, and no open
    connections, which processes must not share.
    """

    def __init__(self, work: Callable[[], None], count: int) -> None:
        self._work, self._missing = work, count
        self._started_at: dict[int, float] = {}
        self._next_start = 0.0
        self._pause = _FIRST_PAUSE_SECONDS

    def run(self) -> None:
        """Return once all have ended by themselves, or this process was asked to end and all did."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        while self._missing or self._started_at:
            self._start_missing()
            came = signal.sigtimedwait(_HEEDED, self._seconds_to_wait())
            if came is not None and came.si_signo != signal.SIGCHLD:
                self._stop()
                return
            self._reap()

    def _start_missing(self) -> None:
        while self._missing and time.monotonic() >= self._next_start:
            try:
                pid = self._fork()
            except OSError as error:  # of a machine that has no room for another process now
                print(f"No process can be started ({error}); it is tried again.", file=sys.stderr)
                self._start_later()
                return
            self._missing -= 1
            self._started_at[pid] = time.monotonic()

    def _seconds_to_wait(self) -> float:
        return max(self._next_start - time.monotonic(), 0.0) if self._missing else 3_600.0

    def _fork(self) -> int:
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        if pid := os.fork():
            return pid
        code = 1
        try:
            die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)
            self._work()
            code = 0
        except BaseException:  # nothing of the parent's may run here, such as its handlers of an exit
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        """Note which processes ended, and which of them are to be replaced."""
        while self._started_at:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            # None of an orphan of another process, which the first one of a container gets
            started_at = self._started_at.pop(pid, None)
            if started_at is None or status == 0:
                continue
            self._missing += 1
            if time.monotonic() - started_at < _EARLY_SECONDS:
                self._start_later()
            else:
                self._pause = _FIRST_PAUSE_SECONDS

    def _start_later(self) -> None:
        """Wait before the next start, and twice as long after it, but not more for others that died with this one."""
        moment = time.monotonic()
        if moment >= self._next_start:
            self._next_start = moment + self._pause
            self._pause = min(2 * self._pause, _LAST_PAUSE_SECONDS)

    def _stop(self) -> None:
        for pid in self._started_at:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self._started_at:
            os.waitpid(pid, 0)
