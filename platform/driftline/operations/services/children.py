"""The processes of an installation, in one place and in the order in which they start."""

import gc
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from driftline.operations.services.listening import local_url
from driftline.operations.services.paths import HomePaths
from driftline.operations.services.postgres import postgres_child
from driftline.operations.services.processes import Child
from driftline.operations.services.supervisor import Stages
from driftline.operations.services.valkey import valkey_child

MANAGE = Path(__file__).resolve().parents[4] / "manage.py"


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
    builds_documentation: bool = False
    wal_archive: Path | None = None  # where the embedded database archives its log

    @property
    def url(self) -> str:
        """The address at which programs of this machine reach it."""
        return local_url(self.host, self.port)


def stages(installation: Installation) -> Stages:
    """List what the installation runs."""
    return Stages(
        services=_services(installation),
        load=load_application,
        preparations=[
            _manage("migrate", installation, "migrate", "--no-input", step="migrations"),
            _manage(
                "bootstrap", installation, "bootstrap", step="first account", logs_output=False
            ),  # a token
        ],
        workers=_workers(installation),
        web=_web(installation),
        afterwards=_afterwards(installation),
    )


def _services(installation: Installation) -> list[Child]:
    found = []
    if installation.embedded_database:
        found.append(postgres_child(installation.paths, wal_archive=installation.wal_archive))
    if installation.embedded_broker:
        found.append(valkey_child(installation.paths))
    return found


def load_application() -> None:
    """Load what the processes run before the first is forked, and keep the collector from touching what they share."""
    for module in _LOADED:
        import_module(module)
    app = import_module("driftline.celery").app
    app.loader.import_default_modules()
    gc.collect()
    gc.freeze()


_LOADED = (
    "driftline.urls",
    "driftline.management.commands.consume",
    "driftline.management.commands.drain_spool",
    "driftline.management.commands.serve",
    "inference.serving.worker",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "kombu.transport.redis",
)


def _workers(installation: Installation) -> list[Child]:
    concurrency = ("--concurrency", str(installation.task_workers))
    return [
        _celery("scheduler", installation, "beat", "--pidfile", ""),
        _celery(
            "worker",
            installation,
            "worker",
            *concurrency,
            "--hostname",
            "worker@%h",
            "--without-mingle",
            "--without-gossip",
        ),
        _manage(
            "sources", installation, "consume", stop_seconds=20
        ),  # a batch is stored, and groups are left
        *([_device_gateway(installation)] if installation.device_nats else []),
    ]


def _device_gateway(installation: Installation) -> Child:
    return _manage(
        "device_gateway", installation, "device_gateway", stop_seconds=40
    )  # it finishes its answers


def _web(installation: Installation) -> Child:
    return _manage(
        "web",
        installation,
        "serve",
        "--host",
        installation.host,
        "--port",
        str(installation.port),
        "--grpc-port",
        str(installation.grpc_port or 0),
        "--workers",
        str(installation.web_workers),
        step="web",
        stop_seconds=100,  # it stops its workers and then drains the spool
        is_ready=lambda: _answers(f"{installation.url}/healthz"),
        ready_seconds=90,
    )


def _afterwards(installation: Installation) -> list[Child]:
    found = []
    if installation.demo:
        progress = installation.paths.home / "demo"
        found.append(
            _manage(
                "demo",
                installation,
                "demo",
                "--play",
                installation.demo,
                step="demo loaded",
                is_ready=lambda: any(progress.glob("*.json")),  # the first model is set up
                ends_by_itself=True,
            )
        )
    if installation.builds_documentation:
        found.append(
            Child(
                name="documentation",
                command=(str(MANAGE.parent / ".ci" / "docs"),),
                niceness=5,
                ends_by_itself=True,
                restarts=False,
            )
        )
    return found


def _manage(name: str, installation: Installation, *arguments: str, **options: Any) -> Child:
    """Describe a command of manage.py that runs in a fork."""
    title = f"manage.py {arguments[0]}"
    return Child(
        name, partial(_run_command, *arguments), title, environment=_environment(installation), **options
    )


def _run_command(*arguments: str) -> None:
    from django.core.management import execute_from_command_line

    sys.argv = [str(MANAGE), *arguments]
    execute_from_command_line(sys.argv)


def _celery(name: str, installation: Installation, *arguments: str) -> Child:
    return Child(
        name,
        partial(_run_celery, *arguments, "--loglevel", "INFO"),
        f"celery {arguments[0]}",
        environment=_environment(installation),
        stop_seconds=20,
        niceness=2,
    )


def _run_celery(*arguments: str) -> None:
    sys.argv = ["celery", *arguments]
    sys.exit(import_module("driftline.celery").app.start(list(arguments)))


def _environment(installation: Installation) -> dict[str, str]:
    return {"DRIFTLINE_HOME": str(installation.paths.home), "DRIFTLINE_PORT": str(installation.port)}


def _answers(url: str) -> bool:
    ours = ssl.create_default_context() if url.startswith("https") else None
    if ours is not None:
        ours.check_hostname, ours.verify_mode = (
            False,
            ssl.CERT_NONE,
        )  # the certificate names the public address
    try:
        with urllib.request.urlopen(url, timeout=2, context=ours) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
