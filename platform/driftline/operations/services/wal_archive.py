"""The archive of the embedded PostgreSQL's write-ahead log (WAL), from which a home is restored to a moment.

`DRIFTLINE_WAL_ARCHIVE` holds a folder for each log without gaps, with its segments as gzip files, and `artifacts`. A
log ends, and another begins, where archiving was turned off meanwhile, another archive was named, a segment was given
up, or a home was restored: so within one folder every segment follows the one before.
"""

import gzip
import re
import shlex
import sys
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from driftline.base.durable_files import sync_to_disk
from driftline.operations.services import wal_segment
from driftline.operations.services.paths import HomePaths
from driftline.operations.services.wal_segment import (
    ARTIFACTS,
    LOG_NAME_FILE,
    SEGMENT_BYTES,
    name_log,
    read_log,
)

SWITCH_SECONDS = 300
"""After so long a segment is archived although it is not full: as much may be lost with the disk."""
QUIET_AFTER = timedelta(seconds=2 * SWITCH_SECONDS)
"""A server in use has written a segment within this time."""
LOG_NAME = r"\d{8}T\d{6}Z-[0-9a-f]{8}"
SEGMENT_NAME = "[0-9A-F]{24}"
_SEGMENT = re.compile(rf"{SEGMENT_NAME}\.gz")
_SEGMENTS_OF_A_FILE_ID = 256  # of 16 MB: 4 GB have one number in the middle of the name
_BLOCK = 1 << 20
_TIME_IN_HEADER = slice(4, 8)  # RFC 1952, section 2.3


class LogDamaged(Exception):
    """The archive lacks a part of a log, or holds it in pieces; the text says which."""


@dataclass(frozen=True)
class WalSegment:
    """16 MB of the log, in the archive; nothing in it was committed after `written_until`."""

    path: Path
    written_until: datetime

    @property
    def name(self) -> str:
        return self.path.stem


def archive_options(archive: Path, paths: HomePaths) -> Mapping[str, str]:
    """Return the options with which a server archives its log."""
    command = _command("archive", archive, paths.home)
    return {
        "archive_mode": "on",
        "archive_timeout": str(SWITCH_SECONDS),
        "archive_command": f'{command} "%p" "%f"',
    }


def recovery_options(log: Path, *, last: str, until: datetime | None) -> Mapping[str, str]:
    """Return the options with which a server replays a log: to its end, or up to a moment, which is not in it.

    It fails where a segment up to `last` is not there any more.
    """
    target = {} if until is None else {"recovery_target_time": until.astimezone(UTC).isoformat(sep=" ")}
    return {
        "restore_command": f'{_command("restore", log, last)} "%f" "%p"',
        "recovery_target_action": "promote",
        "recovery_target_inclusive": "off",
        "recovery_target_timeline": "current",
        "hot_standby": "off",  # it answers once it has come to the end
        **target,
    }


def _command(*arguments: str | Path) -> str:
    words = [sys.executable, "-I", wal_segment.__file__, *map(str, arguments)]
    return shlex.join(words).replace("%", "%%")


def begin_log(paths: HomePaths, archive: Path | None) -> None:
    """Name the log of a server that is about to start, unless it has one in this archive; without an archive it ends.

    Raises OSError where one begins and the archive is not there or cannot be written.
    """
    file = paths.postgres_data / LOG_NAME_FILE
    if archive is None:
        file.unlink(missing_ok=True)
    elif not file.exists() or read_log(paths.postgres_data)[1] != str(archive):
        (archive / ARTIFACTS).mkdir(mode=0o700, exist_ok=True)
        sync_to_disk(archive)
        name_log(paths.postgres_data, archive)


def log_name(paths: HomePaths) -> str:
    """Return the name of the log that a server archives; empty where it archives none."""
    try:
        return read_log(paths.postgres_data)[0]
    except FileNotFoundError:
        return ""


def segments_of(log: Path, *, first: str = "") -> list[WalSegment]:
    """List the segments of a log from `first` on, in their order."""
    return [WalSegment(path, _written_until(path)) for path in _paths_of(log) if path.name >= first]


