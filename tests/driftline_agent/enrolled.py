"""Agents as processes that are enrolled with a real server."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from inference.edge.enrolment import create_device
from inference.edge.models import DeviceGroup
from tests.driftline_agent.processes import AgentProcess


@contextmanager
def running_agents(
    group: DeviceGroup,
    url: str,
    folder: Path,
    count: int,
    *,
    proxy: str = "",
    poll_seconds: float = AgentProcess.poll_seconds,
    **run_as: str,
) -> Iterator[list[AgentProcess]]:
    """Enrol so many devices with the server at `url` and run their agents, which ask for work every `poll_seconds`.

    With a proxy they reach the server through it, and enrol again where no answer came. `run_as` is their `python` and
    `profile`.
    """
    with ExitStack() as stack:
        agents = []
        for number in range(count):
            agent = AgentProcess(
                folder / f"truck{number}", f"truck{number}", poll_seconds=poll_seconds, **run_as
            )
            _, code = create_device(group=group, name=agent.name, actor="test", now=datetime.now(UTC))
            enrolled = agent.enrol(proxy or url, code)
            while proxy and _came_to_nothing(enrolled):
                enrolled = agent.enrol(proxy, code)
            assert enrolled.returncode == 0, enrolled.stderr
            stack.callback(agent.stop)
            agent.start()
            agents.append(agent)
        yield agents


def _came_to_nothing(enrolled: subprocess.CompletedProcess[str]) -> bool:
    """Return whether the network cut an enrolment, or answered itself."""
    return "Nobody answers" in enrolled.stderr or "answers 200" in enrolled.stderr
