"""A process can be seen to have ended by its name, and no other one is taken for it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from driftline.base.processes.process_names import has_ended, own_name
from tests.embedded import subprocess_environment

SAYS_ITS_NAME = """
from pathlib import Path
from driftline.base.processes.process_names import own_name
Path("/proc/self/comm").write_bytes(b"odd ) caf\\xc3")  # what others show of it may be any bytes
print(own_name(), flush=True)
input()
"""


@contextmanager
def another_process() -> Iterator[str]:
    """Run a process that says its name, and end it with the block."""
    command = [sys.executable, "-c", SAYS_ITS_NAME]
    environment = subprocess_environment()
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def test_a_process_has_not_ended_while_it_runs() -> None:
    with another_process() as name:
        assert name != own_name()
        assert not has_ended(name)

    assert has_ended(name)


def test_this_process_runs() -> None:
    assert not has_ended(own_name())


def test_another_process_with_the_same_number_is_not_taken_for_the_one_that_ended() -> None:
    machine, number, started = own_name().rsplit(" ", 2)

    assert has_ended(f"{machine} {number} {int(started) - 1}")


def test_of_processes_elsewhere_nothing_is_known() -> None:
    assert not has_ended("another-machine 1 1")
    assert not has_ended("")
