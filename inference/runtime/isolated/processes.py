"""The processes of all isolated versions of this serving process: started, watched, ended and blamed here."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from msgspec import Struct

from inference.runtime.isolated.launcher import CannotFork, ForkServer
from inference.runtime.isolated.limits import IsolationLimits
from inference.runtime.isolated.process import ModelProcess
from inference.runtime.machine_memory import half_of_memory, own_bytes

LOOK_SECONDS = 0.05
IDLE_LOOK_SECONDS = 1.0
log = logging.getLogger(__name__)

type Blame = Callable[[str], None]
"""Takes what a version did to its process, as a predicate: "crashed its process (SIGSEGV)"."""


class Slot(Protocol):
    """A model's place for a process: one that runs, has ended, or is started when it is asked again."""

    process: ModelProcess | None
    used_at: float

    def take_idle(self) -> ModelProcess | None:
        """Take the process out of its place where nothing is at work in it."""

    def has_ended(self) -> bool:
        """Return whether there is a process that has ended."""

    def notice_end(self) -> None:
        """Blame the version for a process that was killed at work."""


class EndedProcess(Struct):
    """A process that is to be ended, and how its version is blamed for it; None where it is not."""

    process: ModelProcess
    blame: Blame | None = None
    reason: str = ""  # where its death does not tell it


class ModelProcesses:
    """Starts processes, and ends those that overrun, idle or are of no use any more; safe for threads."""

    def __init__(self, limits: IsolationLimits | None = None) -> None:
        self.limits = limits or IsolationLimits()
        self._lock = threading.Lock()
        self._slots: set[Slot] = set()
        self._server: ForkServer | None = None
        self._ended: SimpleQueue[EndedProcess] = SimpleQueue()
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def add(self, slot: Slot) -> None:
        """Watch over a version's process."""
        with self._lock:
            self._slots.add(slot)

    def remove(self, slot: Slot) -> None:
        """End a version's process, as the version is not used any more; never blocks."""
        self._slots.discard(slot)  # without the lock: this may be called wherever garbage is collected
        if (process := slot.process) is not None:
            slot.process = None
            self.end(EndedProcess(process))

    def launch(self, model_bytes: int) -> ModelProcess:
        """Start a process for a model of this size; raises CannotFork."""
        if self._bytes_too_many() > 0:
            self._woken.set()
            raise CannotFork(
                f"those of all models hold {self._total_bytes >> 20:,} MiB, all that they may have"
            )
        with self._lock:
            if self._server is not None and not self._server.is_running:
                self._server.close()
                self._server = None
            if self._server is None:
                self._server = ForkServer()
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._watch, name="model-processes", daemon=True)
                self._thread.start()
            server = self._server
        self._woken.set()
        return server.fork(self.limits.memory_bytes + 4 * model_bytes)

    def end(self, ended: EndedProcess) -> None:
        """Ask for a process to be ended, and its version blamed; never blocks."""
        self._ended.put(ended)
        self._woken.set()

    # The thread

    def _watch(self) -> None:
        idle_look_at = 0.0
        while not self._stopping:
            try:
                self._end_all()
                at_work = self._end_overrunning(time.monotonic())
                if time.monotonic() > idle_look_at:
                    self._stop_unused(time.monotonic())
                    idle_look_at = time.monotonic() + IDLE_LOOK_SECONDS
            except Exception:
                log.exception("the processes of models could not be looked after")
                at_work = True
            self._woken.wait(LOOK_SECONDS if at_work else IDLE_LOOK_SECONDS)
            self._woken.clear()

    def _end_all(self) -> None:
        while True:
            try:
                ended = self._ended.get_nowait()
            except Empty:
                return
            self._end(ended)

    def _end(self, ended: EndedProcess) -> None:
        process = ended.process
        process.kill()
        status = self._server.reap(process.pid) if self._server is not None else None
        _close(process)
        reason = ended.reason or _reason(process, status)
        if ended.blame is None or reason is None:
            return
        log.error("the process of a model ended", extra={"pid": process.pid, "reason": reason})
        ended.blame(reason)

    def _end_overrunning(self, now: float) -> bool:
        """Kill what is at work for too long; who waits for it notices. Tell whether anything is at work."""
        at_work = False
        for slot in self._slots.copy():
            process = slot.process
            if process is None or not process.overrun_at:
                continue
            at_work = True
            if now > process.overrun_at and not process.overran:
                process.overran = True
                process.kill()
                slot.notice_end()
        return at_work

    @property
    def _total_bytes(self) -> int:
        return half_of_memory() if self.limits.total_bytes is None else self.limits.total_bytes

    def _bytes_too_many(self) -> int:
        processes = [slot.process for slot in self._slots.copy()]
        return sum(own_bytes(one.pid) for one in processes if one is not None) - self._total_bytes

    def _stop_unused(self, now: float) -> None:
        """Stop processes that were not used for long or have ended, and those beyond what there may be."""
        running = sorted((slot for slot in self._slots.copy() if slot.process), key=lambda slot: slot.used_at)
        surplus, too_many = len(running) - self.limits.max_processes, self._bytes_too_many()
        for place, slot in enumerate(running):
            is_unused = place < surplus or now - slot.used_at > self.limits.idle_seconds
            if is_unused or slot.has_ended() or too_many > 0:
                process = slot.take_idle()
                if process is not None:
                    too_many -= own_bytes(process.pid)
                    self._end(EndedProcess(process))

    def close(self) -> None:
        """End everything; a later launch starts anew."""
        with self._lock:
            thread, self._thread = self._thread, None
        self._stopping = True
        self._woken.set()
        if thread is not None:
            thread.join()
        for slot in self._slots.copy():
            if slot.process is not None:
                self._ended.put(EndedProcess(slot.process))
                slot.process = None
        self._end_all()
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()


def _close(process: ModelProcess) -> None:
    """Close what we hold of a process, in the loop that watches it where one does."""
    loop = process.reader_of
    if loop is None:
        process.close()
        return

    def close() -> None:
        loop.remove_reader(process.channel.fileno())
        process.close()

    try:
        loop.call_soon_threadsafe(close)
    except RuntimeError:  # the loop is closed
        process.close()


def _reason(process: ModelProcess, status: int | None) -> str | None:
    """Describe what a version did to its process; None where that is not known."""
    if process.overran:
        return "did not end a run"
    if status is None:
        return None
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"ended its process ({signal.Signals(-status).name})"
    return f"ended its process (status {status})"


PROCESSES = ModelProcesses()
"""This process's."""

__all__ = ["PROCESSES", "CannotFork", "EndedProcess", "ModelProcesses"]
