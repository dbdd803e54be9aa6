"""What databases share that are read by HTTP requests: limits of time, and what is said of answers.

There is no connection: each statement is a request of its own, and is billed.
"""

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, ClassVar

from driftline.base.outbound.transport import DEADLINE_SECONDS, RequestFailed
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.sql.database import TOO_LATE
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.settings import SqlSettings

MAX_COUNT = 1 << 53  # which JSON and the log hold exactly
WRONG_VALUE = (ValueError, TypeError, KeyError, ArithmeticError, RecursionError)
"""What readers of values raise for what is not of its type."""


class RestDatabase:
    """The part of a `Database` that is the same for all of them; see there."""

    product: ClassVar[str]
    is_billed = True

    def __init__(self, settings: SqlSettings, deadline: float) -> None:
        self._deadline = deadline
        scheme = "https" if settings.is_encrypted else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host  # an address of IPv6
        self._endpoint = f"{scheme}://{host}:{settings.server_port()}"

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        """Yield the rows of a statement, a part of them at a time; see `Database`."""
        return islice(self._read(query), query.max_rows)

    def count(self, query: Query) -> int:
        """Return the number that a statement gives; see `Database`."""
        for _, row in self.read(query):
            if isinstance(row[0], int) and 0 <= row[0] < MAX_COUNT:
                return row[0]
        raise self._unreadable()

    def _read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        raise NotImplementedError

    def _seconds_left(self) -> float:
        """Return how long a request may take; raises ConnectorFailed where no time is left."""
        seconds = min(DEADLINE_SECONDS, self._deadline - time.monotonic())
        if seconds <= 0:
            raise ConnectorFailed(TOO_LATE)
        return seconds

    def _unreadable(self) -> ConnectorFailed:
        return ConnectorFailed(
            f"The answer is none of {self.product}, or longer than a page of rows; check host and port."
        )


def describe_failure(error: RequestFailed, reason: str) -> str:
    """Return why a statement has no answer; of a stranger's network not whether a port is closed or silent."""
    if error.is_silence:
        return "The database does not answer."
    if error.status is None:
        return f"The database cannot be read: {error}."
    return f"The database cannot be read: {error.status} {reason[:300]}".rstrip()


def read_decimal(text: str, max_digits: int) -> Decimal:
    """Return a number that is no longer than its type allows: others fill gigabytes once they are written out."""
    if len(text) <= 2 * max_digits:
        value = Decimal(text)
        if value.is_finite() and -max_digits <= value.adjusted() <= max_digits:
            return value
    raise ValueError("no decimal number of this type")
