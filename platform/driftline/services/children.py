"""The processes of an installation, in the order in which they start; they stop in the reverse order."""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftline.services.paths import HomePaths
from driftline.services.postgres import postgres_child
from driftline.services.processes import Child
from driftline.services.valkey import valkey_child

MANAGE = Path(__file__).resolve().parents[3] / "manage.py"


@dataclass(frozen=True)
class Installation:
    """What one `up` runs."""

    paths: HomePaths
    port: int
    web_workers: int
    task_workers: int
    embedded_database: bool  # False where DRIFTLINE_DATABASE_URL names a server
    embedded_broker: bool  # False where DRIFTLINE_BROKER_URL names one
    demo: str | None = None  # the demo that is set up and replayed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def services(installation: Installation) -> list[Child]:
    """What everything else needs: the broker and the database."""
    found = []
    if installation.embedded_database:
        found.append(postgres_child(installation.paths))
    if installation.embedded_broker:
        found.append(valkey_child(installation.paths))
    return found


def preparations(installation: Installation) -> list[Child]:
    """What runs once, each to its end, before the application starts."""
    return [
        _command("migrate", installation, "migrate", "--no-input", "--verbosity", "1"),
        _command("bootstrap", installation, "bootstrap"),
    ]


def application(installation: Installation) -> list[Child]:
    """What runs for as long as the installation does; the web server stops first and drains."""
    workers = str(installation.task_workers)
    return [
        _celery("scheduler", installation, "beat", "--pidfile", ""),
        _celery("worker", installation, "worker", "--concurrency", workers, "--hostname", "worker@%h"),
        Child(
            name="web",
            command=_manage(
                "serve", "--port", str(installation.port), "--workers", str(installation.web_workers)
            ),
            environment=_environment(installation),
            stop_seconds=60,
            is_ready=lambda: _answers(f"{installation.url}/healthz"),
            ready_seconds=90,
        ),
    ]


def demonstration(installation: Installation) -> list[Child]:
    """What shows the application on real data: the demo's set-up and replay, which end by themselves."""
    if installation.demo is None:
        return []
    return [_command("demo", installation, f"demo_{installation.demo}")]


def _command(name: str, installation: Installation, *arguments: str) -> Child:
    return Child(name=name, command=_manage(*arguments), environment=_environment(installation))


def _celery(name: str, installation: Installation, *arguments: str) -> Child:
    command = (sys.executable, "-m", "celery", "-A", "driftline.celery", *arguments, "--loglevel", "INFO")
    return Child(name=name, command=command, environment=_environment(installation), stop_seconds=20)


def _manage(*arguments: str) -> Sequence[str]:
    return (sys.executable, str(MANAGE), *arguments)


def _environment(installation: Installation) -> dict[str, str]:
    return {
        "DRIFTLINE_HOME": str(installation.paths.home),
        "DRIFTLINE_PORT": str(installation.port),
        "PYTHONUNBUFFERED": "1",
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
