"""The mark of a home that is being restored: whoever finds it must not start there."""

import shlex
from pathlib import Path

import msgspec

from driftline.base.durable_files import write_file
from driftline.operations.backup.home_files import RESTORE_MARK


class RestoreMark(msgspec.Struct, frozen=True):
    """What a restore that is under way, or was interrupted, was asked to do."""

    backup: str
    keys: str
    aside: str
    """Name of the folder into which what the home held before is put."""
    until: str = ""
    """To which moment, if not to that of the backup."""
    is_cleared: bool = False
    """Whether all of that is there: what the home holds beside it is the restore's own."""

    @property
    def command(self) -> str:
        """Return the command that brings it to its end."""
        keys = f" --keys {shlex.quote(self.keys)}" if self.keys else ""
        until = f" --until {shlex.quote(self.until)}" if self.until else ""
        return f"manage.py restore {shlex.quote(self.backup)}{keys}{until}"


def mark_path(home: Path) -> Path:
    """Return where the mark lies while a restore is under way, or was interrupted."""
    return home / RESTORE_MARK


def read_mark(home: Path) -> RestoreMark | None:
    """Return the mark of a home; None without one. Raises ValueError where it cannot be read."""
    try:
        return msgspec.json.decode(mark_path(home).read_bytes(), type=RestoreMark)
    except FileNotFoundError:
        return None


def write_mark(home: Path, mark: RestoreMark) -> None:
    """Mark a home, durably."""
    write_file(mark_path(home), msgspec.json.encode(mark), mode=0o600)


def describe_mark(home: Path) -> str:
    """Return why this home must not be started; empty where it may be."""
    try:
        mark = read_mark(home)
    except ValueError:
        return f"{mark_path(home)} cannot be read: a restore was interrupted. Restore into an empty home."
    if mark is None:
        return ""
    return f"{home} is being restored, or a restore was interrupted; run `{mark.command}` again."
