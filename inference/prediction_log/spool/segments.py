"""The spool: predictions on disk before their answer leaves, until the drain has stored them.

Each writer owns a folder of numbered segments, DRIFTLINE_HOME/spool/<instance>/NNNNNNNN.log, and holds a
lock on it while it lives. A frame is length (4 bytes, little-endian), CRC-32 (4 bytes) and the payload, which is sealed
where a key lies beside the segment (NNNNNNNN.key).

A writer may reserve room: it then writes into zeros that are on the disk already, and tells in its lock file how far
it has come. Where a file does not grow, a sync need not wait for the file system's journal.
"""

import errno
import fcntl
import logging
import mmap
import os
import secrets
import shutil
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from driftline.base.durable_files import sync_to_disk
from driftline.base.errors import UNREADABLE
from inference.prediction_log.spool.record import Record, decode_record
from inference.prediction_log.spool.sealing import (
    SEALED,
    KeyMissing,
    SegmentKey,
    Tampered,
    key_path,
    make_segment_key,
    read_segment_key,
)

log = logging.getLogger(__name__)

SPOOL_FOLDER = "spool"
SEGMENT_BYTES = 64 * 1024 * 1024
FRAME = struct.Struct("<II")
_NOTHING = bytes(FRAME.size)  # where a header stands, once the writer has come so far
MAX_FRAME_BYTES = 256 * 1024 * 1024  # a longer length can only be damage
LOCK_FILE = "lock"
RESERVED_BYTES = 256 * 1024  # at a time: one sync in a hundred has to bring this much to the disk as well
_SEGMENT_SHIFT = 40  # a position is one number, so that it is never read half-written: segment, bytes of it


class SpoolUnwritable(OSError):
    """The disk refused a record; nothing of it counts as logged."""


