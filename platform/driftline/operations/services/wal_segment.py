"""Archives a file of the embedded PostgreSQL's write-ahead log, or brings one back. PostgreSQL itself runs this file:

    python -I wal_segment.py archive ARCHIVE HOME PATH NAME
    python -I wal_segment.py restore FOLDER LAST NAME PATH

It imports nothing but the standard library, so that a segment of 16 MB takes a fraction of a second. What it says goes
to PostgreSQL's log.
"""

import filecmp
import gzip
import os
import secrets
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

LOG_NAME_FILE = "driftline_archive"
"""The file in the data folder with the name of this server's log, and on the next line the archive to which it goes."""
ARTIFACTS = "artifacts"
"""The folder of an archive with the models. It is there from the first log on: where it is not, nor is the disk."""
SEGMENT_BYTES = 16 << 20
GIVE_UP_BELOW_BYTES = 1 << 30
"""With less room on the database's disk, and more log than that waiting, log that cannot be archived is given up."""
LEVEL = 1
NOT_THERE, ABORT = 1, 200
"""PostgreSQL takes 1 for the end of the log, and ends its recovery with an error at a status above 125."""


class NotArchived(Exception):
    """The archive does not take a file; PostgreSQL keeps it and tries again."""


def new_log_name() -> str:
    """Name a log without gaps; names sort by when they begin."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def name_log(data: Path, archive: Path) -> None:
    """Make the server with this data folder begin a log in an archive."""
    content = os.fsencode(f"{new_log_name()}\n{archive}")
    _write(data / LOG_NAME_FILE, lambda file: file.write(content), publish=os.replace)


def read_log(data: Path) -> tuple[str, str]:
    """Return the name of a server's log, and the archive to which it goes; raises FileNotFoundError without one."""
    name, _, archive = os.fsdecode((data / LOG_NAME_FILE).read_bytes()).partition("\n")
    return name, archive


def archive(folder: Path, home: Path, source: Path, name: str, *, data: Path) -> None:
    """Store a file of the log, and before it the artifacts that rows in it may name.

    Raises NotArchived, unless the disk of the database is nearly full: then this log ends, and another begins.
    """
    try:
        name_of_log, _ = read_log(data)
        if not (folder / ARTIFACTS).is_dir():
            raise NotArchived(f"{folder} has no folder {ARTIFACTS}, as if its disk were not mounted")
        _keep_artifacts(home / ARTIFACTS, folder / ARTIFACTS)
        _keep_segment(source, folder / name_of_log / f"{name}.gz")
    except (OSError, NotArchived) as error:
        if not _is_filling_the_disk(data):
            raise NotArchived(f"{name} was not archived, and is tried again: {error}") from error
        name_log(data, folder)
        print(
            f"{name} was not archived ({error}) and the disk of the database is nearly full, so it is given up. "
            "No moment can be restored from here until the next `manage.py backup`.",
            file=sys.stderr,
        )


def _is_filling_the_disk(data: Path) -> bool:
    """Return whether little is free and more than that waits: a disk that is merely small is no reason to give up."""
    free = shutil.disk_usage(data).free
    waiting = len(list((data / "pg_wal/archive_status").glob("*.ready"))) * SEGMENT_BYTES
    return free < GIVE_UP_BELOW_BYTES and free < waiting


def restore(folder: Path, name: str, target: Path) -> None:
    """Bring a file back to where PostgreSQL expects it.

    Raises FileNotFoundError where the archive has none of that name, and OSError, EOFError or zlib.error where it
    cannot be read whole.
    """
    with gzip.open(folder / f"{name}.gz") as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def _is_needed(name: str, last: str) -> bool:
    """Return whether a file is a segment of the log up to one that was there when the restore began.

    The first eight digits are the timeline.
    """
    return len(name) == len(last) and name[:8] == last[:8] and name <= last


def _keep_segment(source: Path, target: Path) -> None:
    """Store it compressed, with the time of its last row in gzip's header; a file that is there is never replaced."""
    _make_folder(target.parent)
    if target.exists():
        if not _holds(target, source):
            raise NotArchived(
                f"{target} is there and holds something else; is this a copy of a home that archives to it too?"
            )
        _sync(target.parent)  # who gave it its name may have been stopped before that
        return
    written_at = source.stat().st_mtime

    def compress(file: BinaryIO) -> None:
        with (
            source.open("rb") as plain,
            gzip.GzipFile("", "wb", compresslevel=LEVEL, fileobj=file, mtime=written_at) as packed,
        ):
            shutil.copyfileobj(plain, packed)

    _write(target, compress)


def _holds(target: Path, source: Path) -> bool:
    """Return whether a stored file is the same; PostgreSQL asks again where it was stopped before it noted that."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "segment"
        try:
            restore(target.parent, target.stem, unpacked)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return False
        return filecmp.cmp(unpacked, source, shallow=False)


def _keep_artifacts(source: Path, target: Path) -> None:
    """Copy the model files that are not there yet: each has its digest for a name and never changes."""
    for path in source.glob("??/*.onnx"):
        kept = target / path.parent.name / path.name
        if kept.exists():
            continue
        try:
            artifact = path.open("rb")
        except FileNotFoundError:  # it was deleted meanwhile
            continue
        with artifact:
            _make_folder(kept.parent)
            _write(kept, partial(shutil.copyfileobj, artifact))


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    _sync(path.parent)


def _write(
    target: Path, fill: Callable[[BinaryIO], object], *, publish: Callable[[str, Path], object] = os.link
) -> None:
    """Write a file under a name of its own, and once it is on the disk give it the other.

    Unless `publish` replaces what has that name, it raises FileExistsError: another archiver was faster.
    """
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".unfinished")
    try:
        with open(handle, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        publish(draft, target)
    finally:
        Path(draft).unlink(missing_ok=True)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main(act: str, *arguments: str) -> int:
    """Do what PostgreSQL asks, and return the exit status that it understands."""
    if act == "archive":
        folder, home, source, name = arguments
        try:
            archive(Path(folder), Path(home), Path(source), name, data=Path.cwd())
        except (OSError, NotArchived) as error:
            print(error, file=sys.stderr)
            return NOT_THERE
        return 0
    folder, last, name, target = arguments
    try:
        restore(Path(folder), name, Path(target))
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError) and not _is_needed(name, last):
            return NOT_THERE
        print(f"{name} of {folder} cannot be brought back: {error}", file=sys.stderr)
        return ABORT
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
