"""Memory that two processes share: a file without a name, of a size that neither can change."""

import fcntl
import mmap
import os

FIRST_BYTES = 256 * 1024
MAX_AREA_BYTES = 256 * 1024 * 1024
KEPT_BYTES = 4 * 1024 * 1024  # a larger area is given back after the run that needed it
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Area:
    """Shared memory; the file's size is sealed, as an access beyond a file that was cut would kill the process."""

    def __init__(self, handle: int) -> None:
        """Map the file of `handle`, which is kept open until it was passed to the other process."""
        self.handle = handle
        self.memory = mmap.mmap(handle, 0)
        self.size = len(self.memory)

    def close_handle(self) -> None:
        """Close the handle; the memory stays."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def close(self) -> None:
        """Release the memory, as soon as no array shows it any more."""
        self.close_handle()
        del self.memory


def open_area(handle: int) -> Area:
    """Map the file of a handle that the other process sent, and close the handle."""
    area = Area(handle)
    area.close_handle()
    return area


def make_area(min_bytes: int) -> Area:
    """Make an area of at least so many bytes; raise TooLarge where that is more than one may have."""
    if min_bytes > MAX_AREA_BYTES:
        raise TooLarge(min_bytes)
    return Area(make_memory(max(FIRST_BYTES, 1 << max(min_bytes - 1, 0).bit_length())))


def make_memory(size: int) -> int:
    """Make a file in memory of exactly this size and return its handle; nothing of it is left once all are closed."""
    handle = os.memfd_create("driftline-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(handle, size)
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(handle)
        raise
    return handle


class TooLarge(Exception):
    """The values of one run are larger than a run may have."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"they take {size} bytes where {MAX_AREA_BYTES} is the most of one run; send fewer rows at a time."
        )
