"""What waits to be sent, in files: what was put is sent although the process is killed, by whoever comes next.

Each process appends to files of its own and holds a lock on them, which the system drops when the process ends,
however it ends. A file whose lock can be had belongs to nobody: who gets the lock sends what the file holds. So
processes share a folder without talking to each other, and no item is sent by two of them.

A file starts with the place up to which the server has answered and with where its items go; then follows an item
a line. Written is what the operating system has: it survives the death of the process, not of the machine.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from driftline_client.errors import DriftlineError, NotQueued
from driftline_client.ids import new_id
from driftline_client.sending.queues import Batch, Lose
from driftline_client.sending.transport import MAX_BATCH_BYTES, Stream

SEGMENT_BYTES = 4 << 20
MIN_SEGMENTS = 8  # space is given back a file at a time
SCAN_SECONDS = 10.0
FILES_AT_ONCE = 8  # `log` may have to wait for as many to be read
FILES_OF_OTHERS = 16  # each is held open, in a process that needs its file descriptors for other things
DAMAGED = "torn_record"
_SENT = b"%020d\n"
_MAX_HEADER_BYTES = 4096


def make_folder(folder: Path) -> None:
    """Make the folder for items where there is none; raises DriftlineError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DriftlineError(f"The folder {folder} for items cannot be made: {error}.") from error


