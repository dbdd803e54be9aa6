"""One command runs an installation, one stops it, and a crash between the two costs nothing."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftline.operations.services.paths import HomePaths, home_paths
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.chaos]
CHECKOUT = Path(__file__).resolve().parents[4]
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an installation of its own, on a free port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    return kept | {"DRIFTLINE_HOME": str(tmp_path_factory.mktemp("home")), "DRIFTLINE_PORT": str(free_port())}


@pytest.fixture
def paths(installation: dict[str, str]) -> HomePaths:
    return home_paths(installation["DRIFTLINE_HOME"])


def manage(installation: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / "manage.py"), *arguments]
    return subprocess.run(command, env=installation, capture_output=True, text=True, timeout=200, check=False)


@contextmanager
def up(installation: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `manage.py up` until it has said where it is; give the process and what it said."""
    command = [sys.executable, str(CHECKOUT / "manage.py"), "up"]
    with subprocess.Popen(command, env=installation, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line.strip())
                if "Ctrl-C" in line:
                    break
            else:
                pytest.fail("\n".join(said))
            yield process, said
        finally:
            process.kill()


def processes_of(paths: HomePaths) -> list[str]:
    """List the command lines of the processes that were started for this home."""
    mark = f"DRIFTLINE_HOME={paths.home}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


class TestUp:
    def test_says_the_way_in_keeps_it_over_a_crash_and_leaves_nothing_running(
        self, installation: dict[str, str], paths: HomePaths
    ) -> None:
        with up(installation) as (process, said):
            credentials = json.loads((paths.home / "credentials").read_text())
            assert f"URL:   http://127.0.0.1:{installation['DRIFTLINE_PORT']}" in said
            assert f"Token: {credentials['token']}" in said

            second = manage(installation, "up")
            assert second.returncode == 1
            assert f"already runs here: process {process.pid}, http://127.0.0.1" in second.stderr

            process.kill()
            process.wait()
            wait_until(lambda: processes_of(paths) == [], seconds=PATIENCE_SECONDS)

        with up(installation) as (process, said):
            assert f"Token: {credentials['token']}" in said

            stopped = manage(installation, "down")
            assert stopped.stdout.startswith(f"Stopped process {process.pid}")
            assert process.wait(PATIENCE_SECONDS) == 0
            assert processes_of(paths) == []

    def test_refuses_a_port_that_is_taken(self, installation: dict[str, str]) -> None:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(installation["DRIFTLINE_PORT"])))
            other.listen()
            result = manage(installation, "up")

        assert result.returncode == 1
        assert f"Port {installation['DRIFTLINE_PORT']} is taken" in result.stderr


class TestDown:
    def test_says_when_nothing_runs(self, installation: dict[str, str], paths: HomePaths) -> None:
        result = manage(installation, "down")

        assert result.returncode == 0
        assert result.stdout.strip() == f"Nothing runs in {paths.home}."
