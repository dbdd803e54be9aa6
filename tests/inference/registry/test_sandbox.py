"""The walls around the child, tried from inside and looked at from outside."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from inference.registry.intake import IntakeLimits, IntakeRefused, inspect_artifact
from tests.inference.registry.onnx_files import endless_loop, inspect, summing_model

ROOT = Path(__file__).parents[3]
ATTEMPTS = """
import json, os, socket, sys
from inference.registry.intake import sandbox
from inference.registry.intake.limits import IntakeLimits

sandbox.limit_resources(IntakeLimits(memory_bytes=1 << 30, report_bytes=1000))
walls = {"network": sandbox.leave_network(), "files": sandbox.close_file_system(), "root": sandbox.drop_root()}
sandbox.forbid_processes()

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
    "walls": walls,
    "network": attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)),
    "files": attempt(lambda: open(sys.argv[2]).read()),
    "root": attempt(lambda: os.setuid(0)),
    "fork": attempt(fork),
    "memory": attempt(lambda: bytearray(2 << 30)),
}))
"""


class TestWalls:
    def test_each_wall_that_is_reported_holds(self, tmp_path: Path) -> None:
        canary = tmp_path / "canary"
        canary.write_text("secret")
        canary.chmod(0o644)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            finished = subprocess.run(
                [sys.executable, "-c", ATTEMPTS, port, str(canary)],
                env={"PYTHONPATH": str(ROOT)},
                capture_output=True,
                check=True,
                timeout=60,
            )

        results = json.loads(finished.stdout)

        assert results["memory"] == "MemoryError"
        assert results["root"] == "PermissionError" or os.geteuid() != 0
        assert results["fork"] == "BlockingIOError" or not results["walls"]["root"]
        for wall in ("network", "files"):
            assert not results["walls"][wall] or results[wall] != "succeeded"


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

        child = _wait_for_child()
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


def _wait_for_child() -> int:
    """Find this process's intake child once it runs its own program."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for tasks in Path("/proc/self/task").iterdir():
            for child in (tasks / "children").read_text().split():
                if b"intake.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.01)
    raise AssertionError("No intake child appeared.")