class DiskQueue:
    """A Queue in the files of one destination (`url` and `model`) in a folder, bounded in bytes.

    `lose(reason, count)` is told of items that cannot be read again.
    """

    survives = True

    def __init__(self, folder: Path, *, url: str, model: str, max_bytes: int, lose: Lose) -> None:
        self._folder, self._max_bytes, self._lose = folder, max_bytes, lose
        self._prefix = hashlib.sha256(f"{url}\n{model}".encode()).hexdigest()[:16]
        self._segments: dict[Stream, deque[_Segment]] = {}
        self._written: dict[Stream, _Segment] = {}
        self._left_behind: deque[Path] = deque()
        self._next_scan = 0.0
        self._bytes = 0
        self.waiting = 0

    def put(self, stream: Stream, line: bytes) -> None:
        if self._is_full(stream, len(line)):
            raise NotQueued(
                "disk_full",
                f"The buffer in {self._folder} holds {self._bytes:,} bytes that Driftline has not taken; "
                "is it reachable?",
            )
        try:
            segment = self._writable(stream)  # which may count the start of a new file
            self._bytes += segment.append(line)
        except OSError as error:
            raise NotQueued(
                "disk_error", f"The buffer in {self._folder} cannot be written: {error}."
            ) from error
        self.waiting += 1

    def refill(self) -> float:
        """Take over the files of processes that have ended; tells after how many seconds to look again."""
        if not self._left_behind:
            left = self._next_scan - time.monotonic()
            if left > 0:
                return left
            self._left_behind = self._scan()
            self._next_scan = time.monotonic() + SCAN_SECONDS
        taken_over = 0
        while self._left_behind and self._has_room():
            if taken_over == FILES_AT_ONCE:
                return 0.0
            if segment := _Segment.take_over(self._left_behind.popleft(), self._lose):
                self._hold(segment)
                taken_over += 1
        return SCAN_SECONDS if self._left_behind else max(self._next_scan - time.monotonic(), 0.0)

    def waiting_in(self, stream: Stream) -> int:
        return sum(segment.waiting for segment in self._segments.get(stream, ()))

    def take(self, limit: int, paused: Collection[Stream] = ()) -> Batch | None:
        while segment := self._next(paused):
            place, before = segment.taken, segment.waiting
            lines = segment.read(limit)
            records = before - segment.waiting
            self.waiting -= records
            taken = _Taken(segment, place, records, lost=records - len(lines))
            if lines:
                return Batch(segment.stream, lines, taken)
            self._settle(taken)
        return None

    def done(self, batch: Batch) -> None:
        self._settle(batch.mark)

    def give_back(self, batch: Batch) -> None:
        taken: _Taken = batch.mark
        taken.segment.taken = taken.place
        taken.segment.waiting += taken.records
        self.waiting += taken.records

    def close(self) -> None:
        """Leave the files to who comes next; in a child process, to the parent, whose lock this does not touch."""
        segments = [segment for queue in self._segments.values() for segment in queue]
        self._segments.clear()
        self._written.clear()
        for segment in segments:
            segment.close()

    def _is_full(self, stream: Stream, more: int) -> bool:
        """Return whether there is no room; what is refused leaves a quarter to what is taken."""
        most_of_a_stream = self._max_bytes * 3 // 4
        if self._bytes + more < most_of_a_stream:
            return False
        of_stream = sum(segment.end for segment in self._segments.get(stream, ()))
        return self._bytes + more >= self._max_bytes or of_stream + more >= most_of_a_stream

    def _scan(self) -> deque[Path]:
        """Find the files of others, whether they live or not, the oldest first."""
        held = {segment.path for queue in self._segments.values() for segment in queue}
        return deque(sorted(set(self._folder.glob(f"{self._prefix}-*.items")) - held))

    def _has_room(self) -> bool:
        """Return whether one more file of others leaves enough descriptors to the process, and bytes to new items."""
        of_others = sum(not segment.is_ours for queue in self._segments.values() for segment in queue)
        return of_others < FILES_OF_OTHERS and self._bytes < self._max_bytes // 2

    def _writable(self, stream: Stream) -> "_Segment":
        segment = self._written.get(stream)
        longest = min(SEGMENT_BYTES, self._max_bytes // MIN_SEGMENTS)
        if segment is None or segment.end >= longest:
            segment = self._written[stream] = _Segment.create(self._folder, self._prefix, stream)
            self._hold(segment)
        return segment

    def _hold(self, segment: "_Segment") -> None:
        self._segments.setdefault(segment.stream, deque()).append(segment)
        self._bytes += segment.end
        self.waiting += segment.waiting

    def _next(self, paused: Collection[Stream]) -> "_Segment | None":
        """Find a file with items to send; the streams come in turn, so that none waits for ever."""
        for stream in [stream for stream in self._segments if stream not in paused]:
            queue = self._segments[stream] = self._segments.pop(stream)
            for segment in queue:
                if segment.waiting:
                    return segment
        return None

    def _settle(self, taken: "_Taken") -> None:
        """Note in the file what was answered for, or delete it when that is all of it."""
        segment = taken.segment
        if taken.lost:
            self._lose(DAMAGED, taken.lost)
        segment.note_sent()
        if segment.waiting:
            return
        queue = self._segments[segment.stream]
        queue.remove(segment)
        if not queue:
            del self._segments[segment.stream]
        if self._written.get(segment.stream) is segment:
            del self._written[segment.stream]
        self._bytes -= segment.end
        with contextlib.suppress(OSError):  # what stays says that it was sent
            segment.path.unlink()
        segment.close()


class _Segment:
    """One file, locked by this process: places in it are `sent` (answered for), `taken` (given out) and `end`."""

    def __init__(self, path: Path, file: int, stream: Stream, sent: int, *, is_ours: bool) -> None:
        self.path, self.stream = path, stream
        self._file, self.is_ours = file, is_ours
        self.taken = self.end = sent
        self.waiting = 0

    @classmethod
    def create(cls, folder: Path, prefix: str, stream: Stream) -> Self:
        """Start a file; it gets the name by which others find it only once it is locked."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"{prefix}-{new_id()}.draft"
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            acknowledged = json.dumps(asdict(stream)).encode() + b"\n"
            start = len(_SENT % 0) + len(acknowledged)
            _write(file, _SENT % start + acknowledged, 0)
            draft.rename(draft.with_suffix(".items"))
        except OSError:
            draft.unlink(missing_ok=True)
            os.close(file)
            raise
        return cls(draft.with_suffix(".items"), file, stream, start, is_ours=True)

    @classmethod
    def take_over(cls, path: Path, lose: Lose) -> Self | None:
        """Lock a file that somebody left behind; None where its process lives or its items are all answered for."""
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return None  # sent and deleted meanwhile, or another user's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment, torn = cls._read(path, file)
        except OSError:  # its process lives, or the disk fails: a later scan may do better
            os.close(file)
            return None
        if torn:
            lose(DAMAGED, torn)
        if segment is None:
            os.close(file)
        return segment

    @classmethod
    def _read(cls, path: Path, file: int) -> tuple[Self | None, int]:
        """Read a locked file, unless nothing in it is to send; tells how many records are torn as well."""
        segment = cls._read_header(path, file)
        if segment is None:
            path.rename(path.with_suffix(".damaged"))
            return None, 1
        torn = segment._find_end()
        if not segment.waiting:
            path.unlink(missing_ok=True)
            return None, torn
        return segment, torn

    @classmethod
    def _read_header(cls, path: Path, file: int) -> Self | None:
        try:
            sent, acknowledged, _ = os.pread(file, _MAX_HEADER_BYTES, 0).split(b"\n", 2)
            stream = Stream(**json.loads(acknowledged))
            start = max(int(sent), len(sent) + len(acknowledged) + 2)
        except (ValueError, TypeError):
            return None
        return cls(path, file, stream, start, is_ours=False)

    def _find_end(self) -> int:
        """Find where the last whole record ends, and count the records; tells how many are torn: none, or one."""
        place = self.taken
        while block := os.pread(self._file, 1 << 20, place):
            self.waiting += block.count(b"\n")
            newline = block.rfind(b"\n")
            self.end = place + newline + 1 if newline >= 0 else self.end
            place += len(block)
        return int(place > self.end)

    def append(self, line: bytes) -> int:
        """Add an item; gives the bytes that it takes. Raises OSError, and then leaves nothing of it."""
        record = line + b"\n"
        place, self.end = self.end, self.end + len(record)
        try:
            _write(self._file, record, place)
        except OSError:
            self.end = place
            os.ftruncate(self._file, place)
            raise
        self.waiting += 1
        return len(record)

    def read(self, limit: int) -> list[bytes]:
        """Return the next items; what cannot be read is left out and yet counted as read."""
        block = os.pread(self._file, min(MAX_BATCH_BYTES, self.end - self.taken), self.taken)
        *lines, _ = block[: block.rfind(b"\n") + 1].split(b"\n", limit)
        if not lines:  # no item is this long: the rest cannot be trusted
            self.taken, self.waiting = self.end, 0
            return []
        self.taken += sum(map(len, lines)) + len(lines)
        self.waiting -= len(lines)
        return lines if self.is_ours else list(filter(_is_item, lines))

    def note_sent(self) -> None:
        """Keep in the file that what was taken is answered for; failing that, it is sent again, which is harmless."""
        with contextlib.suppress(OSError):
            _write(self._file, _SENT % self.taken, 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a daemon has closed every file, ours too
            os.close(self._file)


@dataclass(frozen=True)
class _Taken:
    """What a batch took: so many `records` of a file from `place` on, of which `lost` could not be read."""

    segment: _Segment
    place: int
    records: int
    lost: int


def _write(file: int, content: bytes, place: int) -> None:
    if os.pwrite(file, content, place) < len(content):
        raise OSError("there is no space left for the whole record")


def _is_item(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
