"""Blows in random order: which process of an installation is killed when, and which stands still for how long."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg2

from driftline.base.work.work_rows import LEASE
from tests.flows.installation.running import (
    DATABASE,
    DRAIN,
    SERVER,
    SERVING,
    TASKS,
    Found,
    Installation,
)
from tests.waiting import wait_until

SEED = int(os.environ.get("DRIFTLINE_TEST_CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))
WORKER, WORKER_CHILD = "worker", "worker child"
KINDS = {  # by what their command lines hold
    "web": SERVER,
    "serving": SERVING,
    "drain": DRAIN,
    "scheduler": "celery beat",
    WORKER: TASKS,
    WORKER_CHILD: TASKS,
    "broker": "valkey-server",
    "database": DATABASE,
    "backend": "postgres: ",
}
FAMILIES = [{"web", "serving", "drain"}, {WORKER, WORKER_CHILD}, {"database", "backend"}]
"""Who dies with whom and starts whom: while one of a family stands still, nobody else of it is killed."""
PAUSES_S = (0.8, 2.4)  # from one kill to the next
PATIENCE_S = 180.0  # after the last blow: as long as a worker's child may stand still, and the restarts


@dataclass(frozen=True)
class Blow:
    """What happens to one process of a kind: it is killed, or stands still for a while."""

    at: float  # seconds after the beginning
    kind: str
    still_s: float | None = None  # None kills


def draw_blows(rng: random.Random, *, seconds: float, outlast_leases: bool) -> list[Blow]:
    """Draw what happens within `seconds`: each kind stands still once, and one is killed every second or two.

    Only a worker's child holds leases on work. Where they are outlasted, it may stand still beyond `seconds`.
    """
    still = {kind: (rng.uniform(0.05, 0.6) * seconds, seconds / 5) for kind in KINDS}
    if outlast_leases:
        still[WORKER_CHILD] = (still[WORKER_CHILD][0], LEASE.total_seconds() + 5)
    drawn = [Blow(begin, kind, length) for kind, (begin, length) in still.items()]
    at = rng.uniform(*PAUSES_S)
    while at < seconds:
        standing = {kind for kind, (begin, length) in still.items() if begin <= at < begin + length}
        free = [kind for kind in KINDS if not standing & _family_of(kind)]
        if free:
            drawn.append(Blow(at, rng.choice(free)))
        at += rng.uniform(*PAUSES_S)
    return sorted(drawn, key=lambda blow: blow.at)


def _family_of(kind: str) -> set[str]:
    return next((family for family in FAMILIES if kind in family), {kind})


@dataclass
class Chaos:
    """Deals blows to one installation; only processes of its home are ever signalled."""

    installation: Installation
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    _standing: dict[str, tuple[int, float]] = field(default_factory=dict)  # its process, and until when

    def rage(self, blows: Sequence[Blow]) -> None:
        """Deal each blow at its time, or as soon after as it can be; in the end nothing stands still."""
        began = time.monotonic()
        waiting = list(blows)
        try:
            while waiting or self._standing:
                self._let_go_on(now=time.monotonic())
                due = [blow for blow in waiting if began + blow.at <= time.monotonic()]
                for blow in due:
                    if self._is_dealt(blow):
                        waiting.remove(blow)
                assert time.monotonic() < began + blows[-1].at + PATIENCE_S, f"could not deal {waiting}"
                time.sleep(0.05)
        finally:
            self.installation.send(signal.SIGCONT, [pid for pid, _ in self._standing.values()])

    def kill_one(self, kind: str) -> None:
        """Kill a process of a kind, as soon as one runs."""
        found = wait_until(lambda: self._processes(kind), seconds=120, what=f"a {kind}")
        self.installation.send(signal.SIGKILL, [self.rng.choice(found).pid])
        self.killed[kind] += 1

    def _let_go_on(self, *, now: float) -> None:
        for kind, (pid, until) in list(self._standing.items()):
            if now >= until:
                del self._standing[kind]
                self.installation.send(signal.SIGCONT, [pid])

    def _is_dealt(self, blow: Blow) -> bool:
        """Deal a blow, unless it must wait: a stall waits for its process, which may have to be started first."""
        found = [] if self._standing.keys() & _family_of(blow.kind) else self._processes(blow.kind)
        if not found:
            return blow.still_s is None  # a kill is left out
        pid = self.rng.choice(found).pid
        if blow.still_s is None:
            self.installation.send(signal.SIGKILL, [pid])
            self.killed[blow.kind] += 1
        else:
            self.installation.send(signal.SIGSTOP, [pid])
            self._standing[blow.kind] = pid, time.monotonic() + blow.still_s
            self.stopped[blow.kind] += 1
        return True

    def _processes(self, kind: str) -> list[Found]:
        """Find the running processes of a kind, in the order of their ids."""
        found = sorted(self.installation.running(KINDS[kind]), key=lambda process: process.pid)
        pids = {process.pid for process in found}
        if kind == WORKER:
            return [process for process in found if process.parent not in pids]
        if kind == WORKER_CHILD:
            return [process for process in found if process.parent in pids]
        return found

    def await_calm(self) -> None:
        """Wait until each kind runs again and nothing is left to be worked on."""
        for kind in KINDS:
            wait_until(lambda kind=kind: self._processes(kind), seconds=120, what=f"a {kind} again")
        wait_until(self._has_worked_all_off, seconds=180, what="the end of all work")

    def _has_worked_all_off(self) -> bool:
        with suppress(psycopg2.Error):  # the database may only just be coming back
            return self.installation.query(_WAITING) == [(0,)]
        return False


_WAITING = (
    "SELECT (SELECT count(*) FROM inference_touchedperiod) + (SELECT count(*) FROM monitors_stalewindow)"
)
