"""The spool: predictions on disk before their answer leaves, until the drain has stored them.

Each writer owns a folder of numbered segments, DRIFTLINE_HOME/spool/<instance>/NNNNNNNN.log, and holds a
lock on it while it lives. A frame is length (4 bytes, little-endian), CRC-32 (4 bytes) and the payload.
"""

import fcntl
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from inference.prediction_log.record import LoggedBatch, decode_batch

SPOOL_FOLDER = "spool"
SEGMENT_BYTES = 64 * 1024 * 1024
FRAME = struct.Struct("<II")
LARGEST_FRAME = 256 * 1024 * 1024  # a longer length can only be damage
LOCK_FILE = "lock"


class SpoolUnwritable(OSError):
    """The disk refused a record; nothing of it counts as logged."""


def frame(payload: bytes) -> bytes:
    """Frame a payload so that a reader can tell a whole record from a torn one."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def spooled_bytes(home: Path) -> int:
    """Count the bytes of all spools under `home`, drained segments that still lie there included."""
    total = 0
    for path in (home / SPOOL_FOLDER).glob("*/*.log"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # the drain has just discarded it
    return total


class SpoolWriter:
    """Appends records to the spool of one process; used by one thread at a time."""

    def __init__(self, home: Path, instance: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.instance = instance
        self.written = 0  # bytes since the start
        self._segment_bytes = segment_bytes
        self._segment = 0
        self._file = -1
        self._size = 0
        self._folder = home / SPOOL_FOLDER / instance
        self._lock = self._claim_folder()

    def _claim_folder(self) -> int:
        """Create the folder under a hidden name and lock it, so that nobody ever sees it without its lock."""
        draft = self._folder.with_name(f".{self.instance}")
        draft.mkdir(parents=True)
        lock = os.open(draft / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._folder)
        _sync_folder(self._folder.parent)
        return lock

    def append(self, frames: Sequence[bytes], *, sync: bool) -> None:
        """Append whole frames; with `sync`, return only when they are on the disk.

        Raises SpoolUnwritable; the segment then ends before these frames and the next call begins a new one.
        """
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            if self._file < 0 or self._size >= self._segment_bytes:
                self._open_next_segment()
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
            if sync:
                os.fdatasync(self._file)
        except OSError as error:
            self.abandon_segment()
            raise SpoolUnwritable(
                error.errno, f"The spool {self._folder} cannot be written: {error.strerror}; free the disk."
            ) from error
        self._size += len(data)
        self.written += len(data)

    @property
    def handle(self) -> int:
        """The descriptor of the segment that was appended to last."""
        return self._file

    def _open_next_segment(self) -> None:
        if self._file >= 0:
            os.fdatasync(self._file)
            os.close(self._file)
            self._file = -1
        self._segment += 1
        path = self._folder / _segment_name(self._segment)
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._size = 0
        _sync_folder(self._folder)

    def abandon_segment(self) -> None:
        """Cut off what a failed write left, and the segment with it: a failed sync may not be repeated."""
        if self._file < 0:
            return
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            pass  # the reader skips a torn tail as well
        finally:
            os.close(self._file)
            self._file = -1

    def close(self) -> None:
        """Sync what is written and let go of the folder, which the drain removes when it has read it."""
        if self._file >= 0:
            os.fdatasync(self._file)
            os.close(self._file)
            self._file = -1
        os.close(self._lock)


class SpoolReader:
    """Reads one writer's spool from a position that the caller keeps: (segment, offset)."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.torn = 0  # records skipped by this reader because they were cut short or damaged
        self._folder = folder

    def read(self, from_segment: int, from_offset: int, max_bytes: int) -> tuple[list[LoggedBatch], int, int]:
        """Read the batches after a position; return them with the position that follows them.

        Reads at least one record where there is one, then stops after `max_bytes`. Start with (0, 0).
        """
        alive = self.is_writer_alive()  # asked before looking: what a dead writer left can only be final
        batches: list[LoggedBatch] = []
        segment, offset = from_segment, from_offset
        segments = self.segments()
        left = max_bytes
        for number in [number for number in segments if number >= from_segment]:
            if number != segment:
                segment, offset = number, 0
            final = number != segments[-1] or not alive
            taken, offset, ended = self._read_segment(number, offset, left, final, batches)
            left -= taken
            if not ended:
                break
            segment, offset = number + 1, 0
        return batches, segment, offset

    def _read_segment(
        self, number: int, offset: int, left: int, final: bool, batches: list[LoggedBatch]
    ) -> tuple[int, int, bool]:
        """Read frames from one segment; return bytes taken, the new offset, and whether it is used up."""
        start = offset
        with (self._folder / _segment_name(number)).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            while offset - start < left or offset == start:
                header = file.read(FRAME.size)
                if len(header) < FRAME.size:
                    torn_tail = bool(header)
                    break
                length, checksum = FRAME.unpack(header)
                end = offset + FRAME.size + length
                if not 0 < length <= LARGEST_FRAME or end > size:
                    torn_tail = True
                    break
                batch = _decode_payload(file.read(length), checksum)
                if batch is not None:
                    batches.append(batch)
                elif end == size and not final:
                    return offset - start, offset, False  # its writer may still be at it
                else:
                    self.torn += 1
                offset = end
            else:
                return offset - start, offset, False
        if final and torn_tail:
            self.torn += 1
        return offset - start, offset, final

    def discard_before(self, segment: int) -> None:
        """Delete the segments below `segment`, and the folder once its dead writer left nothing more."""
        alive = self.is_writer_alive()
        for number in self.segments():
            if number < segment:
                (self._folder / _segment_name(number)).unlink(missing_ok=True)
        if not alive and not self.segments():
            shutil.rmtree(self._folder, ignore_errors=True)

    def segments(self) -> list[int]:
        """List the segments' numbers in order."""
        return sorted(int(path.stem) for path in self._folder.glob("*.log"))

    def is_writer_alive(self) -> bool:
        """Tell whether the process that writes this spool still holds its lock."""
        try:
            lock = os.open(self._folder / LOCK_FILE, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


def open_spools(home: Path) -> Iterator[SpoolReader]:
    """Open a reader for every spool under `home`, in the order of their names."""
    root = home / SPOOL_FOLDER
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            yield SpoolReader(folder)


def new_instance_name(kind: str) -> str:
    """Name a spool after its writer: start in microseconds, process, and kind such as "main"."""
    return f"{time.time_ns() // 1000:016d}-{os.getpid()}-{kind}"


def _decode_payload(payload: bytes, checksum: int) -> LoggedBatch | None:
    if zlib.crc32(payload) != checksum:
        return None
    try:
        return decode_batch(payload)
    except msgspec.DecodeError:
        return None


def _segment_name(number: int) -> str:
    return f"{number:08d}.log"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
