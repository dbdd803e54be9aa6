"""What a folder and a bucket have in common: they list objects in the order of their names, and bring one here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

MAX_OBJECT_BYTES = 8 << 30


@dataclass(frozen=True)
class ObjectInfo:
    """An object as its store lists it; `etag` differs where its content does."""

    path: str
    etag: str
    size: int
    modified_us: int


class ObjectMissing(Exception):
    """The object was deleted or replaced since it was listed; the next pass over the listing tells."""


class ObjectRefused(Exception):
    """The store does not give this one object; the text says why."""


class Transfer(Protocol):
    """An object on its way here."""

    @property
    def file(self) -> IO[bytes]:
        """Return its content, once all of it is here."""

    def step(self) -> bool:
        """Bring a part; returns whether all of it is here.

        Raises ObjectMissing, ObjectRefused, and ConnectorFailed where the store cannot be reached.
        """

    def is_unchanged(self) -> bool:
        """Return whether what was read is still the version that was listed."""

    def close(self) -> None:
        """Remove what was brought."""


class ObjectStore(Protocol):
    """A place with objects."""

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        """Yield all objects with the prefix in the order of the bytes of their names, some at a time.

        Raises ConnectorFailed.
        """

    def fetch(self, info: ObjectInfo) -> Transfer:
        """Begin to bring an object here, in the version that was listed."""

    def unlisted(self) -> str:
        """Return a folder of which the last listing left the objects out, as it cannot be read; empty where none."""

    def close(self) -> None:
        """Close the connections."""
