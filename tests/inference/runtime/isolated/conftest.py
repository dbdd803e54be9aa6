"""Processes of versions for tests: few, short of patience, and all ended afterwards."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from inference.runtime.isolated.limits import IsolationLimits
from inference.runtime.isolated.processes import ModelProcesses
from inference.runtime.isolated.session import IsolatedSession
from inference.runtime.session import Array
from tests.tiers import starts_processes

type Opens = Callable[..., IsolatedSession]


@pytest.fixture(scope="package")
@starts_processes
def fork_server() -> Iterator[ModelProcesses]:
    """Processes that share one fork server, as to start one takes half a second."""
    processes = ModelProcesses()
    yield processes
    processes.close()


@pytest.fixture
def processes(fork_server: ModelProcesses) -> Iterator[ModelProcesses]:
    fork_server.limits = IsolationLimits()
    yield fork_server
    for slot in fork_server._slots.copy():
        fork_server.remove(slot)


@pytest.fixture
def blamed() -> list[str]:
    """What versions were blamed for."""
    return []


@pytest.fixture
def open_session(processes: ModelProcesses, blamed: list[str]) -> Opens:
    """Open a model in a process of its own."""

    def open_session(model: bytes, example: dict[str, Array], *outputs: str) -> IsolatedSession:
        return IsolatedSession(
            lambda: model, "cpu", example, outputs, blame=blamed.append, processes=processes
        )

    return open_session


def sizes(*values: int) -> dict[str, Array]:
    """Rows for a model of one whole number, `size`."""
    return {"size": np.array(values, np.int64).reshape(-1, 1)}
