"""Forks the processes of versions: `python -m inference.runtime.isolated.fork_server HANDLE`.

It has loaded NumPy and ONNX Runtime once, so that a process of a version is there within milliseconds and shares
their memory; it runs no model itself. It has one thread, or it would not be safe to fork. It ends when the serving
process closes the socket of HANDLE, and the processes that it forked end with it.
"""

import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from inference.runtime.isolated.child import exit_now, run_child

MESSAGE_BYTES = 4096


class Fork(Struct, frozen=True, tag="fork"):
    """Fork a process that serves the two sockets sent along, with so much memory for its data."""

    memory_bytes: int


class Reap(Struct, frozen=True, tag="reap"):
    """Wait for the end of a process that was killed, and say how it ended."""

    pid: int


class ForkReply(Struct, frozen=True):
    """The process forked, whose handle is sent along, or the status with which one ended; or why there is none."""

    number: int = 0
    error: str = ""


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        _reply(control, ForkReply(error=f"ONNX Runtime started {threads - 1} threads when it was loaded."))
        return
    _reply(control, ForkReply(os.getpid()))
    while True:
        data, handles, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 2)
        if not data:
            return
        order = msgspec.msgpack.decode(data, type=Fork | Reap)
        if isinstance(order, Fork):
            _fork(control, order, handles)
        else:
            _reap(control, order)


def _fork(control: socket.socket, order: Fork, handles: list[int]) -> None:
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        _close(handles)
        _reply(control, ForkReply(error=f"no process can be started: {error.strerror}"))
        return
    if pid == 0:
        _serve(control, order, handles, parent)
    _close(handles)
    handle = os.pidfd_open(pid)
    _reply(control, ForkReply(pid), [handle])
    os.close(handle)


def _serve(control: socket.socket, order: Fork, handles: list[int], parent: int) -> None:
    code = 1
    try:
        control.close()
        channel, stopper = (socket.socket(fileno=handle) for handle in handles)
        run_child(channel, stopper, order.memory_bytes, parent)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        exit_now(code)


def _reap(control: socket.socket, order: Reap) -> None:
    try:
        _, status = os.waitpid(order.pid, 0)
    except OSError as error:
        _reply(control, ForkReply(error=str(error)))
        return
    _reply(control, ForkReply(os.waitstatus_to_exitcode(status)))


def _reply(control: socket.socket, reply: ForkReply, handles: list[int] | None = None) -> None:
    with suppress(BrokenPipeError):
        socket.send_fds(control, [msgspec.msgpack.encode(reply)], handles or [])


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)


if __name__ == "__main__":
    main()