def frame(payload: bytes) -> bytes:
    """Frame a payload so that a reader can tell a whole record from a torn one."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def spooled_bytes(home: Path) -> int:
    """Count the bytes of all spools under `home`, drained segments that still lie there included."""
    return sum(segment_sizes(home).values())


def segment_sizes(home: Path) -> dict[Path, int]:
    """Return the bytes of each segment under `home`; they change whenever anything is spooled."""
    sizes = {}
    for folder in (home / SPOOL_FOLDER).glob("*"):
        reached = _read_position(folder)
        for path in folder.glob("*.log"):
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue  # the drain has just discarded it
            sizes[path] = size if reached is None else _without_reserve(int(path.stem), size, reached)
    return sizes


def spool_ends(home: Path) -> dict[str, tuple[int, int]]:
    """Return how far each spool under `home` is written, by its name: the last segment and the bytes of it."""
    ends: dict[str, tuple[int, int]] = {}
    for path, size in segment_sizes(home).items():
        ends[path.parent.name] = max(ends.get(path.parent.name, (0, 0)), (int(path.stem), size))
    return ends


class SpoolWriter:
    """Appends records to the spool of one process; used by one thread at a time.

    A writer that syncs often should reserve room, `reserved_bytes` at a time: measured on ext4, a sync then takes two
    thirds of the time (p50 169 instead of 243 us), because it does not wait for a commit of the file system's journal.
    """

    def __init__(
        self,
        home: Path,
        instance: str,
        segment_bytes: int = SEGMENT_BYTES,
        *,
        reserved_bytes: int = 0,
        seals: bool = False,
        background_sync: bool = False,
    ) -> None:
        """Claim the instance's folder.

        With `seals`, records can only be read with the home's keys. With `background_sync`, a thread syncs each segment
        that is full, so that the writer begins the next one without waiting for the disk.
        """
        self.instance = instance
        self.written = 0  # bytes since the start
        self._segment_bytes = segment_bytes
        self._segment = 0
        self._file = -1
        self._size = 0
        self._reserved_bytes = reserved_bytes
        self._reserved_until = 0
        self._home = home
        self._seals = seals
        self._background_sync = background_sync
        self._key: SegmentKey | None = None
        self._folder = home / SPOOL_FOLDER / instance
        self._lock = self._claim_folder()
        self._mapped = mmap.mmap(self._lock, 8) if reserved_bytes else None
        self._position = None if self._mapped is None else memoryview(self._mapped).cast("Q")

    def _claim_folder(self) -> int:
        """Create the folder under a hidden name and lock it, so that nobody ever sees it without its lock."""
        draft = self._folder.with_name(f".{self.instance}")
        draft.mkdir(parents=True)
        lock = os.open(draft / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if self._reserved_bytes:
            os.write(lock, bytes(8))
            os.fsync(lock)
        draft.rename(self._folder)
        sync_to_disk(self._folder.parent)
        return lock

    def append(self, payloads: Sequence[bytes], *, sync: bool) -> None:
        """Append records; with `sync`, return only when they are on the disk.

        Raises SpoolUnwritable; the segment then ends before these records and the next call begins a new one.
        """
        try:
            if self._file < 0 or self._size >= self._segment_bytes:
                self._open_next_segment()
            data = self._frame_all(payloads)
            if self._reserved_bytes and self._size + len(data) > self._reserved_until:
                self._reserve(len(data))
            written = os.pwrite(self._file, data, self._size)
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._size + written)
            if sync:
                os.fdatasync(self._file)
        except KeyMissing as error:
            self.abandon_segment()
            raise SpoolUnwritable(
                errno.ENOKEY, f"The spool {self._folder} cannot be sealed: {error}"
            ) from error
        except OSError as error:
            self.abandon_segment()
            raise SpoolUnwritable(
                error.errno, f"The spool {self._folder} cannot be written: {error.strerror}; free the disk."
            ) from error
        self._size += len(data)
        self.written += len(data)
        if self._position is not None:
            self._position[0] = self._segment << _SEGMENT_SHIFT | self._size

    def _frame_all(self, payloads: Sequence[bytes]) -> bytes:
        if self._key is None:
            return frame(payloads[0]) if len(payloads) == 1 else b"".join(map(frame, payloads))
        data = b""
        for payload in payloads:
            data += frame(self._key.seal(payload, self._size + len(data)))
        return data

    def _reserve(self, size: int) -> None:
        """Write zeros ahead; they reach the disk with the next sync, which brings the records before them along."""
        zeros = bytes(self._size + size + self._reserved_bytes - self._reserved_until)
        written = 0
        while written < len(zeros):
            written += os.pwrite(self._file, zeros[written:], self._reserved_until + written)
        self._reserved_until += len(zeros)

    @property
    def segment(self) -> int:
        """The number of the segment that was appended to last."""
        return self._segment

    @property
    def handle(self) -> int:
        """The descriptor of the segment that was appended to last."""
        return self._file

    def _open_next_segment(self) -> None:
        ended, size = self._file, self._size
        if self._background_sync:
            self._file = -1
        else:
            self._close_segment()
        self._segment += 1
        path = self._folder / _segment_name(self._segment)
        try:
            self._key = make_segment_key(self._home, path) if self._seals else None
            self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        finally:
            if self._background_sync and ended >= 0:
                self._finish_in_thread(ended, size)
        self._size = self._reserved_until = 0
        if ended < 0 or not self._background_sync:
            sync_to_disk(self._folder)

    def _finish_in_thread(self, file: int, size: int) -> None:
        """Start a thread that brings a segment that has ended to the disk, and the name of the one that follows it."""
        threading.Thread(target=_end_segment, args=(file, size, self._folder)).start()

    def abandon_segment(self) -> None:
        """Cut off what a failed write left, and the segment with it: a failed sync may not be repeated."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        if self._background_sync:  # what was answered before may not have been brought to the disk yet
            self._finish_in_thread(file, self._size)
            return
        try:
            os.ftruncate(file, self._size)
        except OSError:
            pass  # the reader skips a torn tail as well
        finally:
            os.close(file)

    def close(self) -> None:
        """Sync what is written and release the folder, which the drain removes when it has read it."""
        self._close_segment()
        if self._position is not None and self._mapped is not None:
            self._position.release()
            self._mapped.close()  # its own copy of the descriptor holds the lock as well
        os.close(self._lock)

    def _close_segment(self) -> None:
        if self._file < 0:
            return
        if self._reserved_bytes:
            os.ftruncate(self._file, self._size)
        os.fdatasync(self._file)
        os.close(self._file)
        self._file = -1


