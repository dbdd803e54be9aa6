"""A durable installation in a home of its own, for measuring: embedded PostgreSQL and Valkey, and `manage.py serve`."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import django

from driftline.operations.services.children import MANAGE
from driftline.operations.services.paths import HomePaths
from driftline.operations.services.postgres import postgres_child
from driftline.operations.services.processes import Child, Process
from driftline.operations.services.valkey import valkey_child
from tests.embedded import launch, make_home
from tests.ports import free_port


@dataclass(frozen=True)
class Installed:
    """A running installation without Celery workers: what is logged stays unsummarised."""

    paths: HomePaths
    port: int
    token: str
    server_pid: int
    database: Process

    @property
    def database_pid(self) -> int:
        return self.database.pid or 0


@contextmanager
def installation(folder: Path) -> Iterator[Installed]:
    """Run the services and the web server of an empty home in `folder` until the block ends."""
    paths, port = make_home(folder), free_port()
    environment = {
        "DRIFTLINE_HOME": str(paths.home),
        "DRIFTLINE_DATABASE_URL": "",
        "DRIFTLINE_BROKER_URL": "",
        "DRIFTLINE_GRPC_PORT": str(free_port()),
    }
    started: list[Process] = []
    try:
        for child in (postgres_child(paths), valkey_child(paths)):
            started.append(launch(child, paths))
            started[-1].wait_ready()
        _manage(environment, "migrate", "--no-input", "--verbosity", "0")
        token = json.loads(_manage(environment, "bootstrap"))["token"]
        web = Child(
            name="web",
            command=(sys.executable, str(MANAGE), "serve", "--port", str(port)),
            environment=environment,
            is_ready=lambda: _answers(port),
        )
        started.append(launch(web, paths))
        started[-1].wait_ready()
        yield Installed(paths, port, token, started[-1].pid or 0, started[0])
    finally:
        for process in reversed(started):
            process.stop()


@contextmanager
def without_server(folder: Path) -> Iterator[Installed]:
    """Run the services of an empty home in `folder`, migrated, and no web server, until the block ends."""
    with services_and_database(folder, durable=True) as (paths, database):
        yield Installed(paths, port=0, token="", server_pid=0, database=database)


@contextmanager
def services_only(folder: Path, *, durable: bool = True) -> Iterator[HomePaths]:
    """Run the services of an empty home in `folder`, migrated, until the block ends.

    A database that is not durable waits for no disk.
    """
    with services_and_database(folder, durable=durable) as (paths, _):
        yield paths


@contextmanager
def services_with_django() -> Iterator[tuple[Path, Process]]:
    """Run the services of an empty home, and let this process use them by Django, until the block ends.

    Yields the folder of the home, and the database server, which the block may restart.
    """
    with (
        tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder,
        services_and_database(Path(folder)) as (paths, database),
    ):
        os.environ |= {
            "DRIFTLINE_HOME": str(paths.home),
            "DRIFTLINE_DATABASE_URL": "",
            "DRIFTLINE_BROKER_URL": "",
            "DJANGO_SETTINGS_MODULE": "driftline.settings",
        }
        django.setup()
        yield Path(folder), database


@contextmanager
def services_and_database(folder: Path, *, durable: bool = True) -> Iterator[tuple[HomePaths, Process]]:
    """Run the services as `services_only` does, and give the database server too, which the block may restart."""
    paths, started = make_home(folder), []
    environment = {
        "DRIFTLINE_HOME": str(paths.home),
        "DRIFTLINE_DATABASE_URL": "",
        "DRIFTLINE_BROKER_URL": "",
    }
    try:
        for child in (postgres_child(paths, durable=durable), valkey_child(paths)):
            started.append(launch(child, paths))
            started[-1].wait_ready()
        _manage(environment, "migrate", "--no-input", "--verbosity", "0")
        yield paths, started[0]
    finally:
        for process in reversed(started):
            process.stop()


def _manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, str(MANAGE), *arguments]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"manage.py {' '.join(arguments)} ended with {result.returncode}: {result.stderr}")
    return result.stdout


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
