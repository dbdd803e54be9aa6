"""The walls around the child, tried from inside and looked at from outside."""

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.registry.intake import IntakeLimits, IntakeRefused, inspect_artifact
from tests.inference.registry.onnx_files import endless_loop, inspect, summing_model
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
ATTEMPTS = """
import json, os, resource, signal, socket, sys
from inference.registry.intake import sandbox
from inference.registry.intake.limits import IntakeLimits

port, canary, *walls = sys.argv[1:]
sandbox.limit_resources(IntakeLimits(memory_bytes=1 << 30, report_bytes=1000))
holds = {wall: getattr(sandbox, wall)() for wall in walls}

def attempt(action):
    try:
        action()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "succeeded"

def fork():
    if os.fork() == 0:
        os._exit(0)

print(json.dumps({
    "walls": holds,
    "network": attempt(lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=5)),
    "files": attempt(lambda: open(canary).read()),
    "root": attempt(lambda: os.setuid(0)),
    "fork": attempt(fork),
    "program": attempt(lambda: os.execv("/bin/true", ["true"])) if walls else "not tried",
    "signal": attempt(lambda: os.kill(os.getppid(), 0)),
    "limits of the parent": attempt(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU)),
    "own limits": attempt(lambda: sandbox.allow_cpu(1)),
    "memory": attempt(lambda: bytearray(2 << 30)),
}))
"""
WALLS = ("leave_network", "close_file_system", "drop_root", "forbid_processes", "filter_system_calls")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that anybody may read."""
    path = tmp_path / "canary"
    path.write_text("secret")
    path.chmod(0o644)
    return path


def attempts(canary: Path, walls: Sequence[str]) -> dict[str, Any]:
    """Raise some walls in a process of its own, and tell what it could still do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        finished = subprocess.run(
            [sys.executable, "-c", ATTEMPTS, port, str(canary), *walls],
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            timeout=60,
        )
    results: dict[str, Any] = json.loads(finished.stdout)
    return results


class TestWalls:
    def test_each_wall_that_is_reported_holds(self, canary: Path) -> None:
        results = attempts(canary, WALLS)

        held = results["walls"]
        assert results["memory"] == "MemoryError"
        assert results["root"] == "PermissionError" or os.geteuid() != 0
        assert results["own limits"] == "succeeded"
        assert results["network"] != "succeeded" or not held["leave_network"]
        assert results["files"] != "succeeded" or not held["close_file_system"]
        if held["filter_system_calls"]:
            for forbidden in ("network", "files", "fork", "program", "signal", "limits of the parent"):
                assert results[forbidden] in ("PermissionError", "BlockingIOError"), (forbidden, results)

    @pytest.mark.skipif(
        platform.machine() not in ("x86_64", "aarch64"), reason="the filter knows x86-64 and ARM64"
    )
    def test_the_filter_alone_holds_where_namespaces_and_landlock_are_refused(self, canary: Path) -> None:
        results = attempts(canary, ["filter_system_calls"])

        assert results["walls"] == {"filter_system_calls": True}
        for forbidden in ("network", "files", "fork", "program", "signal", "limits of the parent"):
            assert results[forbidden] == "PermissionError", (forbidden, results)

    def test_without_walls_a_process_could_do_all_of_it(self, canary: Path) -> None:
        results = attempts(canary, [])

        assert {results[name] for name in ("network", "files", "fork", "signal")} == {"succeeded"}


class TestTheChild:
    def test_reports_its_walls(self, tmp_path: Path) -> None:
        facts = inspect(tmp_path, summing_model(), limits=IntakeLimits(run_cpu_s=3)).sandbox

        assert facts.memory_bytes == IntakeLimits().memory_bytes
        assert facts.run_cpu_s == 3
        assert facts.root_dropped

    def test_sees_no_variable_of_ours_and_an_empty_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DRIFTLINE_SECRET_KEY", "canary-in-the-environment")
        path = tmp_path / "loop.onnx"
        path.write_bytes(endless_loop())
        watched = threading.Thread(target=_inspect_and_expect_refusal, args=(path,))
        watched.start()

        child = wait_until(_child, what="the start of an intake child")
        environment = Path(f"/proc/{child}/environ").read_bytes()
        folder = list(Path(f"/proc/{child}/cwd").iterdir())
        group = os.getpgid(child)
        watched.join()

        assert b"PYTHONPATH" in environment
        assert b"DRIFTLINE" not in environment
        assert b"canary" not in environment
        assert folder == []
        assert group == child
        assert not Path(f"/proc/{child}").exists()


def _inspect_and_expect_refusal(path: Path) -> None:
    with pytest.raises(IntakeRefused):
        inspect_artifact(path, task="regression", limits=IntakeLimits(run_cpu_s=1))


def _child() -> int | None:
    """Find this process's intake child once it runs its own program."""
    for tasks in Path("/proc/self/task").iterdir():
        # A thread or a child may end while it is looked at.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (tasks / "children").read_text().split():
                if b"intake.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    return None
