"""A process that gives way says so to the kernel, alone and as a session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftline.base.processes.priority import AUTOGROUP

pytestmark = pytest.mark.slow

PROGRAM = """
import os
from pathlib import Path
from driftline.base.processes.priority import AUTOGROUP, lower_priority
lower_priority(3, session=True)
print(os.nice(0), AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else 3)
"""


def test_lowers_its_own_priority_and_its_sessions() -> None:
    before = os.nice(0)

    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, start_new_session=True
    ).stdout

    assert output.split() == [str(before + 3), "3"]


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel groups no processes by sessions")
def test_leaves_the_session_of_who_started_it_alone() -> None:
    before = Path("/proc/self/autogroup").read_text()

    subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, start_new_session=True)

    assert Path("/proc/self/autogroup").read_text() == before
