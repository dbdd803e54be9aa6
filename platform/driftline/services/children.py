"""The processes of an installation, in one place and in the order in which they start."""

import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from driftline.services.listening import local_url
from driftline.services.paths import HomePaths
from driftline.services.postgres import postgres_child
from driftline.services.processes import Child
from driftline.services.supervisor import Stages
from driftline.services.valkey import valkey_child

MANAGE = Path(__file__).resolve().parents[3] / "manage.py"


@dataclass(frozen=True)
class Installation:
    """What one `up` runs."""

    paths: HomePaths
    host: str  # on which it listens, for HTTP and gRPC
    port: int
    grpc_port: int | None  # None where gRPC is turned off
    web_workers: int
    task_workers: int
    embedded_database: bool  # False where DRIFTLINE_DATABASE_URL names a server
    embedded_broker: bool  # False where DRIFTLINE_BROKER_URL names one
    device_nats: bool = False  # whether devices reach it over a server of NATS
    demo: str | None = None  # the demo that is set up and replayed
    wal_archive: Path | None = None  # where the embedded database archives its log

    @property
    def url(self) -> str:
        """The address at which programs of this machine reach it."""
        return local_url(self.host, self.port)


def stages(installation: Installation) -> Stages:
    """List what the installation runs."""
    return Stages(
        services=_services(installation),
        preparations=[
            _command("migrate", installation, "migrate", "--no-input"),
            replace(_command("bootstrap", installation, "bootstrap"), logs_output=False),  # it prints a token
        ],
        application=_application(installation),
        demonstration=[_command("demo", installation, "demo", "--play", installation.demo)]
        if installation.demo
        else [],
    )


def _services(installation: Installation) -> list[Child]:
    found = []
    if installation.embedded_database:
        found.append(postgres_child(installation.paths, wal_archive=installation.wal_archive))
    if installation.embedded_broker:
        found.append(valkey_child(installation.paths))
    return found


def _application(installation: Installation) -> list[Child]:
    workers = str(installation.task_workers)
    return [
        _celery("scheduler", installation, "beat", "--pidfile", ""),
        _celery(
            "worker",
            installation,
            "worker",
            "--concurrency",
            workers,
            "--hostname",
            "worker@%h",
            "--without-mingle",
            "--without-gossip",
        ),
        _sources(installation),
        *([_device_gateway(installation)] if installation.device_nats else []),
        _web(installation),  # the last to start and the first to stop: it drains while the rest still works
    ]


def _sources(installation: Installation) -> Child:
    return Child(
        name="sources",
        command=_manage("consume"),
        environment=_environment(installation),
        stop_seconds=20,  # a batch is stored, and groups of consumers are left
    )


def _device_gateway(installation: Installation) -> Child:
    return Child(
        name="device_gateway",
        command=_manage("device_gateway"),
        environment=_environment(installation),
        stop_seconds=40,  # answers that have begun are finished
    )


def _web(installation: Installation) -> Child:
    port, grpc_port = str(installation.port), str(installation.grpc_port or 0)
    workers = str(installation.web_workers)
    return Child(
        name="web",
        command=_manage(
            "serve",
            "--host",
            installation.host,
            "--port",
            port,
            "--grpc-port",
            grpc_port,
            "--workers",
            workers,
        ),
        environment=_environment(installation),
        stop_seconds=100,  # it stops its workers and then drains the spool
        is_ready=lambda: _answers(f"{installation.url}/healthz"),
        ready_seconds=90,
    )


def _command(name: str, installation: Installation, *arguments: str) -> Child:
    return Child(name=name, command=_manage(*arguments), environment=_environment(installation))


def _celery(name: str, installation: Installation, *arguments: str) -> Child:
    command = (sys.executable, "-m", "celery", "-A", "driftline.celery", *arguments, "--loglevel", "INFO")
    environment = _environment(installation)
    return Child(name=name, command=command, environment=environment, stop_seconds=20, niceness=2)


def _manage(*arguments: str) -> Sequence[str]:
    return (sys.executable, str(MANAGE), *arguments)


def _environment(installation: Installation) -> dict[str, str]:
    own = {
        "DRIFTLINE_HOME": str(installation.paths.home),
        "DRIFTLINE_PORT": str(installation.port),
        "PYTHONUNBUFFERED": "1",
    }
    if installation.demo and not os.environ.get("DRIFTLINE_OUTBOUND_ALLOW"):
        own["DRIFTLINE_OUTBOUND_ALLOW"] = "127.0.0.1/32"  # the demo's webhooks go to a receiver beside it
    return own


def _answers(url: str) -> bool:
    ours = ssl.create_default_context()
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE  # the certificate names the public address
    try:
        with urllib.request.urlopen(url, timeout=2, context=ours) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
