"""A forked process lives as one of its own would: it ends as one, and holds nothing of its parent's."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
PROGRAM = """
import atexit, os, signal, sys
from pathlib import Path
from driftline.base.processes.forked_process import ForkedProcess

parent = os.getpid()
kept, other = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
atexit.register(lambda: os.getpid() == parent or print("at exit"))
signal.signal(signal.SIGTERM, lambda *_: print("the parent's handler"))

def work():
    print(sorted(os.listdir("/proc/self/fd"))[:4] == sorted(["0", "1", "2", str(kept)]))
    print(Path("/proc/self/cmdline").read_bytes().startswith(b"a worker"))
    {work}

try:
    fork = ForkedProcess(work, "a worker", handles=[kept])
    {then}
    print(fork.wait(60))
finally:
    assert os.getpid() == parent
"""


def run(work: str, then: str = "") -> tuple[list[str], str]:
    """Run a program that forks a process; return the lines that both print, and what goes to standard error."""
    program = PROGRAM.replace("{work}", work).replace("{then}", then)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr


class TestForkedProcess:
    def test_has_a_title_the_handles_named_and_the_end_of_a_process_of_its_own(self) -> None:
        lines, errors = run("sys.exit('no room')")

        assert lines == ["True", "True", "at exit", "1"]
        assert errors == "no room\n"

    def test_reports_what_it_raises(self) -> None:
        lines, errors = run("1 / 0")

        assert lines[-1] == "1"
        assert errors.endswith("ZeroDivisionError: division by zero\n")

    def test_ends_by_the_signal_that_its_parent_handles(self) -> None:
        lines, _ = run("print('works', flush=True); signal.pause()", "fork.terminate()")

        assert lines[-1] == str(-15)
