"""Agents as processes of their own, which tests ask, kill and start again."""

import http.client
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import driftline_agent
from tests.ports import free_port
from tests.waiting import wait_until

DRAWER = Path(driftline_agent.__file__).parents[1]


@dataclass
class AgentProcess:
    """One device's agent; `answered` holds the ids that its answers named, of rows that are sent whole."""

    home: Path
    name: str
    port: int = field(default_factory=free_port)
    poll_seconds: float = 0.3
    python: str = sys.executable
    profile: str = "cpu"
    process: subprocess.Popen[bytes] | None = None
    answered: list[str] = field(default_factory=list)

    def enrol(self, url: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run the command that enrols it."""
        return subprocess.run(
            [*self._command("enrol"), url, code],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> None:
        options = [
            "--port",
            str(self.port),
            "--poll-seconds",
            str(self.poll_seconds),
            "--profile",
            self.profile,
        ]
        with (self.home.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command("run"), *options], env=self._environment(), stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it as a power cut does, as far as a process can tell."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """End it as its supervisor does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def ask(self, x: float = 1.0) -> dict[str, Any] | None:
        """Ask for a prediction; None where nobody answers, or there is no version."""
        tensor = {"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [x]}
        answer = self._request("POST", "/v2/models/fuel/infer", json.dumps({"inputs": [tensor]}))
        if answer is not None:
            self.answered += filter(None, answer.get("parameters", {}).get("prediction_ids", []))
        return answer

    def version(self) -> str | None:
        """Ask which version answers."""
        answer = self._request("GET", "/v2/models/fuel")
        return answer["versions"][0] if answer else None

    def wait_for(self, version: str) -> None:
        wait_until(lambda: self.version() == version, what=f"{self.name} answers with version {version}")

    def log(self) -> str:
        return (self.home.parent / f"{self.name}.log").read_text()

    def _request(self, method: str, path: str, body: str | None = None) -> dict[str, Any] | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
            return json.loads(content) if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _command(self, name: str) -> list[str]:
        return [self.python, "-m", "driftline_agent", name, "--home", str(self.home)]

    @staticmethod
    def _environment() -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": f"{DRAWER}{os.pathsep}{DRAWER.parent}",
            "PYTHONWARNINGS": "default",
        }
