"""A folder of this server, below those that the operator allows. Links are not followed, and files alone are read."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import IO

from driftline.base.clock import now
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.settings import MAX_PATH_BYTES
from inference.connectors.objects.store import MAX_OBJECT_BYTES, ObjectInfo, ObjectMissing, ObjectRefused
from inference.prediction_log.sources.objects.settings import SOURCE_FOLDERS, ObjectsSettings

PAGE = 1_000
SETTLED_SECONDS = 5.0
"""A file that was changed later than this may still be written, so it waits for the next pass."""
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Folder:
    """Lists and reads the files below one folder."""

    def __init__(self, settings: ObjectsSettings) -> None:
        if not SOURCE_FOLDERS.has(settings.folder):
            raise ConnectorFailed("The operator does not allow this folder any more.")
        self._root, self._prefix = os.path.realpath(settings.folder), settings.prefix
        self._unlisted = ""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        """Yield the files with the prefix, a thousand at a time; see `ObjectStore`."""
        self._unlisted = ""
        page: list[ObjectInfo] = []
        settled = now().timestamp() - SETTLED_SECONDS
        try:
            for info in self._walk(self._root, ""):
                if info.modified_us <= settled * 1e6:
                    page.append(info)
                if len(page) == PAGE:
                    yield page
                    page = []
        except OSError as error:
            raise ConnectorFailed(f"The folder cannot be listed: {error.strerror}.") from error
        yield page

    def unlisted(self) -> str:
        """Return the first folder that could not be listed; see `ObjectStore`."""
        return self._unlisted

    def _entries(self, folder: str, inside: str) -> list[tuple[bytes, str]]:
        """Return what lies in a folder, in order; nothing of one inside that cannot be read, which is noted."""
        try:
            os.stat(f"{folder}/.")  # else names are listed and no file can be looked up
            with os.scandir(folder) as scanned:
                return sorted((os.fsencode(_name_in_order(one)), one.name) for one in scanned)
        except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
            if not inside:
                raise
            if isinstance(error, PermissionError):
                self._unlisted = self._unlisted or inside
            return []

    def _walk(self, folder: str, inside: str) -> Iterator[ObjectInfo]:
        for key, name in self._entries(folder, inside):
            path = inside + name
            if not _is_nameable(path):
                continue
            if key.endswith(b"/"):
                if f"{path}/".startswith(self._prefix) or self._prefix.startswith(f"{path}/"):
                    yield from self._walk(os.path.join(folder, name), f"{path}/")
            elif path.startswith(self._prefix):
                found = _stat(os.path.join(folder, name))
                if found is not None:
                    yield _info_of(path, found)

    def fetch(self, info: ObjectInfo) -> "OpenFile":
        """Open a file."""
        return OpenFile(self._root, info)


class OpenFile:
    """A file, opened without following a link; see `Transfer`."""

    def __init__(self, root: str, info: ObjectInfo) -> None:
        self._root, self._info = root, info
        self._opened: IO[bytes] | None = None

    @property
    def file(self) -> IO[bytes]:
        """Return its content from its beginning."""
        assert self._opened is not None  # as `step` returned True
        self._opened.seek(0)
        return self._opened

    def close(self) -> None:
        """Close it."""
        if self._opened is not None:
            self._opened.close()

    def is_unchanged(self) -> bool:
        """Return whether nobody wrote into it while it was read."""
        return self._opened is not None and self._is_listed(self._opened.fileno())

    def _is_listed(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        return stat.S_ISREG(found.st_mode) and _info_of(self._info.path, found).etag == self._info.etag

    def step(self) -> bool:
        """Open it, if it is still the one that was listed; see `Transfer`."""
        if self._info.size > MAX_OBJECT_BYTES:
            raise ObjectRefused(
                f"it has {self._info.size:,} bytes, and an object has at most {MAX_OBJECT_BYTES:,}"
            )
        try:
            descriptor = _open_below(self._root, self._info.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectMissing(self._info.path) from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ObjectRefused("it is a link") from error
            raise ConnectorFailed(f"{self._info.path} cannot be read now: {error.strerror}.") from error
        self._opened = os.fdopen(descriptor, "rb")
        if not self._is_listed(descriptor):
            raise ObjectMissing(self._info.path)
        return True


def _open_below(root: str, path: str) -> int:
    """Open a file below a folder, each part of its path by itself, so that no link leads elsewhere."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK)
    *folders, name = path.split("/")
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, os.O_RDONLY | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)


def _name_in_order(entry: "os.DirEntry[str]") -> str:
    """Return a name by which files come in the order of their whole paths: a folder's ends with a slash."""
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _is_nameable(path: str) -> bool:
    """Return whether the database can hold a path as it is."""
    try:
        return len(path.encode()) <= MAX_PATH_BYTES
    except UnicodeEncodeError:
        return False


def _stat(path: str) -> os.stat_result | None:
    """Return what a file is; None for what is no file, or was deleted meanwhile."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _info_of(path: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(path, f"{found.st_size}-{found.st_mtime_ns}", found.st_size, found.st_mtime_ns // 1_000)
