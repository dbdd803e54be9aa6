"""Lets a process give way to others on a machine that is busy."""

import contextlib
import os
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def give_way(niceness: int, *, session: bool = False) -> None:
    """Lower the priority of this process, and of what it starts, by so many steps, for processors and the disk.

    A `session` is one share of the processors where Linux groups processes by sessions; then its share is lowered too,
    for between such groups the priority of a process decides nothing. The kernel derives that of the disk.
    """
    os.nice(niceness)
    if session:
        with contextlib.suppress(OSError):  # no such groups, or changed too often
            AUTOGROUP.write_text(str(niceness))