class SpoolReader:
    """Reads one writer's spool from a position that the caller keeps: (segment, offset)."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.torn = 0  # records skipped by this reader because they were cut short, damaged or changed
        self._home = home
        self._folder = home / SPOOL_FOLDER / name

    def read(self, from_segment: int, from_offset: int, max_bytes: int) -> tuple[list[Record], int, int]:
        """Read the records after a position; return them with the position that follows them.

        Reads at least one record where there is one, then stops after `max_bytes`. Start with (0, 0). Raises KeyMissing
        where records are sealed under a key that cannot be had: they are kept until it is back.
        """
        alive = self.is_writer_alive()  # asked before looking: what a dead writer left can only be final
        segments = self.segments()
        reached = _read_position(self._folder)  # after them: all segments but the last lie before it
        records: list[Record] = []
        segment, offset = from_segment, from_offset
        left = max_bytes
        for number in [number for number in segments if number >= from_segment]:
            if number != segment:
                segment, offset = number, 0
            final = number != segments[-1] or not alive
            bound = reached if alive else None
            found = len(records)
            try:
                taken, offset, ended = self._read_segment(
                    number, offset, left, final, records, bound, is_reserved=reached is not None
                )
            except KeyMissing:
                del records[found:]
                if not records:
                    raise
                break  # what lies before it can be stored
            left -= taken
            if not ended:
                break
            segment, offset = number + 1, 0
        return records, segment, offset

    def _read_segment(
        self,
        number: int,
        offset: int,
        left: int,
        final: bool,
        records: list[Record],
        bound: int | None,
        *,
        is_reserved: bool,
    ) -> tuple[int, int, bool]:
        """Read frames from one segment; return bytes taken, the new offset, and whether it is used up.

        `bound` is the position that a living writer tells. What a dead one told may be older than what it synced, so
        that its zeros tell where it stopped.
        """
        start, path = offset, self._folder / _segment_name(number)
        key = read_segment_key(self._home, path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if bound is not None:
                size = _without_reserve(number, size, bound)
            file.seek(offset)
            while offset - start < left or offset == start:
                header = file.read(max(min(FRAME.size, size - offset), 0))
                if len(header) < FRAME.size or (is_reserved and header == _NOTHING):
                    torn_tail = header not in (b"", _NOTHING)
                    break
                length, checksum = FRAME.unpack(header)
                end = offset + FRAME.size + length
                if not 0 < length <= MAX_FRAME_BYTES or end > size:
                    torn_tail = True
                    break
                record = _decode_payload(file.read(length), checksum, key, offset)
                if record is not None:
                    records.append(record)
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
                remove_segment(self._folder / _segment_name(number))
        if not alive and not self.segments():
            shutil.rmtree(self._folder, ignore_errors=True)

    def segments(self) -> list[int]:
        """List the segments' numbers in order."""
        return sorted(int(path.stem) for path in self._folder.glob("*.log"))

    def is_writer_alive(self) -> bool:
        """Return whether the process that writes this spool still holds its lock."""
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


def _end_segment(file: int, size: int, folder: Path) -> None:
    """Bring a segment to the disk that nothing is appended to any more, and the name of the one that follows it."""
    try:
        os.ftruncate(file, size)
        os.fdatasync(file)
        sync_to_disk(folder)
    except OSError:
        log.exception("a segment of the spool was not brought to the disk")
    finally:
        os.close(file)


def _read_position(folder: Path) -> int | None:
    """Read how far a writer that reserves room has come; None for any other."""
    try:
        position = (folder / LOCK_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int.from_bytes(position, sys.byteorder) if position else None


def _without_reserve(number: int, size: int, position: int) -> int:
    """Return the written bytes of a segment of `size` bytes whose writer has come to that position."""
    segment, written = position >> _SEGMENT_SHIFT, position & (1 << _SEGMENT_SHIFT) - 1
    if number < segment:
        return size  # it was cut to its length before the next one began
    return min(size, written) if number == segment else 0


def open_spools(home: Path) -> Iterator[SpoolReader]:
    """Open a reader for every spool under `home`, in the order of their names."""
    root = home / SPOOL_FOLDER
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            yield SpoolReader(home, folder.name)


def remove_segment(path: Path) -> None:
    """Delete a segment, and its key after it."""
    path.unlink(missing_ok=True)
    key_path(path).unlink(missing_ok=True)


def new_instance_name(kind: str) -> str:
    """Name a spool after its writer: start in microseconds, process, chance, and kind such as "main".

    Machines that log into one database may start processes of one number at the same time.
    """
    return f"{time.time_ns() // 1000:016d}-{os.getpid()}-{secrets.token_hex(4)}-{kind}"


def _decode_payload(payload: bytes, checksum: int, key: SegmentKey | None, offset: int) -> Record | None:
    if zlib.crc32(payload) != checksum:
        return None
    if key is None and payload.startswith(SEALED):
        raise KeyMissing("The key of a segment of the spool is gone.")
    try:
        return decode_record(payload if key is None else key.open(payload, offset))
    except (*UNREADABLE, Tampered):
        return None


def _segment_name(number: int) -> str:
    return f"{number:08d}.log"
