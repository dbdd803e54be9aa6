"""What is asked of a connection to a database of others, and how long it may take."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from inference.prediction_log.sources.sql.queries import Query

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
TOO_LATE = "The database did not answer in time."
FETCHED_AT_ONCE = 10  # rows, as each may be wide


class Database(Protocol):
    """What is asked of a driver; every method raises ConnectorFailed."""

    is_billed: bool
    """Whether each statement costs: then few are sent, for many rows, which are read on over pages."""

    def read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        """Yield rows with the names of their columns, without holding all of them in memory."""

    def count(self, query: Query) -> int:
        """Return the number that a statement gives."""

    def close(self) -> None:
        """End the connection."""
