"""The supervisor: starts in order, restarts what dies, stops in order, and is alone in its home."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftline.operations.services.ownership import AlreadyRunning, Owner, current_owner, own
from driftline.operations.services.paths import HomePaths
from tests.embedded import make_home
from tests.waiting import PATIENCE_SECONDS, is_running, wait_until

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys
from pathlib import Path
from driftline.operations.services.ownership import Owner, own
from driftline.operations.services.paths import home_paths
from driftline.operations.services.processes import Child, ChildNotStarted
from driftline.operations.services.supervisor import Stages, Supervisor, signals_taken

journal = Path(sys.argv[1]) / "journal"
paths = home_paths(sys.argv[1])

def child(name, then="stay", *, stop_seconds=5, **options):
    trap = f"trap 'echo {name} stops >> {journal}; kill $!; exit 0' TERM"
    written = "echo a line of the log; " * 10
    stay = f"{trap}; {written} echo {name} $$ >> {journal}; sleep 600 & wait $!" if then == "stay" else then
    is_there = lambda: then != "stay" or f"{name} " in (journal.read_text() if journal.exists() else "")
    return Child(name, ("sh", "-c", stay), stop_seconds=stop_seconds, is_ready=is_there, **options)

# The server leaves a process that holds its "port", and nothing else of it, when it is killed.
LEFT = "import os, time; os.closerange(3, 9); os.closerange(10, 256); time.sleep(600)"
SERVER = (
    f"exec 9> {paths.home}/port; flock -n 9 || exit 1; "
    f"setsid {sys.executable} -c '{LEFT}' & echo server $$ >> {journal}; wait"
)
# This one leaves a process that holds its lock and does not listen.
STUBBORN = f"(trap '' TERM; exec setsid sleep 600) & echo stubborn $$ >> {journal}; wait"

stages = Stages(
    services=[child("database")],
    preparations=[child("migrate", f"echo migrate >> {journal}; exit " + (sys.argv[2:] or ["0"])[0])],
    workers=[child("worker"), child("server", SERVER), child("stubborn", STUBBORN, stop_seconds=30)],
    web=child("web"),
    afterwards=[
        child("docs", f"echo docs >> {journal}; exit 3", restarts=False),
        child("demo", f"echo demo >> {journal}", ends_by_itself=True),
    ],
)
with signals_taken(), own(paths, Owner(os.getpid(), "http://here", "2026-01-01T00:00:00+00:00")):
    try:
        say = lambda line: print(line, flush=True)
        Supervisor(paths, say, max_log_bytes=100, log_check_seconds=0.05).run(stages, announce=lambda: say("ready"))
    except ChildNotStarted as error:
        sys.exit(str(error))
"""


@pytest.fixture
def paths(tmp_path: Path) -> HomePaths:
    return make_home(tmp_path)


@contextmanager
def supervised(paths: HomePaths) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, str(paths.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as supervisor:
        try:
            yield supervisor
        finally:
            supervisor.kill()


def read_until(supervisor: subprocess.Popen[str], line: str) -> None:
    assert supervisor.stdout is not None
    for found in supervisor.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"the supervisor ended before it said {line!r}")


def journal(paths: HomePaths) -> list[str]:
    return (paths.home / "journal").read_text().splitlines()


def pids(paths: HomePaths, name: str) -> list[int]:
    words = [line.split() for line in journal(paths)]
    return [int(number) for found, number in words_of_two(words) if found == name and number.isdigit()]


def words_of_two(words: list[list[str]]) -> list[tuple[str, str]]:
    return [(line[0], line[1]) for line in words if len(line) == 2]


