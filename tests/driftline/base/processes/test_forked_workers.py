"""Processes that share a work: one that is killed is replaced, and none outlives what keeps them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.embedded import CHECKOUT, subprocess_environment
from tests.waiting import is_running, wait_until

pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys
from pathlib import Path
from driftline.base.processes.forked_workers import ForkedWorkers

def work():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    Path(sys.argv[1], str(os.getpid())).touch()
    {work}

ForkedWorkers(work, 3).run()
"""
ADOPTS = """
import ctypes
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0  # as the first process of a container
"""
FORKS_AT_THE_SECOND_TRY = """
import os
fork, tries = os.fork, []

def fork_at_the_second_try():
    tries.append(1)
    if len(tries) == 1:
        raise BlockingIOError("no process is free")
    return fork()

os.fork = fork_at_the_second_try
"""
WAITS = "signal.sigwait({signal.SIGTERM})"

type Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start three processes of a work, which leave a file each, and end them with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(work: str, before: str = "") -> subprocess.Popen[bytes]:
        program = before + PROGRAM.replace("{work}", work)
        (tmp_path / "seen").mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "seen"], cwd=CHECKOUT, env=subprocess_environment()
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def pids(folder: Path) -> set[int]:
    return {int(path.name) for path in (folder / "seen").iterdir()}


def test_one_that_is_killed_is_replaced(start: Start, tmp_path: Path) -> None:
    start(WAITS)
    wait_until(lambda: len(pids(tmp_path)) == 3, what="three processes")
    first = min(pids(tmp_path))

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: len(pids(tmp_path)) == 4, what="a fourth process")
    assert [is_running(pid) for pid in pids(tmp_path) if pid != first] == [True] * 3


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_all_end_when_the_parent_is_asked_to(start: Start, tmp_path: Path, asked: signal.Signals) -> None:
    parent = start(WAITS)
    wait_until(lambda: len(pids(tmp_path)) == 3, what="three processes")

    parent.send_signal(asked)

    assert parent.wait(30) == 0
    assert not any(map(is_running, pids(tmp_path)))


def test_none_outlives_a_parent_that_is_killed(start: Start, tmp_path: Path) -> None:
    parent = start(WAITS)
    wait_until(lambda: len(pids(tmp_path)) == 3, what="three processes")

    parent.kill()

    wait_until(lambda: not any(map(is_running, pids(tmp_path))), what="the end of the processes")


def test_the_parent_ends_once_the_work_is_done(start: Start, tmp_path: Path) -> None:
    assert start("pass").wait(30) == 0
    assert len(pids(tmp_path)) == 3


def test_an_orphan_of_another_s_that_ends_is_none_of_them(start: Start, tmp_path: Path) -> None:
    over = tmp_path / "over"
    leaves_an_orphan = f'os.system("until [ -e {over} ]; do sleep 0.05; done &")'
    parent = start(f"{leaves_an_orphan}; {WAITS}", ADOPTS)
    wait_until(lambda: len(children(parent.pid)) == 6, what="three processes with an orphan of each")

    over.touch()

    wait_until(lambda: len(children(parent.pid)) == 3, what="the end of the orphans")

    assert children(parent.pid) == pids(tmp_path)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0


def test_a_machine_with_no_process_free_is_waited_for(start: Start, tmp_path: Path) -> None:
    parent = start(WAITS, FORKS_AT_THE_SECOND_TRY)

    wait_until(lambda: len(pids(tmp_path)) == 3, what="three processes")

    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0


def children(parent: int) -> set[int]:
    """The processes of a parent, and those of which it has to note the end."""
    return set(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def test_work_that_fails_at_once_is_not_started_in_a_hurry(start: Start, tmp_path: Path) -> None:
    parent = start("raise ValueError")
    wait_until(lambda: len(pids(tmp_path)) == 3, what="three processes")

    wait_until(lambda: len(pids(tmp_path)) >= 6, what="their successors", seconds=60)

    assert len(pids(tmp_path)) <= 9
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 0
