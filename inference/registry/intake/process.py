"""A child process for what may not be trusted: started with nothing of ours, held to its deadline, heard to its end."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from inference.registry.intake.limits import IntakeLimits

_CODE = Path(__file__).parents[3]
_LIMIT_SIGNALS = (signal.SIGXCPU, signal.SIGKILL, signal.SIGXFSZ, signal.SIGABRT)


@dataclass(frozen=True)
class Ending:
    """How a child ended, what it answered on standard output, and the beginning of what it complained of."""

    status: int
    answer: bytes
    complaints: bytes

    @property
    def hit_a_limit(self) -> bool:
        """Return whether it died of memory, time or the size of what it wrote."""
        is_out_of_memory = b"MemoryError" in self.complaints or b"bad_alloc" in self.complaints
        return self.status != 0 and (-self.status in _LIMIT_SIGNALS or is_out_of_memory)


def run_child(
    module: str, order: str, *, stdin: BinaryIO, handles: Sequence[int], limits: IntakeLimits
) -> Ending:
    """Run `module` with `order` as its argument in an empty folder, `limits.wall_s` at most.

    It inherits standard input, the open files `handles`, and no variable of our environment. It has to raise its own
    walls (`sandbox.py`).
    """
    with (
        tempfile.TemporaryDirectory(prefix="driftline-intake-") as empty,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as complaints,
    ):
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, order],
            stdin=stdin,
            stdout=answer,
            stderr=complaints,
            cwd=empty,
            env=_bare_environment(empty),
            pass_fds=handles,
            start_new_session=True,
        )
        try:
            status = child.wait(limits.wall_s)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        answer.seek(0)
        complaints.seek(0)
        return Ending(status, answer.read(limits.report_bytes), complaints.read(4096))


def _bare_environment(home: str) -> dict[str, str]:
    """Return the child what Python and the numeric libraries need, and nothing of ours."""
    return {
        "PYTHONPATH": str(_CODE),
        "HOME": home,
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
