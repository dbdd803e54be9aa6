"""Child processes that die with their parent and of which at most one generation lives.

Each child holds an inherited lock on `run/<name>.lock` for as long as it or any of its own children lives. A
start first takes that lock: what an earlier `kill -9` left running is found through it and stopped, and a
process id written by the dead is never believed.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftline.base.processes.forked_process import ForkedProcess
from driftline.base.processes.parent_death import die_with_parent
from driftline.base.processes.priority import lower_priority

POLL_SECONDS, MAX_WAIT_SECONDS = 0.02, 0.2
MAX_LOG_BYTES = 50 << 20
LINES_SHOWN = 12
WORKING_SHARE = 0.01  # of the time that it is waited for: a process that computes less stands still


class ChildNotStarted(Exception):
    """A child process could not be started or did not become ready; the text says what to do."""


@dataclass(frozen=True)
class Child:
    """What to run, how to tell that it is ready, and how to stop it."""

    name: str
    command: Sequence[str] | Callable[[], object]  # a program, or what a fork of this process runs
    title: str = ""  # what `ps` shows of a fork
    step: str = ""  # what a start calls it, where it is not `name`
    environment: Mapping[str, str] = field(default_factory=dict)  # added to ours
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 30.0  # after these the whole process group is killed
    prepare: Callable[[], None] = lambda: None  # before each start, once no older generation lives
    enter: Callable[[], None] = lambda: None  # in the new process, before the command
    niceness: int = 0  # by how many steps its priority is lower than that of this process
    is_ready: Callable[[], bool] = lambda: True
    ready_seconds: float = 60.0
    logs_output: bool = True  # False where standard output tells secrets: then only errors are logged
    ends_by_itself: bool = False  # ending with 0 is its purpose, not a fault
    restarts: bool = True  # False where a failure is reported and left


class Process:
    """One running child. Start it from the main thread: it dies with the thread that forked it."""

    def __init__(
        self, child: Child, *, lock_folder: Path, log_folder: Path, max_log_bytes: int = MAX_LOG_BYTES
    ) -> None:
        self.child = child
        self._max_log_bytes = max_log_bytes
        self._lock_path = lock_folder / f"{child.name}.lock"
        self._log_path = log_folder / f"{child.name}.log"
        self._popen: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._unsent = self._signals_of_an_end()  # what a leftover is still to be sent
        self._patient_until = float("-inf")

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def log_path(self) -> Path:
        return self._log_path

    def start(self) -> None:
        """Stop what an earlier generation left, then start the command in a session of its own."""
        while not self.try_start():
            time.sleep(POLL_SECONDS)

    def try_start(self) -> bool:
        """Start the command, or return False at once while what an earlier generation left is still ending."""
        with self._open_lock() as lock:
            if not self._takes_over(lock):
                return False
            self.child.prepare()
            with contextlib.suppress(OSError):  # a disk without room for the copy stops no process
                self.rotate_log()
            log = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                self._popen = self._spawn(lock, log)
            finally:
                os.close(log)
        return True

    def end_earlier(self) -> None:
        """Stop what an earlier generation left, and start nothing."""
        with self._open_lock() as lock:
            while not self._takes_over(lock):
                time.sleep(POLL_SECONDS)

    def exit_code(self) -> int | None:
        """Return the exit code of a child that has ended (negative: the signal), None while it runs."""
        return self._popen.poll() if self._popen else None

    def wait_ready(
        self,
        *,
        pause: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Wait until the child answers; raise `ChildNotStarted` when it ends, or stands still for `ready_seconds`.

        One that works, or waits for a processor, is waited for as long as it takes, and `say` says so.
        """
        name, wait, seconds = self.child.name, POLL_SECONDS, self.child.ready_seconds
        began = checked_at = time.monotonic()
        worked = 0.0
        while not self.child.is_ready():
            if (code := self.exit_code()) is not None:
                raise ChildNotStarted(f"{name} ended with {code} before it was ready. {self.log_tail()}")
            now = time.monotonic()
            if now > checked_at + seconds:
                before, worked, checked_at = worked, _seconds_of_work(self.pid), now
                if worked - before < WORKING_SHARE * seconds:
                    raise ChildNotStarted(
                        f"{name} was not ready after {now - began:.0f} s. {self.log_tail()}"
                    )
                say(
                    f"{name} is still starting after {now - began:.0f} s: it computes, or waits for a processor."
                )
            pause(wait)
            wait = min(2 * wait, MAX_WAIT_SECONDS)

    def ask_to_stop(self) -> None:
        if self._popen and self._popen.poll() is None:
            self._popen.send_signal(self.child.stop_signal)

    def stop(self) -> int | None:
        """Ask the child to stop, wait for it, and kill what is left of its group; give its exit code."""
        self.ask_to_stop()
        return self.wait_stopped()

    def wait_stopped(self) -> int | None:
        """Wait for a child that was asked to stop, and kill what is left of its group; give its exit code."""
        if self._popen is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(self.child.stop_seconds)
        return self.clear()

    def clear(self) -> int | None:
        """Kill what still lives of the child's process group and give the child's exit code."""
        if self._popen is None:
            return None
        signal_group(self._popen.pid, signal.SIGKILL)
        code = self._popen.wait()
        self._popen = None
        return code

    def log_tail(self) -> str:
        """Return the last lines of the child's log, with where the rest is."""
        try:
            tail = self._log_path.read_text(errors="replace").splitlines()[-LINES_SHOWN:]
        except FileNotFoundError:
            tail = []
        return "\n".join([f"The end of {self._log_path}:", *tail])

    def rotate_log(self) -> bool:
        """Move what a log over its limit holds to `.log.1`, replacing the one before; also while it is written.

        The child and its own children hold the file open for appending, so it is copied and emptied in place. A line
        that they write between the copy's end and the emptying, some microseconds, is lost. Raises OSError where the
        copy finds no room; then the log stays as it is.
        """
        if not self._log_path.exists() or self._log_path.stat().st_size <= self._max_log_bytes:
            return False
        with self._log_path.open("r+b") as log, open(_rotated(self._log_path), "wb", opener=_private) as copy:
            shutil.copyfileobj(log, copy, 1 << 20)
            log.truncate(0)
        return True

    @contextlib.contextmanager
    def _open_lock(self) -> Iterator[int]:
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield lock
        finally:
            os.close(lock)

    def _takes_over(self, lock: int) -> bool:
        """Take the lock, or send what still holds it, left by a killed parent, the next signal that is due.

        The caller asks again until it is so. Raises `ChildNotStarted` where a leftover has outlived the last signal.
        """
        if _try_lock(lock):
            self._unsent, self._patient_until = self._signals_of_an_end(), float("-inf")
            return True
        if (now := time.monotonic()) < self._patient_until:
            return False
        if not self._unsent:
            self._unsent = self._signals_of_an_end()
            raise ChildNotStarted(
                f"{self._lock_path} is held by processes of an earlier run that do not end: "
                f"{holders(self._lock_path)}; end them and start again."
            )
        number = self._unsent.pop(0)
        for pid in holders(self._lock_path):
            with contextlib.suppress(ProcessLookupError):
                signal_group(os.getpgid(pid), number)
        self._patient_until = now + self.child.stop_seconds
        return False

    def _signals_of_an_end(self) -> list[signal.Signals]:
        return [self.child.stop_signal, signal.SIGKILL]

    def _spawn(self, lock: int, log: int) -> subprocess.Popen[bytes] | ForkedProcess:
        command, parent = self.child.command, os.getpid()
        output = log if self.child.logs_output else subprocess.DEVNULL

        def enter() -> None:
            if self.child.niceness:
                lower_priority(self.child.niceness, session=True)
            self.child.enter()
            # Our own handler would note a signal that comes just before exec, and nobody would read it after that.
            signal.signal(self.child.stop_signal, signal.SIG_DFL)
            die_with_parent(parent, self.child.stop_signal)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

        try:
            if callable(command):
                return ForkedProcess(
                    command,
                    self.child.title,
                    handles=[lock],
                    output=output,
                    errors=log,
                    environment=self.child.environment,
                    enter=enter,
                )
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env={**os.environ, **self.child.environment},
                start_new_session=True,
                pass_fds=(lock,),
                preexec_fn=enter,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ChildNotStarted(f"{self.child.name} could not be started: {error}") from error


def _rotated(log_path: Path) -> Path:
    return log_path.with_suffix(".log.1")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def holders(lock_path: Path) -> list[int]:
    """Find the processes, ours aside, that have `lock_path` open; processes of other users are not seen."""
    target = str(lock_path.resolve())
    return [pid for pid in _process_ids() if pid != os.getpid() and target in _open_files(pid)]


def signal_group(group: int, number: signal.Signals) -> None:
    """Send `number` to every process of the group; nothing happens when none is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def children_of(pid: int) -> list[int]:
    """List the children of a process; none where the kernel has no list of them."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _seconds_of_work(pid: int | None) -> float:
    """Add up how long a process, its threads and its children had a processor, or waited for one."""
    if pid is None:
        return 0.0
    total = sum(_seconds_of_work(child) for child in children_of(pid))
    for schedule in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            total += sum(map(int, schedule.read_text().split()[:2])) / 1e9
    return total


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _open_files(pid: int) -> set[str]:
    files = set()
    with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                files.add(os.readlink(entry.path))
    return files


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
