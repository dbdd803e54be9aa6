"""A lake in a folder of this server: a draft lies beside its file under a name that no reader takes for one."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from driftline.base.durable_files import sync_to_disk, write_file
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.lake.settings import LAKE_FOLDERS, LakeSettings


class LakeFolder:
    """Writes and reads files below one folder; see `LakeStore`."""

    def __init__(self, settings: LakeSettings) -> None:
        if not LAKE_FOLDERS.has(settings.folder):
            raise ConnectorFailed(
                "The operator does not allow this folder any more; see DRIFTLINE_LAKE_FOLDERS."
            )
        self._root = Path(os.path.realpath(settings.folder))

    def begin(self, name: str) -> str:
        """Make the folders of a file, and name its draft."""
        self._make_folders(name)
        return f".{secrets.token_hex(8)}.draft"

    def send(self, name: str, draft: str, content: IO[bytes]) -> Sequence[str]:
        """Write a draft to the disk."""
        with _named_failures():
            path = self._path(name).with_name(draft)
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
            sync_to_disk(path)
        return ()

    def commit(self, name: str, draft: str, sent: Sequence[str]) -> None:
        """Rename a draft to its file."""
        with _named_failures():
            path = self._path(name)
            path.with_name(draft).replace(path)
            sync_to_disk(path.parent)

    def discard(self, name: str, draft: str) -> None:
        """Remove a draft."""
        with _named_failures(), suppress(FileNotFoundError):
            self._path(name).with_name(draft).unlink()

    def write(self, name: str, content: bytes) -> None:
        """Write a small file to the disk."""
        self._make_folders(name)
        with _named_failures():
            write_file(self._path(name), content)

    @contextmanager
    def read(self, name: str) -> Iterator[IO[bytes] | None]:
        """Open a file."""
        self._check_root()
        with _named_failures():
            path = self._path(name)
            file = path.open("rb") if path.exists() else None
        try:
            yield file
        finally:
            if file is not None:
                file.close()

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _check_root(self) -> None:
        if not self._root.is_dir():
            raise ConnectorFailed(f"{self._root} is not there; is it mounted?")

    def _make_folders(self, name: str) -> None:
        self._check_root()
        with _named_failures():
            self._path(name).parent.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        """Return where a file lies; a link that leads out of the folder is refused."""
        path = self._root / name
        if not Path(os.path.realpath(path.parent)).is_relative_to(self._root):
            raise ConnectorFailed(f"{path.parent} leads out of the lake.")
        return path


@contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConnectorFailed(f"The folder cannot be written to: {error.strerror}.") from error