class TestRun:
    def test_starts_in_order_and_stops_in_the_reverse_order(self, paths: HomePaths) -> None:
        with supervised(paths) as supervisor:
            read_until(supervisor, "demo is finished.")
            wait_until(lambda: "docs" in journal(paths))

            supervisor.send_signal(signal.SIGINT)
            code = supervisor.wait(PATIENCE_SECONDS)

        lines = journal(paths)
        assert code == 0
        assert [line.split()[0] for line in lines[:2]] == ["database", "migrate"]
        assert lines[-3:] == ["web stops", "worker stops", "database stops"]
        assert lines.count("demo") == 1
        assert lines.count("docs") == 1

    def test_starts_what_was_killed_again(self, paths: HomePaths) -> None:
        with supervised(paths) as supervisor:
            read_until(supervisor, "ready")
            wait_until(lambda: len(pids(paths, "worker")) == 1)

            os.kill(pids(paths, "worker")[0], signal.SIGKILL)

            wait_until(lambda: len(pids(paths, "worker")) == 2)
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(PATIENCE_SECONDS) == 0

    def test_starts_a_server_again_whose_own_children_still_hold_its_port(self, paths: HomePaths) -> None:
        """HTTP was away for 103 s after the parent of the servers was killed."""
        with supervised(paths) as supervisor:
            read_until(supervisor, "ready")
            wait_until(lambda: len(pids(paths, "server")) == 1)

            os.kill(pids(paths, "server")[0], signal.SIGKILL)

            wait_until(lambda: len(pids(paths, "server")) == 2)
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(PATIENCE_SECONDS) == 0

    def test_starts_another_again_while_what_a_killed_one_left_does_not_end(self, paths: HomePaths) -> None:
        with supervised(paths) as supervisor:
            read_until(supervisor, "ready")
            wait_until(lambda: len(pids(paths, "stubborn")) == 1)
            os.kill(pids(paths, "stubborn")[0], signal.SIGKILL)
            log = paths.log / "stubborn.log"
            read_until(supervisor, f"stubborn ended with -9; it starts again in 0 s ({log}).")

            os.kill(pids(paths, "worker")[0], signal.SIGKILL)

            wait_until(lambda: len(pids(paths, "worker")) == 2)
            assert len(pids(paths, "stubborn")) == 1, "what it left has 30 seconds to end"
            supervisor.send_signal(signal.SIGTERM)
            assert supervisor.wait(PATIENCE_SECONDS) == 0

    def test_rotates_the_logs_of_what_runs(self, paths: HomePaths) -> None:
        log, old = paths.log / "worker.log", paths.log / "worker.log.1"
        with supervised(paths) as supervisor:
            read_until(supervisor, "ready")

            wait_until(lambda: old.exists() and not log.stat().st_size)

            assert old.read_text() == "a line of the log\n" * 10
            assert is_running(pids(paths, "worker")[0])

    def test_leaves_no_process_behind_when_it_is_killed_itself(self, paths: HomePaths) -> None:
        with supervised(paths) as supervisor:
            read_until(supervisor, "demo is finished.")
            wait_until(lambda: len(pids(paths, "web")) == 1)
            living = [pids(paths, name)[0] for name in ("database", "worker", "web")]

            supervisor.kill()
            supervisor.wait(PATIENCE_SECONDS)

        wait_until(lambda: not any(is_running(pid) for pid in living))

    def test_stops_everything_when_a_preparation_fails(self, paths: HomePaths) -> None:
        command = [sys.executable, "-c", SCRIPT, str(paths.home), "7"]

        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

        assert result.returncode == 1
        assert "migrate ended with 7" in result.stderr
        assert journal(paths)[-1] == "database stops"


class TestOwnership:
    def test_a_second_supervisor_is_told_who_runs_the_home(self, paths: HomePaths) -> None:
        with supervised(paths) as supervisor:
            read_until(supervisor, "ready")

            with pytest.raises(AlreadyRunning) as refusal, own(paths, Owner(1, "", "")):
                pass

            assert refusal.value.owner == current_owner(paths)
            assert f"process {supervisor.pid}, http://here, since 2026-01-01" in str(refusal.value)

    def test_a_home_whose_supervisor_was_killed_is_free(self, paths: HomePaths) -> None:
        with supervised(paths) as supervisor:
            read_until(supervisor, "ready")
            supervisor.kill()
            supervisor.wait(PATIENCE_SECONDS)

        wait_until(lambda: current_owner(paths) is None)
        with own(paths, Owner(os.getpid(), "http://mine", "now")):
            assert current_owner(paths) == Owner(os.getpid(), "http://mine", "now")
