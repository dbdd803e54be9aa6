"""Archives a file of the embedded PostgreSQL's write-ahead log, or brings one back. PostgreSQL itself runs this file:

    python -I wal_segment.py archive ARCHIVE HOME PATH NAME
    python -I wal_segment.py restore FOLDER NAME PATH

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
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

LOG_NAME_FILE = "driftline_archive"
"""The file in the data folder that names the folder of the archive to which this server's log goes."""
ARTIFACTS = "artifacts"
GIVE_UP_BELOW_BYTES = 1 << 30
"""With less room on the disk of the database, log that cannot be archived is given up, before the server stops."""
LEVEL = 1
NOT_THERE, ABORT = (
    1,
    200,
)  # PostgreSQL ends its recovery at a status above 125, and takes 1 for the end of the log


class NotArchived(Exception):
    """The archive does not take a file; PostgreSQL keeps it and tries again."""


def new_log_name() -> str:
    """Name a log without gaps; names sort by when they begin."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def archive(folder: Path, home: Path, source: Path, name: str, *, data: Path) -> None:
    """Store a file of the log, and before it the artifacts that rows in it may name.

    Raises NotArchived, unless the disk of the database is nearly full: then this log ends, and another begins.
    """
    try:
        log = folder / (data / LOG_NAME_FILE).read_text()
        _keep_artifacts(home / ARTIFACTS, folder / ARTIFACTS)
        _keep_segment(source, log / f"{name}.gz")
    except (OSError, NotArchived) as error:
        if shutil.disk_usage(data).free >= GIVE_UP_BELOW_BYTES:
            raise NotArchived(f"{name} was not archived, and is tried again: {error}") from error
        _write(data / LOG_NAME_FILE, lambda file: file.write(new_log_name().encode()))
        print(
            f"{name} was not archived ({error}) and the disk of the database is nearly full, so it is given up. "
            "No moment can be restored from here until the next `manage.py backup`.",
            file=sys.stderr,
        )


def restore(folder: Path, name: str, target: Path) -> bool:
    """Bring a file back to where PostgreSQL expects it; False where the archive has none of that name.

    Raises OSError, EOFError or zlib.error where it cannot be read whole.
    """
    source = folder / f"{name}.gz"
    if not source.exists():
        return False
    with gzip.open(source) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return True


def _keep_segment(source: Path, target: Path) -> None:
    """Store it compressed, with the time of its last row in gzip's header; a file that is there is never replaced."""
    target.parent.mkdir(mode=0o700, exist_ok=True)
    if target.exists():
        if not _holds(target, source):
            raise NotArchived(
                f"{target} is there and holds something else; is this a copy of a home that archives to it too?"
            )
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
    """Tell whether a stored file is the same; PostgreSQL asks again where it was stopped before it noted that."""
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
        for made in (target, kept.parent):
            made.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError), path.open("rb") as artifact:
            _write(kept, lambda file: shutil.copyfileobj(artifact, file))


def _write(target: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, and give it its own once it is on the disk."""
    draft = target.with_name(f".{target.name}.unfinished")
    try:
        with open(draft, "wb", opener=_private) as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
    folder, name, target = arguments
    try:
        return 0 if restore(Path(folder), name, Path(target)) else NOT_THERE
    except (OSError, EOFError, zlib.error) as error:
        print(f"{name} of {folder} cannot be brought back: {error}", file=sys.stderr)
        return ABORT


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
