"""Files that are replaced in one step: a reader sees the old content or the new one, also after a power failure."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, content: bytes, *, mode: int = 0o666, sync: bool = True) -> None:
    """Replace the content of a file; `mode` applies to a new file, less the process's umask.

    Without `sync` a power failure may lose the content or leave an empty file.
    """
    with replacing(path, mode=mode, sync=sync) as draft:
        draft.write_bytes(content)


@contextmanager
def replacing(path: Path, *, mode: int = 0o666, sync: bool = True) -> Iterator[Path]:
    """Yield a draft to write to the block, which takes the place of `path` when the block ends.

    If the block fails, the draft is removed and `path` stays as it was.
    """
    draft = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_native_id()}")
    try:
        draft.touch(mode=mode)
        yield draft
        if sync:
            sync_to_disk(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if sync:
        sync_to_disk(path.parent)


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
