"""Runs a whole installation: starts its processes in order, restarts what dies, and stops them in order.

One thread, no handlers: the signals that matter are blocked and taken by `sigtimedwait`, so Ctrl-C counts at
any moment, also in the middle of a start.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field

from driftline.operations.services.paths import HomePaths
from driftline.operations.services.processes import (
    MAX_LOG_BYTES,
    MAX_WAIT_SECONDS,
    Child,
    ChildNotStarted,
    Process,
    children_of,
)

PR_SET_CHILD_SUBREAPER = 36
STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
MAX_PAUSE_SECONDS = 30.0
LOG_CHECK_SECONDS = 10.0  # how often the sizes of the logs are looked at
AWAITED_SECONDS = 0.5  # how often it is asked whether something is ready that the start does not wait for
CALM_SECONDS = 60.0  # a process that ran this long has no failures behind it


class StopRequested(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


@dataclass(frozen=True)
class Stages:
    """What a supervisor runs, in the order of starting; stopping goes the other way round."""

    services: Sequence[Child]  # what everything else needs
    preparations: Sequence[Child]  # each runs to its end before the next
    workers: Sequence[Child]
    web: Child  # the last to start and the first to stop: it drains while the rest still works
    afterwards: Sequence[Child] = ()  # once everything answers
    load: Callable[[], None] = lambda: None  # runs once the services are ready, before anything is forked


@dataclass
class _Kept:
    """A process that is started again when it ends."""

    process: Process
    started_at: float
    failures: int = 0  # in a row
    restart_at: float | None = None  # set while it is down
    is_awaited: bool = False  # it is reported once it is ready

    def plan_restart(self, *, now: float) -> float:
        """Set when to start it again, at once for the first failure, and give the seconds until then."""
        self.failures = 1 if now - self.started_at >= CALM_SECONDS else self.failures + 1
        pause = min(2.0 ** (self.failures - 2), MAX_PAUSE_SECONDS) if self.failures > 1 else 0.0
        self.restart_at = now + pause
        return pause


@dataclass
class Supervisor:
    """The processes of one home. Use it inside `signals_taken` and `own`."""

    paths: HomePaths
    say: Callable[[str], None]
    max_log_bytes: int = MAX_LOG_BYTES
    log_check_seconds: float = LOG_CHECK_SECONDS
    _kept: list[_Kept] = field(default_factory=list)

    def run(self, stages: Stages, *, announce: Callable[[], None]) -> None:
        """Start everything, call `announce` when it answers, and watch over it until a stop is requested."""
        try:
            with contextlib.suppress(StopRequested):
                for kept in [self._start(child) for child in stages.services]:
                    self._wait_ready(kept)
                with self._step("application"):
                    stages.load()
                for child in stages.preparations:
                    with self._step(child.step or child.name):
                        self._run_to_end(child)
                with self._step("workers"):
                    for child in stages.workers:
                        self._start(child)
                self._wait_ready(self._start(stages.web))
                announce()
                for child in stages.afterwards:
                    self._start(child).is_awaited = bool(child.step)
                self._watch()
        finally:
            self._stop(stages)

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        since = time.monotonic()
        yield
        self._report(name, since)

    def _report(self, name: str, since: float) -> None:
        """Report how long a step of the start took."""
        self.say(f"  {name:<14}{time.monotonic() - since:7.1f} s")

    def _start(self, child: Child) -> _Kept:
        kept = _Kept(self._process(child), time.monotonic())
        self._kept.append(kept)
        kept.process.start()
        return kept

    def _wait_ready(self, kept: _Kept) -> None:
        kept.process.wait_ready(pause=self._pause, say=self.say)
        self._report(kept.process.child.step or kept.process.child.name, kept.started_at)

    def _run_to_end(self, child: Child) -> None:
        process = self._process(child)
        process.start()
        try:
            while (code := process.exit_code()) is None:
                self._pause(0.5)
        finally:
            process.stop()
        if code != 0:
            raise ChildNotStarted(f"{child.name} ended with {code}. {process.log_tail()}")

    def _process(self, child: Child) -> Process:
        return Process(
            child,
            lock_folder=self.paths.run,
            log_folder=self.paths.log,
            max_log_bytes=self.max_log_bytes,
        )

    def _watch(self) -> None:
        while True:
            for kept in list(self._kept):
                self._tend(kept, now=time.monotonic())
            _reap_adopted(self._pids())
            self._rotate_logs()
            due = [kept.restart_at for kept in self._kept if kept.restart_at is not None]
            until_restart = min(due) - time.monotonic() if due else self.log_check_seconds
            if any(kept.is_awaited for kept in self._kept):
                until_restart = min(until_restart, AWAITED_SECONDS)
            self._pause(max(0.0, min(until_restart, self.log_check_seconds)))

    def _pids(self) -> set[int | None]:
        return {kept.process.pid for kept in self._kept}

    def _rotate_logs(self) -> None:
        """Keep each log within its limit; a disk without room for the copy is said, and tried again."""
        for kept in self._kept:
            try:
                kept.process.rotate_log()
            except OSError as error:
                self.say(f"{kept.process.log_path} could not be rotated: {error.strerror}.")

    def _tend(self, kept: _Kept, *, now: float) -> None:
        """Start one process again if it is due, or note that it ended and when to start it again."""
        if kept.restart_at is not None:
            if now >= kept.restart_at:
                self._restart(kept, now=now)
            return
        if kept.is_awaited and kept.process.child.is_ready():
            self._report(kept.process.child.step, kept.started_at)
            kept.is_awaited = False
        code = kept.process.exit_code()
        if code is None:
            return
        kept.process.clear()
        name = kept.process.child.name
        if code == 0 and kept.process.child.ends_by_itself:
            self._kept.remove(kept)
            self.say(f"{name} is finished.")
            return
        if not kept.process.child.restarts:
            self._kept.remove(kept)
            self.say(f"{name} ended with {code}. {kept.process.log_tail()}")
            return
        pause = kept.plan_restart(now=now)
        if kept.failures > 1:  # what the dead one left may hold what the next one needs, as a port
            _kill_adopted(but=self._pids())
        self.say(f"{name} ended with {code}; it starts again in {pause:.0f} s ({kept.process.log_path}).")

    def _restart(self, kept: _Kept, *, now: float) -> None:
        """Start a process again; where what its predecessor left still ends, others are tended meanwhile."""
        try:
            has_started = kept.process.try_start()
        except ChildNotStarted as error:
            kept.plan_restart(now=now)
            self.say(str(error))
            return
        if has_started:
            kept.restart_at, kept.started_at = None, now
        else:
            kept.restart_at = now + MAX_WAIT_SECONDS

    def _pause(self, seconds: float) -> None:
        """Sleep until a child ends or the time is over; raise `StopRequested` when somebody wants to stop."""
        info = signal.sigtimedwait(_watched_signals(), seconds)
        if info is not None and info.si_signo in STOP_SIGNALS:
            raise StopRequested

    def _stop(self, stages: Stages) -> None:
        """Stop what needs others before those: first the web, then side by side the workers, then each service."""
        for group in (
            stages.afterwards,
            [stages.web],
            stages.workers,
            *([one] for one in reversed(stages.services)),
        ):
            stopping = [kept.process for kept in self._kept if kept.process.child in group]
            for process in stopping:
                process.ask_to_stop()
            for process in stopping:
                process.wait_stopped()
        self._kept.clear()
        _kill_adopted()


@contextlib.contextmanager
def signals_taken() -> Iterator[None]:
    """Block the signals that a supervisor waits for, and adopt orphans so that none outlives it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _watched_signals())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        while signal.sigtimedwait(_watched_signals(), 0) is not None:
            pass  # an impatient second Ctrl-C asked for what is done by now
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watched_signals() -> frozenset[signal.Signals]:
    ignored = {number for number in STOP_SIGNALS if signal.getsignal(number) == signal.SIG_IGN}
    return STOP_SIGNALS - (ignored & {signal.SIGHUP}) | {signal.SIGCHLD}  # nohup keeps its meaning


def _reap_adopted(ours: set[int | None]) -> None:
    """Take the exit codes of orphans that we adopted; those of `ours` are left for their owners."""
    for pid in children_of(os.getpid()):
        if pid not in ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _kill_adopted(*, but: Set[int | None] = frozenset()) -> None:
    """Kill what our children left behind, and what that leaves behind in turn."""
    while pids := set(children_of(os.getpid())) - but:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
