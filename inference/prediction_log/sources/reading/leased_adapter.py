"""What adapters of kinds of sources without partitions share: one consumer reads at a time, by a lease."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

from inference.prediction_log.sources.reading.reader_lease import ReaderLease


class LeasedAdapter(ABC):
    """An adapter that reads while it holds the lease of its source; see `Adapter`.

    What keeps it from reading is raised, and nothing is reported to the source: the table alone knows what is stored.
    """

    def __init__(self, source_id: int) -> None:
        self._source_id = source_id
        self._lease = ReaderLease(source_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def trouble(self) -> str:
        """Return nothing: whatever keeps the source from being read is raised."""
        return ""

    def acknowledge(self, next_offsets: Mapping[str, int]) -> None:  # noqa: B027  most sources need none
        """Do nothing: the source is only read."""

    def close(self) -> None:
        """Leave the source to another consumer."""
        self._disconnect()
        self._lease.release()

    @abstractmethod
    def _disconnect(self) -> None:
        """Close what reads the source."""
