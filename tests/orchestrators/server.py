"""A real orchestrator with one pipeline that trains, in an environment and a folder of its own."""

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import requests

from tests.ports import free_port
from tests.waiting import is_running, wait_until

SOURCES = Path(__file__).parent
ENVIRONMENTS = SOURCES.parents[1] / ".orchestrators"
PATIENCE_SECONDS = 300.0


@dataclass
class Server(ABC):
    """The processes of an orchestrator; each can be killed and started again in the same folder."""

    name: ClassVar[str]
    """Of its environment, and of its kind of pipeline."""
    secret: ClassVar[str]
    """What Driftline signs in with."""
    stopped: ClassVar[tuple[str, ...]]
    """The states of a run that was ended from outside."""

    folder: Path
    port: int = field(default_factory=free_port)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        """Run an orchestrator until the block ends; its environment is made where it is missing."""
        subprocess.run([SOURCES / "install", cls.name], check=True)
        server = cls(folder)
        try:
            server.start_server()
            server.start_pipelines()
            yield server
        finally:
            for name in list(server._processes):
                server.kill(name)

    @property
    @abstractmethod
    def remote(self) -> dict[str, str]:
        """Return how a workflow names the pipeline."""

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """Return the environment variables of its processes, beside those that all have."""

    @abstractmethod
    def start_server(self) -> None:
        """Start the process `server`, which answers requests, and wait until it does."""

    @abstractmethod
    def start_pipelines(self) -> None:
        """Start the process `pipelines`, which runs them, and wait until the one that trains is known."""

    @abstractmethod
    def states_of(self, key: str) -> list[str]:
        """Return the state of each run that was started for a key, in the service's words."""

    @abstractmethod
    def get(self, path: str) -> requests.Response:
        """Send a GET as somebody who has signed in."""

    def answers(self, path: str) -> bool:
        """Return whether a GET is answered with 2xx by now."""
        try:
            return self.get(path).ok
        except requests.ConnectionError:
            return False

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and all that it started, which have its session, and see them end."""
        process = self._processes.pop(name)
        while running := list(running_in_session(process.pid)):
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Kill `server` or `pipelines`, and start it again when the block ends."""
        self.kill(name)
        try:
            yield
        finally:
            {"server": self.start_server, "pipelines": self.start_pipelines}[name]()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep a pipeline that begins from training until the block ends."""
        (self.folder / "hold").touch()
        try:
            yield
        finally:
            (self.folder / "hold").unlink()
            self._pid_file.unlink(missing_ok=True)

    def held_process(self) -> int:
        """Wait for a pipeline that is held, and return the id of its process."""

        def pid() -> str:
            return self._pid_file.read_text() if self._pid_file.exists() else ""

        return int(wait_until(pid, seconds=PATIENCE_SECONDS, what="the start of the training"))

    def launch(self, name: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of the environment under a name that `kill` takes."""
        environment = ENVIRONMENTS / self.name
        variables = {
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "DO_NOT_TRACK": "1",
            **self.variables,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [environment / "bin" / program, *arguments],
                cwd=self.folder,
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._processes[name]

    @property
    def _pid_file(self) -> Path:
        return self.folder / "held.pid"


def running_in_session(session: int) -> Iterator[int]:
    """Yield the processes of a session that have not ended."""
    for name in os.listdir("/proc"):
        with suppress(ValueError, ProcessLookupError):  # no process, or one that has ended meanwhile
            if os.getsid(int(name)) == session and is_running(int(name)):
                yield int(name)


def wait_for(condition: Any, what: str) -> Any:
    """Wait as long as a real server on a busy machine may take."""
    return wait_until(condition, seconds=PATIENCE_SECONDS, what=what)
