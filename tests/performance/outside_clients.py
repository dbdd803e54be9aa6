"""Load from clients that are not ours: `wrk` asks as fast as it is answered, `h2load` at a rate of its own."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_SCRIPT = Path(__file__).with_name("ask.lua")


@dataclass(frozen=True)
class Target:
    """Where to send requests, and their JSON bodies, used in turn."""

    port: int
    path: str
    token: str
    bodies: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What a client saw; times in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def closed_loop(target: Target, connections: int, seconds: float) -> Measured:
    """Ask with `wrk`: each connection sends the next request when it has the answer."""
    with tempfile.NamedTemporaryFile("w") as bodies:
        bodies.write("\n".join(target.bodies) + "\n")
        bodies.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "--timeout",
            "30s",
            "-s",
            str(_SCRIPT),
        ]
        output = _run(
            [*command, f"http://127.0.0.1:{target.port}{target.path}"],
            {"ASK_BODIES": bodies.name, "ASK_TOKEN": target.token},
        )
    result = json.loads(re.search(r"^RESULT (.*)$", output, re.MULTILINE)[1])  # type: ignore[index]
    return Measured(
        result["requests"],
        result["us"] / 1e6,
        result["p50"] / 1e3,
        result["p99"] / 1e3,
        result["max"] / 1e3,
        result["failed"],
    )


def open_loop(target: Target, rate: float, seconds: float, connections: int = 32) -> Measured:
    """Ask with `h2load --h1` at a rate, whatever the answers do. It sends one body."""
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_text(target.bodies[0])
        _run(
            [
                "h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds:.0f}", f"--rps={rate / connections:.2f}",
                f"--log-file={log}", "-d", str(body), "-H", f"authorization: Bearer {target.token}",
                "-H", "content-type: application/json", f"http://127.0.0.1:{target.port}{target.path}",
            ]
        )  # fmt: skip
        rows = np.loadtxt(log, dtype=np.int64, ndmin=2)  # begun, in microseconds; status; microseconds
    times_ms = rows[:, 2] / 1e3
    p50, p99 = np.quantile(times_ms, [0.5, 0.99])
    failed = int((rows[:, 1] != 200).sum())
    return Measured(len(rows), seconds, float(p50), float(p99), float(times_ms.max()), failed)


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if result.returncode:
        raise RuntimeError(f"{command[0]} ended with {result.returncode}: {result.stdout}{result.stderr}")
    return result.stdout
