"""What this machine, or this container, has of memory, and how often its kernel killed a process for want of it."""

import contextlib
import os
from pathlib import Path

MIN_SERVING_BYTES = 4 << 30
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_COUNTS = (
    Path("/proc/vmstat"),
    Path("/sys/fs/cgroup/memory.events"),
)  # of the machine, and of this container


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def own_bytes(pid: int) -> int:
    """Return how much memory a process holds that it shares with no other; 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0


def memory_bytes() -> int:
    """Return how much memory this machine or container has."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(_LIMIT.read_text()))  # "max" where there is no limit
    return total


def half_of_memory() -> int:
    """Return half of the memory in bytes, at least 4 GiB: what a serving process may hold if no setting says more."""
    return max(memory_bytes() // 2, MIN_SERVING_BYTES)


class MemoryKills:
    """Watches the kernel's counts of such kills, from when it is made."""

    def __init__(self) -> None:
        self._seen = _count()

    def have_grown(self) -> bool:
        """Return whether there was such a kill since this was last asked."""
        before, self._seen = self._seen, _count()
        return self._seen > before


def _count() -> int:
    """Add up the lines `oom_kill N` of the files that there are."""
    total = 0
    for path in _COUNTS:
        with contextlib.suppress(OSError, ValueError):
            lines = (line.split() for line in path.read_text().splitlines())
            total += sum(int(line[1]) for line in lines if line[0] == "oom_kill")
    return total
