"""Files that are replaced in one step: after a power cut there is the old content or the new one."""

import os
from pathlib import Path


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace the content of a file, on the disk when this returns."""
    draft = path.with_name(f"{path.name}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    put_in_place(draft, path)


def put_in_place(draft: Path, path: Path) -> None:
    """Move a file that is on the disk to its name, on the disk when this returns."""
    draft.replace(path)
    if os.name != "nt":  # where folders cannot be opened
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def size_of(path: Path) -> int:
    """Return how many bytes a file has; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