def segments_since(log: Path, moment: datetime) -> list[WalSegment]:
    """List the segments of a log that were written after a moment; few of the earlier ones are opened for it."""
    paths = _paths_of(log)
    start = bisect_right(paths, moment, key=_written_until)
    return [WalSegment(path, _written_until(path)) for path in paths[start:]]


def _paths_of(log: Path) -> list[Path]:
    names = sorted(path.name for path in log.iterdir()) if log.is_dir() else []
    return [log / name for name in names if _SEGMENT.fullmatch(name)]


def _written_until(path: Path) -> datetime:
    with path.open("rb") as file:
        header = file.read(10)
    seconds = int.from_bytes(header[_TIME_IN_HEADER], "little")
    return datetime.fromtimestamp(seconds + 1, UTC)  # the header has whole seconds


def segments_for(log: Path, *, first: str, until: datetime | None) -> Sequence[WalSegment]:
    """Return the segments from `first` on that hold what was committed before a moment; all of them without one.

    Raises LogDamaged where one is missing, or where the log ends before.
    """
    needed: list[WalSegment] = []
    expected = first
    for segment in segments_of(log, first=first):
        if segment.name != expected:
            raise LogDamaged(f"{log} lacks segment {expected}; {_say_end(needed)}")
        needed.append(segment)
        if until is not None and segment.written_until > until:
            return needed
        expected = _following(segment.name)
    if until is not None or not needed:
        raise LogDamaged(f"The log in {log} ends before that; {_say_end(needed)}")
    return needed


def _say_end(found: Sequence[WalSegment]) -> str:
    if not found:
        return "it has nothing of what follows this backup, which can be restored without --until."
    return f"it is whole until {found[-1].written_until:%Y-%m-%d %H:%M:%S} UTC, so name an earlier moment."


def _following(name: str) -> str:
    timeline, file_id, number = (int(name[start : start + 8], 16) for start in (0, 8, 16))
    total = file_id * _SEGMENTS_OF_A_FILE_ID + number + 1
    return f"{timeline:08X}{total // _SEGMENTS_OF_A_FILE_ID:08X}{total % _SEGMENTS_OF_A_FILE_ID:08X}"


def check_segments(segments: Sequence[WalSegment]) -> None:
    """Read segments to their ends; raises LogDamaged at the first that is cut or changed."""
    for place, segment in enumerate(segments):
        try:
            if (size := _plain_size(segment.path)) != SEGMENT_BYTES:
                raise EOFError(f"it holds {size:,} bytes of {SEGMENT_BYTES:,}")
        except (OSError, EOFError, zlib.error) as error:
            raise LogDamaged(
                f"{segment.path} is cut or changed ({error}); {_say_end(segments[:place])}"
            ) from error


def _plain_size(path: Path) -> int:
    size = 0
    with gzip.open(path) as file:
        while block := file.read(_BLOCK):
            size += len(block)
    return size


def size_of_archive(archive: Path) -> int:
    """Return the bytes of all files of an archive: of logs, and of models."""
    total = 0
    for folder, _, names in archive.walk():
        for name in names:
            try:
                total += (folder / name).stat().st_size
            except FileNotFoundError:  # it has just been given its name, or was removed
                continue
    return total


def files_before(log: Path, first: str) -> list[Path]:
    """List the files of a log from before a segment, and what interrupted archivers left of them."""
    files = [path for path in log.iterdir() if re.match(rf"\.?{SEGMENT_NAME}", path.name)]
    return [path for path in files if path.name.removeprefix(".") < first]


def had_ended(log: Path, moment: datetime) -> bool:
    """Return whether nothing was written to a log just before a moment, or since; one in use is, every few minutes."""
    return all(segment.written_until < moment - QUIET_AFTER for segment in segments_of(log))


def logs_of(archive: Path) -> list[Path]:
    """List the folders of logs, the oldest first; others in an archive are not Driftline's."""
    return sorted(path for path in archive.iterdir() if re.fullmatch(LOG_NAME, path.name) and path.is_dir())
