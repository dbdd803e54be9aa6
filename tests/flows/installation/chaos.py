"""Blows in random order: which process of an installation is killed when, and which stands still for how long."""

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg2

from driftline.common.work import LEASE
from tests.flows.installation.running import (
    DATABASE,
    DRAIN,
    SERVER,
    SERVING,
    TASKS,
    Found,
    Installation,
    wait_until,
)

WORKER, WORKER_CHILD = "worker", "worker child"
KINDS = {  # by what their command lines hold
    "web": SERVER,
    "serving": SERVING,
    "drain": DRAIN,
    "scheduler": "driftline.celery beat",
    WORKER: TASKS,
    WORKER_CHILD: TASKS,
    "broker": "valkey-server",
    "database": DATABASE,
    "backend": "postgres: ",
}
FAMILIES = [{"web", "serving", "drain"}, {WORKER, WORKER_CHILD}, {"database", "backend"}]
"""Who dies with whom and starts whom: while one of a family stands still, nobody else of it is killed."""
PAUSES_S = (0.8, 2.4)  # from one kill to the next


@dataclass(frozen=True)
class Blow:
    """A signal to one process of a kind."""

    at: float  # seconds after the beginning
    kind: str
    number: signal.Signals


def draw_blows(rng: random.Random, *, seconds: float, outlast_leases: bool) -> list[Blow]:
    """Draw what happens within `seconds`: each kind stands still once, and one is killed every second or two.

    Only a worker's child holds leases on work. Where they are outlasted, it stands still beyond `seconds`.
    """
    still = {kind: (rng.uniform(0.05, 0.6) * seconds, seconds / 5) for kind in KINDS}
    if outlast_leases:
        still[WORKER_CHILD] = (still[WORKER_CHILD][0], LEASE.total_seconds() + 5)
    drawn = []
    for kind, (begin, length) in still.items():
        drawn += [Blow(begin, kind, signal.SIGSTOP), Blow(begin + length, kind, signal.SIGCONT)]
    at = rng.uniform(*PAUSES_S)
    while at < seconds:
        standing = {kind for kind, (begin, length) in still.items() if begin <= at < begin + length}
        free = [kind for kind in KINDS if not standing & _family_of(kind)]
        if free:
            drawn.append(Blow(at, rng.choice(free), signal.SIGKILL))
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
    _standing: dict[str, int] = field(default_factory=dict)

    def rage(self, blows: Sequence[Blow]) -> None:
        """Deal each blow at its time; in the end nothing stands still."""
        began = time.monotonic()
        try:
            for blow in blows:
                wait_until(lambda at=began + blow.at: time.monotonic() >= at, what="the next blow")
                self._deal(blow)
        finally:
            self.installation.send(signal.SIGCONT, self._standing.values())

    def _deal(self, blow: Blow) -> None:
        if blow.number == signal.SIGCONT:
            pids = [self._standing.pop(blow.kind)] if blow.kind in self._standing else []
            self.installation.send(signal.SIGCONT, pids)
            return
        found = self._processes(blow.kind)
        if blow.number == signal.SIGSTOP:  # whoever must stand still is awaited: each kind does so once
            found = wait_until(lambda: self._processes(blow.kind), what=f"a {blow.kind} to stop")
        if not found:
            return  # it is being started again already
        pid = self.rng.choice(found).pid
        self.installation.send(blow.number, [pid])
        if blow.number == signal.SIGSTOP:
            self._standing[blow.kind] = pid
            self.stopped[blow.kind] += 1
        else:
            self.killed[blow.kind] += 1

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
