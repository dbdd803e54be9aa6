"""Starts the processes of versions through a fork server, which is started with the first of them."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from inference.runtime.isolated.fork_server import MESSAGE_BYTES, Fork, ForkReply, Reap
from inference.runtime.isolated.process import ModelProcess

START_SECONDS = 60.0  # to load NumPy and ONNX Runtime on a busy machine
REPLY_SECONDS = 10.0
_CODE = Path(__file__).resolve().parents[3]


class CannotFork(Exception):
    """The process of a version cannot be started; the text says why."""


class ForkServer:
    """A fork server of this process; safe for threads."""

    def __init__(self) -> None:
        """Start one; raise CannotFork where it does not get ready."""
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "inference.runtime.isolated.fork_server", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_bare_environment(),
                cwd="/",
                start_new_session=True,
            )
        try:
            self._receive(START_SECONDS)
        except CannotFork:
            self.close()
            raise

    def fork(self, memory_bytes: int) -> ModelProcess:
        """Fork the process of a version, which waits for its model; raises CannotFork."""
        channel, their_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stopper, their_stopper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with their_channel, their_stopper:
                handles = [their_channel.fileno(), their_stopper.fileno()]
                reply, pidfd = self._ask(Fork(memory_bytes), handles)
        except CannotFork:
            channel.close()
            stopper.close()
            raise
        assert pidfd is not None
        return ModelProcess(reply.number, pidfd, channel, stopper)

    def reap(self, pid: int) -> int | None:
        """Return how a process ended that was killed, negative for a signal; None where nobody knows."""
        try:
            return self._ask(Reap(pid), [])[0].number
        except CannotFork:
            return None

    def _ask(self, order: Fork | Reap, handles: list[int]) -> tuple[ForkReply, int | None]:
        with self._lock:
            try:
                socket.send_fds(self._control, [msgspec.msgpack.encode(order)], handles)
            except OSError as error:
                raise CannotFork(f"its fork server has ended ({error.strerror})") from error
            return self._receive(REPLY_SECONDS)

    def _receive(self, seconds: float) -> tuple[ForkReply, int | None]:
        self._control.settimeout(seconds)
        try:
            data, handles, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
        except OSError as error:
            raise CannotFork(f"its fork server does not answer ({error})") from error
        if not data:
            raise CannotFork("its fork server has ended")
        for handle in handles:
            os.set_inheritable(handle, False)
        reply = msgspec.msgpack.decode(data, type=ForkReply)
        if reply.error:
            raise CannotFork(reply.error)
        return reply, handles[0] if handles else None

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the fork server, and with it whatever it forked."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REPLY_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _bare_environment() -> dict[str, str]:
    """Return it what Python and the numeric libraries need, and nothing of ours: models run there."""
    return {
        "PYTHONPATH": os.pathsep.join([str(_CODE), str(_CODE / "platform")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
