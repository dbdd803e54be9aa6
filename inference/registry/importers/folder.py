"""Reads of a folder that somebody else made: capped in size and depth, and never outside of it."""

import os
from collections.abc import Iterator
from pathlib import Path

from inference.registry.importers.source_model import MigrationRefused, SourceVersion

MAX_TEXT_BYTES = 1 << 20
DEEPEST = 6
MAX_FOLDERS = 10_000


def within(root: Path, path: Path) -> Path:
    """Resolve a path, links included; MigrationRefused where that leaves `root`."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # no such file, a circle of links, a null character
        raise MigrationRefused(f"{shown(root, path)} is not in the folder; put it there.") from error
    if not real.is_relative_to(root.resolve()):
        raise MigrationRefused(
            f"{shown(root, path)} lies outside of the folder, at {str(real)[:200]}; put a copy into it."
        )
    return real


def file_within(root: Path, path: Path) -> Path:
    """Resolve the path of a file, links included; MigrationRefused where it leaves `root` or is none."""
    real = within(root, path)
    if not real.is_file():
        raise MigrationRefused(f"{shown(root, path)} is no file.")
    return real


def read_text(root: Path, path: Path) -> str:
    """Read a UTF-8 file of at most a MiB within `root`; MigrationRefused otherwise."""
    real = file_within(root, path)
    with real.open("rb") as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise MigrationRefused(
            f"{shown(root, path)} is larger than {MAX_TEXT_BYTES:,} bytes; is it the right file?"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MigrationRefused(f"{shown(root, path)} is not UTF-8 text (byte {error.start}).") from error


def find_files(root: Path, name: str) -> list[Path]:
    """Find all files of that name up to six folders deep, in order; links to folders are not followed."""
    return [folder / name for folder, files in _walk(root) if name in files]


def numbered_versions(root: Path, folder: Path, file_name: str) -> list[SourceVersion]:
    """Find the versions that lie in folders `1`, `2`, ... with that file, the highest first.

    MigrationRefused where one of them is no file, or a link that leaves `root`.
    """
    numbers = [int(entry.name) for entry in _folders(folder) if _is_number(entry.name)]
    files = [(str(number), folder / str(number) / file_name) for number in sorted(numbers, reverse=True)]
    return [SourceVersion(name, file_within(root, file)) for name, file in files if os.path.lexists(file)]


def subfolders(root: Path) -> list[Path]:
    """List the folders directly within, in order, without hidden ones."""
    return [entry for entry in _folders(root) if not entry.name.startswith(".")]


def shown(root: Path, path: Path) -> str:
    """Write a path as people see it: relative to the folder."""
    return str(path.relative_to(root))[:200] if path.is_relative_to(root) else str(path)[:200]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 19 and not name.startswith("0")


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise MigrationRefused(f"{folder} cannot be read: {error.strerror}.") from error


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for seen, (place, folders, files) in enumerate(os.walk(root), start=1):
        if seen > MAX_FOLDERS:
            raise MigrationRefused(f"{root} holds more than {MAX_FOLDERS:,} folders; name a smaller one.")
        folders.sort()
        if len(Path(place).relative_to(root).parts) >= DEEPEST:
            folders.clear()
        yield Path(place), files
