"""Child processes: none outlives its parent, and a new generation first stops what an old one left."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from driftline.operations.services.paths import HomePaths
from driftline.operations.services.processes import Child, ChildNotStarted, Process, holders
from tests.embedded import launch, make_home
from tests.waiting import is_running, wait_until

pytestmark = pytest.mark.slow

OWNER_SCRIPT = """
import sys, time
from pathlib import Path
from driftline.operations.services.processes import Child
from tests.embedded import launch, make_home
paths = make_home(Path(sys.argv[1]))
print(launch(Child("sleeper", ("sleep", "600")), paths).pid, flush=True)
time.sleep(600)
"""
DEAF_SCRIPT = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


@pytest.fixture
def paths(tmp_path: Path) -> HomePaths:
    return make_home(tmp_path)


class TestChild:
    def test_ends_when_its_parent_is_killed(self, paths: HomePaths) -> None:
        command = [sys.executable, "-c", OWNER_SCRIPT, str(paths.home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            child = int(owner.stdout.readline())
            assert is_running(child)

            owner.kill()

        wait_until(lambda: not is_running(child))

    def test_that_cannot_start_says_why(self, paths: HomePaths) -> None:
        with pytest.raises(ChildNotStarted, match=r"nowhere could not be started.*No such file"):
            launch(Child("nowhere", ("/no/such/program",)), paths)

    def test_that_ends_before_it_is_ready_shows_the_end_of_its_log(self, paths: HomePaths) -> None:
        process = launch(
            Child("short", ("sh", "-c", "echo a clear reason; exit 3"), is_ready=lambda: False), paths
        )

        with pytest.raises(ChildNotStarted, match=r"(?s)short ended with 3 .*a clear reason"):
            process.wait_ready()
        process.stop()


class TestSlowStart:
    BUSY = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done; touch ready; exec sleep 600"

    def test_is_waited_for_as_long_as_the_child_works(self, paths: HomePaths) -> None:
        """`web was not ready after 90 s` came twice on a busy machine."""
        there, said = paths.home / "ready", list[str]()
        child = Child(
            "busy", ("sh", "-c", f"cd {paths.home}; {self.BUSY}"), is_ready=there.exists, ready_seconds=0.5
        )
        process = launch(child, paths)

        process.wait_ready(say=said.append)

        process.stop()
        assert there.exists()
        assert said[0].startswith("busy is still starting after ")

    def test_of_a_child_that_stands_still_ends(self, paths: HomePaths) -> None:
        child = Child("idle", ("sleep", "600"), is_ready=lambda: False, ready_seconds=1.0)
        process = launch(child, paths)

        with pytest.raises(ChildNotStarted, match="idle was not ready after"):
            process.wait_ready()
        process.stop()


class TestLog:
    def test_is_rotated_while_it_is_written(self, paths: HomePaths) -> None:
        """A log that was only set aside at a start filled the disk of an installation that ran for months."""
        go = paths.home / "go"
        script = f"echo before; while [ ! -e {go} ]; do sleep 0.02; done; echo after; exec sleep 600"
        process = launch(Child("chatty", ("sh", "-c", script)), paths, max_log_bytes=5)
        try:
            wait_until(lambda: process.log_path.read_text() == "before\n")

            rotated = process.rotate_log()
            go.touch()

            wait_until(lambda: process.log_path.read_text() == "after\n")
            old = process.log_path.with_suffix(".log.1")
            assert rotated
            assert old.read_text() == "before\n"
            assert old.stat().st_mode & 0o777 == 0o600
        finally:
            process.stop()

    def test_within_its_limit_stays(self, paths: HomePaths) -> None:
        process = launch(Child("quiet", ("sh", "-c", "echo one line")), paths)
        wait_until(lambda: process.exit_code() is not None)

        assert not process.rotate_log()
        assert process.log_path.read_text() == "one line\n"
        process.clear()


class TestStop:
    def test_kills_what_does_not_listen_and_all_its_children(self, paths: HomePaths, tmp_path: Path) -> None:
        child, parent = tmp_path / "child-is-deaf", tmp_path / "parent-is-deaf"
        deaf = f"{sys.executable} -c '{DEAF_SCRIPT}'"
        script = f"{deaf} {child} & exec {deaf} {parent}"
        process = launch(Child("deaf", ("sh", "-c", script), stop_seconds=0.3), paths)
        wait_until(lambda: child.exists() and parent.exists())

        code = process.stop()

        assert code == -signal.SIGKILL
        wait_until(lambda: holders(paths.run / "deaf.lock") == [])


class TestStart:
    def test_first_stops_the_generation_that_a_killed_parent_left(self, paths: HomePaths) -> None:
        leftover = launch(Child("sleeper", ("sleep", "600")), paths)
        again = Process(leftover.child, lock_folder=paths.run, log_folder=paths.log)

        again.start()

        assert leftover.exit_code() == -signal.SIGTERM
        assert again.exit_code() is None
        assert holders(paths.run / "sleeper.lock") == [again.pid]
        again.stop()


class TestEndEarlier:
    def test_stops_the_generation_that_a_killed_parent_left_and_starts_none(self, paths: HomePaths) -> None:
        leftover = launch(Child("sleeper", ("sleep", "600")), paths)

        Process(leftover.child, lock_folder=paths.run, log_folder=paths.log).end_earlier()

        assert leftover.exit_code() == -signal.SIGTERM
        assert holders(paths.run / "sleeper.lock") == []
