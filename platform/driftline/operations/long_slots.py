"""Which processes of a Celery worker may do long work: all but one, so that what is short always finds a free one.

The worker holds an open file without a name, of which a byte is a slot. A process locks a byte while it does long work
(POSIX record lock); the kernel frees it when the process ends, however it ends.
"""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Slots:
    """So many processes of one worker may do long work at the same time."""

    count: int
    file: IO[bytes]

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Hold a slot until the block ends; tells whether one was free."""
        slot = next((place for place in range(self.count) if self._lock(place)), None)
        try:
            yield slot is not None
        finally:
            if slot is not None:
                fcntl.lockf(self.file, fcntl.LOCK_UN, 1, slot)

    def _lock(self, place: int) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True


_slots: Slots | None = None  # of the worker that this process belongs to


def open_slots(processes: int) -> Slots:
    """Make the slots of a worker of so many processes, before it starts them; with one process that does all."""
    global _slots
    _slots = Slots(max(processes - 1, 1), tempfile.TemporaryFile())  # noqa: SIM115  open as long as the worker
    return _slots


@contextmanager
def long_slot() -> Iterator[bool]:
    """Hold one of this worker's slots, and tell whether one was free; outside a worker nothing is short of them."""
    if _slots is None:
        yield True
        return
    with _slots.taken() as is_free:
        yield is_free
