"""Lowers the priority of background processes, so that serving comes first on a busy machine."""

import contextlib
import os
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def lower_priority(niceness: int, *, session: bool = False) -> None:
    """Lower the CPU priority of this process, and of its children, by `niceness` steps; the I/O priority follows.

    Set `session` for the leader of a session. Linux may schedule each session as a group (autogroup), and between
    groups only the niceness of the group counts.
    """
    os.nice(niceness)
    if session:
        with contextlib.suppress(OSError):  # autogroups are turned off, or were changed too often
            AUTOGROUP.write_text(str(niceness))
