"""Machines of one network, as network namespaces of this one: no common loopback, and a bridge between them."""

import os
import secrets
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MAIN = "10.213.77.1"
"""The address by which the machines reach this one."""


@dataclass(frozen=True)
class Machine:
    """A network namespace with a loopback and an address of its own."""

    namespace: str
    address: str

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a process on this machine, in a session of its own."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

    def enter(self) -> None:
        """Move the calling thread to this machine: its connections begin there from now on."""
        with open(f"/run/netns/{self.namespace}") as namespace:
            os.setns(namespace.fileno(), os.CLONE_NEWNET)


@contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """Make machines that reach this one at `MAIN`; raises OSError where this process may not."""
    name = f"dl{secrets.token_hex(2)}"
    made = [Machine(f"{name}-{number}", f"10.213.77.{number + 2}") for number in range(count)]
    try:
        _ip("link", "add", name, "type", "bridge")
        _ip("address", "add", f"{MAIN}/24", "dev", name)
        _ip("link", "set", name, "up")
        for number, machine in enumerate(made):
            _plug(machine, name, f"{name}v{number}")
        yield made
    finally:
        for machine in made:
            with suppress(OSError):
                _ip("netns", "delete", machine.namespace)
        with suppress(OSError):
            _ip("link", "delete", name)


def _plug(machine: Machine, bridge: str, cable: str) -> None:
    _ip("netns", "add", machine.namespace)
    _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
    _ip("link", "set", cable, "master", bridge, "up")
    inside = ("-n", machine.namespace)
    _ip(*inside, "address", "add", f"{machine.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    _ip(*inside, "link", "set", "lo", "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Door:
    """A port at `MAIN` behind which a server of this machine stands, such as a proxy that ends TLS in front of it."""

    def __init__(
        self, connect: Callable[[], socket.socket], certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._connect = connect
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._listener = socket.create_server((MAIN, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(inner,), daemon=True).start()

    def _serve(self, inner: socket.socket) -> None:
        with suppress(OSError), inner:
            stream = self._tls.wrap_socket(inner, server_side=True) if self._tls else inner
            with stream, self._connect() as outer:
                back = threading.Thread(target=_pass_on, args=(outer, stream), daemon=True)
                back.start()
                _pass_on(stream, outer)
                back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(1 << 16):
            target.sendall(block)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
