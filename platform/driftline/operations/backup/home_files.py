"""The files of a home in a backup: staged by hard links at one moment, then packed while the home is in use."""

import contextlib
import errno
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from driftline.operations.backup.manifest import NoBackup
from inference.prediction_log.spool.segments import SPOOL_FOLDER
from inference.serving.status.status import STATUS_FOLDER

KEYS = "keys"
_SECRET = frozenset({KEYS, "credentials"})
_MADE_ANEW = frozenset(
    {"postgres", "postgres.unfinished", "valkey", "log", "run", "plan.json", STATUS_FOLDER}
)
"""The database has a part of its own, and the rest is made at the next start."""
STAGE = "backup.unfinished"
ASIDE = "before-restore-"
"""How folders begin that hold what a home had before a restore."""
BACKUPS = "backups"
"""The one folder of a home that may hold backups of it: it is in none of them, and a restore does not move it."""
RESTORE_MARK = "restore.unfinished"
_WRITTEN_BY_TRAINERS = frozenset({"runs", "demo"})
"""Trainers put links there to the code that they may read; nothing of Driftline's is behind them."""
_COPIED_BYTES = 1 << 20
"""Smaller files are copied, as some are written in place; larger ones are only ever replaced whole."""


def is_kept(name: str) -> bool:
    """Return whether a backup takes this entry of a home."""
    return name not in _MADE_ANEW | {STAGE, RESTORE_MARK, BACKUPS} and not name.startswith(ASIDE)


def kept_bytes(home: Path) -> int:
    """Add up the files that a backup takes now."""
    total = 0
    for entry in home.iterdir():
        if not is_kept(entry.name):
            continue
        for path in [entry, *entry.resolve().rglob("*")]:
            with contextlib.suppress(FileNotFoundError):  # it was replaced meanwhile
                total += path.stat().st_size if path.is_file() else 0
    return total


class LinkInHome(Exception):
    """A part of the home lies elsewhere, behind a symbolic link within a folder."""


def stage(home: Path) -> Path:
    """Fix what the home holds now, in a folder of the same file system; what is removed meanwhile stays there.

    Raises LinkInHome. The spools come last, so that little time passes until the database's moment is fixed.
    """
    staged = home / STAGE
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    _stage_all(home, staged, spools_first=False)
    return staged


def stage_what_is_new(home: Path, staged: Path) -> None:
    """Add what came since `stage`: the database, of which the moment is fixed by now, may name it."""
    _stage_all(home, staged, spools_first=True)


def _stage_all(home: Path, staged: Path, *, spools_first: bool) -> None:
    kept = [entry.name for entry in home.iterdir() if is_kept(entry.name)]
    for name in sorted(kept, key=lambda name: (name == SPOOL_FOLDER) != spools_first):
        source = home / name
        _stage_entry(source.resolve(), staged / name, part=name)


def _stage_entry(source: Path, target: Path, *, part: str) -> None:
    """Stage a file, or a folder with all that is in it; what ends meanwhile is left out.

    `part` is the entry of the home that it belongs to.
    """
    if source.is_symlink():
        if part in _WRITTEN_BY_TRAINERS:
            return
        raise LinkInHome(f"{source} is a symbolic link; only whole folders of the home may lie elsewhere.")
    try:
        if not source.is_dir():
            _stage_file(source, target, is_appended=part == SPOOL_FOLDER)
            return
        target.mkdir(mode=0o700, exist_ok=True)
        for entry in sorted(source.iterdir()):
            _stage_entry(entry, target / entry.name, part=part)
    except FileNotFoundError:
        return


def _stage_file(source: Path, target: Path, *, is_appended: bool) -> None:
    if target.exists() or source.is_fifo() or source.is_socket():
        return
    if not is_appended and source.stat().st_size < _COPIED_BYTES:
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK}:
            raise
        shutil.copy2(source, target)


def freeze_spools(staged: Path) -> None:
    """Copy the staged segments, which are still appended to: call it once the database's moment is fixed."""
    for path in sorted((staged / SPOOL_FOLDER).rglob("*")):
        if path.is_file():
            draft = path.with_name(f".{path.name}.copy")
            shutil.copy2(path, draft)
            draft.replace(path)


def pack(staged: Path, folder: Path) -> dict[str, Path]:
    """Pack what was staged: secrets apart from the rest. Returns the archives by their names."""
    names = sorted(entry.name for entry in staged.iterdir())
    return {
        "files.tar": _pack(staged, folder / "files.tar", (name for name in names if name not in _SECRET)),
        "keys.tar": _pack(staged, folder / "keys.tar", (name for name in names if name in _SECRET)),
    }


def _pack(staged: Path, path: Path, names: Iterable[str]) -> Path:
    path.touch(mode=0o600)
    with path.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in names:
                archive.add(staged / name, name)
        file.flush()
        os.fsync(file.fileno())
    return path


def check_archive(archive: Path, home: Path) -> None:
    """Read an archive to its end; raises NoBackup where it is none, or has a path that leads out of the home."""
    try:
        with tarfile.open(archive) as packed:
            for member in _members(packed):
                tarfile.data_filter(member, str(home))
    except (tarfile.TarError, ValueError) as error:
        raise NoBackup(f"{archive} cannot be unpacked, so it is not as it was made: {error}.") from error


def unpack(archive: Path, home: Path) -> None:
    """Put the files of an archive into a home; refuses paths that lead out of it."""
    with tarfile.open(archive) as packed:
        packed.extractall(home, members=_members(packed), filter="data")


def _members(packed: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the files and folders, and leave out whatever else somebody may have put into an archive."""
    for member in packed:
        if (member.isreg() or member.isdir()) and is_kept(Path(member.name).parts[0]):
            yield member
