"""The serving parent: holds the socket, keeps workers and side processes alive, and stops them in order."""

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from inference.serving import worker
from inference.serving.crashes import forget_dead
from inference.serving.options import EngineOptions, ServerCertificate, WorkerOptions
from inference.serving.processes.children import STOP_SECONDS, KeptProcess, ServingProcess
from inference.serving.status.status import retire_dead

LOOK_SECONDS = 0.2
SO_ATTACH_FILTER = 26
log = logging.getLogger(__name__)


def serve_forever(
    home: Path,
    host: str,
    port: int,
    *,
    grpc_port: int | None = None,
    workers: int = 1,
    asgi_app: str | None = None,
    options: EngineOptions | None = None,
    certificate: ServerCertificate | None = None,
    side_processes: Mapping[str, Callable[[], object]] = MappingProxyType({}),
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    `grpc_port` is None for no gRPC; `asgi_app` is "module:attribute", None for inference alone. With a certificate
    both ports speak TLS. Whether it is safe to listen on `host` is for the caller to decide. Side processes, by
    their titles, are kept alive and stopped after the workers, so that a drain of the spool sees all they wrote.
    All are forked from this process, which has neither threads nor open connections.
    `on_listening` gets the port.
    """
    retire_dead(home)
    forget_dead(home)
    with _listen(host, port) as listener, _reserve(host, grpc_port) as grpc_address, _Wakeups() as wakeups:
        worker_options = _worker_options(
            home, listener, asgi_app, grpc_address, options or EngineOptions(), certificate
        )
        run = partial(worker.main, worker_options)
        serving = [ServingProcess(home, run, listener.fileno()) for _ in range(workers)]
        beside = [KeptProcess(home, run, title) for title, run in side_processes.items()]
        try:
            for process in (*serving, *beside):
                process.start()
            if on_listening is not None:
                on_listening(listener.getsockname()[1])
            while not wakeups.asked_to_stop:
                wakeups.wait(LOOK_SECONDS)
                for process in (*serving, *beside):
                    process.keep_alive()
            _refuse_new_connections(listener)
        finally:
            _stop(serving)
            _stop(beside)


class _Wakeups:
    """Turns SIGTERM and SIGINT into a flag, and wakes the waiting loop at once."""

    def __init__(self) -> None:
        self.asked_to_stop = False

    def __enter__(self) -> "_Wakeups":
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._previous = [
            (number, signal.signal(number, self._note))
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.asked_to_stop = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def wait(self, seconds: float) -> None:
        if select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)


def _stop(processes: Sequence[KeptProcess]) -> None:
    for process in processes:
        process.ask_to_stop()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        process.wait_or_kill(deadline)


def _listen(host: str, port: int) -> socket.socket:
    listener = _bind(host, port)
    listener.listen(2048)
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _reserve(host: str, port: int | None) -> Iterator[str | None]:
    """Hold a port of which each worker opens a listening socket of its own; give its address.

    It is bound alone, so that a port that others share is refused, and lets our workers share it afterwards.
    """
    if port is None:
        yield None
        return
    with _bind(host, port) as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"Port {port} of {host} is taken or not ours: {error.strerror}") from error
    return bound


def _refuse_new_connections(listener: socket.socket) -> None:
    """Stop new connections without losing one: the kernel drops them, and the workers accept those it has.

    A socket filter that keeps nothing makes the kernel ignore further SYNs; they are tried again and refused
    once the socket is closed. A listener that is closed with connections in its queue would reset them.
    """
    keep_nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(keep_nothing))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    deadline = time.monotonic() + 1.0
    while select.select([listener], [], [], 0)[0] and time.monotonic() < deadline:
        time.sleep(0.005)


def _worker_options(
    home: Path,
    listener: socket.socket,
    asgi_app: str | None,
    grpc_address: str | None,
    options: EngineOptions,
    certificate: ServerCertificate | None,
) -> WorkerOptions:
    return WorkerOptions(
        home=str(home.resolve()),
        socket_fd=listener.fileno(),
        asgi_app=asgi_app,
        grpc_address=grpc_address,
        certificate=certificate,
        engine=options,
    )
