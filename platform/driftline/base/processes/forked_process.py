"""A child process that is forked from this one: what is loaded here is there at once, and its memory is shared."""

import atexit
import contextlib
import ctypes
import io
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

_DEFAULTS = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(
    (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD), signal.SIG_DFL
)
_PR_SET_NAME = 15


class ForkedProcess:
    """A forked process that runs `run` in a session of its own; its methods are those of `subprocess.Popen`.

    It keeps the standard streams, unless `output` or `errors` replace them (`subprocess.DEVNULL`: nowhere), and the
    `handles` named, and closes every other handle. `enter` is called just before `run`. The parent has no open
    connections, which processes must not share.
    """

    def __init__(
        self,
        run: Callable[[], object],
        title: str,
        *,
        handles: Collection[int] = (),
        output: int | None = None,
        errors: int | None = None,
        environment: Mapping[str, str] | None = None,
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that came to a fork before its handlers are its own would be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                os.environ.update(environment or {})
                unblock = partial(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
                _live(partial(_separate, title, handles, output, errors), unblock, enter, run)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, and None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended. Raises subprocess.TimeoutExpired."""
        if self.poll() is None:
            handle = os.pidfd_open(self.pid)
            try:
                select.select([handle], [], [], timeout)
            finally:
                os.close(handle)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _live(*steps: Callable[[], object]) -> NoReturn:
    """Run the steps as an interpreter of its own would, and end: nothing of the parent's frames may run here."""
    code = 1
    try:
        for step in steps:
            step()
        code = 0
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _separate(title: str, handles: Collection[int], output: int | None, errors: int | None) -> None:
    """Leave the parent's session, signal handlers and handles."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number, handler in _DEFAULTS.items():
        signal.signal(number, handler)
    nothing = os.open(os.devnull, os.O_RDWR)
    for source, target in ((nothing, 0), (output, 1), (errors, 2)):
        if source is not None:
            os.dup2(nothing if source == subprocess.DEVNULL else source, target)
    low = 3
    for handle in sorted(handles):
        os.closerange(low, handle)
        low = handle + 1
    os.closerange(low, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    _set_title(title)


def _set_title(title: str) -> None:
    """Show a title to `ps`, no longer than the command line that the first of these processes was started with."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_NAME, title.rpartition(" ")[2].encode())
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if start:  # 0 where the kernel keeps it secret
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, title.encode(), min(len(title), end - start - 1))
