import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from monitors.workflows import services
from monitors.workflows.models import Run
from monitors.workflows.starting import starts
from tests.monitors.workflows.conftest import (
    home,
    model,
    old_truth,
    table_world,
    trained,
    turned_world,
    world,
)
from tests.orchestrators.mlflow_server import Mlflow
from tests.orchestrators.server import SOURCES, Server
from tests.worlds.turning_flights import World

__all__ = ["home", "model", "old_truth", "table_world", "trained", "turned_world", "world"]


@pytest.fixture
def run(turned_world: World, server: Server, live_server: Any, settings: Any) -> Run:
    """A run that the orchestrator of the module is to train for."""
    settings.PUBLIC_URL, settings.OUTBOUND_ALLOW = live_server.url, ["127.0.0.1/32"]
    model = turned_world.model
    services.configure_workflow(
        model=model, actor="ada", trainer="remote", remote=server.remote, remote_secret=server.secret
    )
    return starts.start_run(model=model, trigger="ada", actor="ada")


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """A tracking server with a registry in SQLite, and users."""
    subprocess.run([SOURCES / "install", "mlflow"], check=True)
    running = Mlflow(tmp_path_factory.mktemp("mlflow"))
    try:
        running.start()
        yield running
    finally:
        running.kill()
