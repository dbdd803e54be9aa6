"""What a bucket and a folder have in common as a lake: a file is sent as a draft, and put in its place by one step."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import IO, Protocol

from driftline.base.keys.secrets_at_rest import decrypt_optional
from inference.prediction_log.lake.models import Lake
from inference.prediction_log.lake.settings import LakeSettings
from inference.prediction_log.lake.stores.bucket import LakeBucket
from inference.prediction_log.lake.stores.folder import LakeFolder


class LakeStore(Protocol):
    """A place for files, by their names. Every method raises ConnectorFailed where it cannot be reached or refuses."""

    def begin(self, name: str) -> str:
        """Begin a draft of a file; returns what `discard` needs to remove it after a crash."""

    def send(self, name: str, draft: str, content: IO[bytes]) -> Sequence[str]:
        """Send the content of a draft, which no reader sees; returns what `commit` needs."""

    def commit(self, name: str, draft: str, sent: Sequence[str]) -> None:
        """Put a draft in the place of the file, in one step."""

    def discard(self, name: str, draft: str) -> None:
        """Remove a draft, if it is there."""

    def write(self, name: str, content: bytes) -> None:
        """Put a small file in its place at once."""

    def read(self, name: str) -> AbstractContextManager[IO[bytes] | None]:
        """Open a file; None where it is not there."""

    def close(self) -> None:
        """Close the connections."""


def settings_of(lake: Lake) -> LakeSettings:
    """Return where a lake is."""
    return LakeSettings.model_validate(lake.settings)


def open_lake(lake: Lake) -> LakeStore:
    """Open a lake for one worker; raises ConnectorFailed where the operator does not allow its folder any more."""
    settings = settings_of(lake)
    if settings.folder:
        return LakeFolder(settings)
    return LakeBucket(settings, decrypt_optional(lake.secret))
