"""A trainer that somebody else wrote, run as the worker runs it, tries to leave its folder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pandas as pd
import pytest

from driftline.operations.services.paths import home_paths
from inference.signatures import Feature
from monitors.workflows.trainers import catalogue
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.launch import TrainingFailed, run_trainer

pytestmark = pytest.mark.slow

FORBIDDEN = [
    "list the processes",
    "read the worker's environment",
    "read the worker's command",
    "read the worker's files",
    "signal the worker",
    "trace the worker",
    "read a key",
    "link to a key",
    "link hard to a key",
    "leave a pipe that hangs its reader",
    "list the folder of all runs",
    "write beside its folder",
    "write into installed code",
    "start a program",
    "fork",
    "reach the network",
    "share memory",
    "use root's powers",
]
NEEDED = ["write its folder", "rename in its folder", "read its data", "start a thread"]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory, services: None) -> Iterator[dict[str, object]]:
    """A home with a key and a listening socket in it, the services' own sockets, and a port on loopback."""
    home = tmp_path_factory.mktemp("home")
    key = home / "secret_key"
    key.write_text("secret")
    running = home_paths(os.environ["DRIFTLINE_TEST_HOME"])
    with (
        closing(socket.socket(socket.AF_UNIX)) as own,
        closing(socket.create_server(("127.0.0.1", 0))) as port,
    ):
        own.bind(str(home / "own.sock"))
        own.listen()
        sockets = [home / "own.sock", running.postgres_socket, running.valkey_socket]
        yield {
            "key": str(key),
            "sockets": [str(path) for path in sockets if path.exists()],
            "address": list(port.getsockname()),
        }


@pytest.fixture(scope="module")
def seen(targets: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came of each attempt; the trainer is installed as an operator's package would be."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "train.parquet"
    days = pd.date_range("2026-01-01", periods=12, tz="UTC")
    pd.DataFrame({"x": range(12), "label": ["0", "1"] * 6, "time": days}).to_parquet(data)
    job = TrainingJob(
        data=str(data),
        features=[Feature("x", "float")],
        task="binary",
        classes=["0", "1"],
        positive_class="1",
        parameters=targets,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.SHIPPED, "hostile", "tests.attacks.hostile_trainer:tries_everything")
        with pytest.raises(TrainingFailed, match="nothing to train"):
            run_trainer("hostile", job, folder / "attempt", 120, allowed=["hostile"])
    found: dict[str, str] = json.loads((folder / "attempt" / "seen.json").read_text())
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_trainer_cannot(what: str, seen: dict[str, str]) -> None:
    assert seen[what] != "done"


def test_a_trainer_reaches_no_socket_of_the_home_and_its_services(
    targets: dict[str, list[str]], seen: dict[str, str]
) -> None:
    assert targets["sockets"]
    assert {seen[f"connect to {path}"] for path in targets["sockets"]} == {"PermissionError"}


@pytest.mark.parametrize("what", NEEDED)
def test_a_trainer_can(what: str, seen: dict[str, str]) -> None:
    assert seen[what] == "done"
