"""The processes that the serving parent keeps alive: started again when they die, ended when they hang."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from driftline.base.processes.forked_process import ForkedProcess
from driftline.base.processes.parent_death import die_with_parent
from inference.runtime.machine_memory import MemoryKills
from inference.serving.crashes import note_death, read_state
from inference.serving.heartbeat import KILL_SECONDS, Stillness
from inference.serving.status.status import STATUS_FOLDER, is_ready, retire

STOP_SECONDS = 40.0
SUCCESSOR_SECONDS = (
    60.0  # for a successor to be ready, before the process that it replaces stops all the same
)
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 5.0
log = logging.getLogger(__name__)


class KeptProcess:
    """A process that is forked from this one to run `run`, and again when it dies."""

    def __init__(self, home: Path, run: Callable[[], object], title: str, *handles: int) -> None:
        self._home = home
        self._run = run
        self._title = title
        self._handles = handles
        self._process: ForkedProcess | None = None
        self._started_at = 0.0
        self._pause = FIRST_PAUSE_SECONDS

    def start(self) -> None:
        """Start the process."""
        self._started_at = time.monotonic()
        self._process = ForkedProcess(
            self._run,
            self._title,
            handles=self._handles,
            enter=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )

    def keep_alive(self) -> None:
        """Start the process again if it has died, after a pause that grows while it dies at once."""
        if self._process is None or self._process.poll() is None:
            return
        lived = time.monotonic() - self._started_at
        self._pause = FIRST_PAUSE_SECONDS if lived > MAX_PAUSE_SECONDS else self._pause
        if lived < self._pause:
            return
        self._pause = min(self._pause * 2, MAX_PAUSE_SECONDS)
        log.error(
            "a process died and is started again",
            extra={"pid": self._process.pid, "code": self._process.returncode},
        )
        self._bury(self._process)
        self.start()

    def _bury(self, process: ForkedProcess) -> None:
        """Do what the end of a process asks for."""

    def ask_to_stop(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            _terminate(self._process)

    def wait_or_kill(self, deadline: float) -> None:
        """Wait for the process to end, and kill it at the deadline, of the monotonic clock."""
        if self._process is not None:
            _wait_or_kill(self._process, deadline)
            self._bury(self._process)


class ServingProcess(KeptProcess):
    """A serving process: ended when its event loop stands still, and replaced when it asks for that."""

    def __init__(self, home: Path, run: Callable[[], object], listener: int) -> None:
        """Make a process that inherits the handle of the listening socket."""
        super().__init__(home, run, "inference.serving.worker", listener)
        self._stillness = Stillness()
        self._stalled = False  # the process was killed for standing still
        self._memory_kills = MemoryKills()
        self._replaced: list[tuple[ForkedProcess, float]] = []  # with the time at which each is killed

    def start(self) -> None:
        self._stillness = Stillness()
        self._stalled = False
        super().start()

    def keep_alive(self) -> None:
        self._watch()
        super().keep_alive()
        self._end_replaced()

    def _watch(self) -> None:
        """Look at the process's beat, and at its wish for a successor."""
        if self._process is None or self._process.poll() is not None:
            return
        state = read_state(self._home, self._process.pid)
        if state is None:
            return
        still_seconds = self._stillness.observe(state.beat, time.monotonic())
        if still_seconds > KILL_SECONDS and not self._stalled:
            log.error("a serving process stands still and is killed", extra={"pid": self._process.pid})
            self._stalled = True
            self._process.kill()
        elif state.wants_successor and not self._replaced:
            log.warning(
                "a serving process cannot end a run and is replaced", extra={"pid": self._process.pid}
            )
            self._replaced.append((self._process, time.monotonic() + SUCCESSOR_SECONDS))
            self.start()

    def _end_replaced(self) -> None:
        """Stop a process once its successor answers, and bury it when it has ended."""
        for entry in list(self._replaced):
            process, deadline = entry
            if process.poll() is not None:
                self._replaced.remove(entry)
                self._bury(process)
            elif time.monotonic() > deadline + STOP_SECONDS:
                process.kill()
            elif time.monotonic() > deadline or self._is_ready():
                _terminate(process)

    def _is_ready(self) -> bool:
        return self._process is not None and is_ready(self._home, self._process.pid)

    def _bury(self, process: ForkedProcess) -> None:
        """Keep the counts of a process that was killed, and blame the version that ended it."""
        code = process.wait()
        retire(self._home / STATUS_FOLDER / f"{process.pid}.json")
        note_death(
            self._home,
            process.pid,
            code,
            time.time(),
            stalled=self._stalled and process is self._process,
            starved=code == -signal.SIGKILL and self._memory_kills.have_grown(),
        )

    def ask_to_stop(self) -> None:
        super().ask_to_stop()
        for process, _ in self._replaced:
            _terminate(process)

    def wait_or_kill(self, deadline: float) -> None:
        super().wait_or_kill(deadline)
        for process, _ in self._replaced:
            _wait_or_kill(process, deadline)
            self._bury(process)


def _terminate(process: ForkedProcess) -> None:
    if process.poll() is None:
        process.terminate()


def _wait_or_kill(process: ForkedProcess, deadline: float) -> None:
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        log.error("a process did not stop and is killed", extra={"pid": process.pid})
        process.kill()
        process.wait()
