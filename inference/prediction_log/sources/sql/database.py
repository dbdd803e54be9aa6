"""A connection to a database of others: to a checked address, in read-only transactions that end in time."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from driftline.common.outbound.addresses import AddressBlocked
from inference.prediction_log.sources.messages import AdapterFailed
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.settings import SqlSettings

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
TOO_LATE = "The database did not answer in time."
FETCHED_AT_ONCE = 10  # rows, as each may be wide
_OF_A_PORT = ("refused", "timeout", "timed out", "unreachable", "No route")
"""Words of errors that distinguish a closed port from a silent one, which strangers must not learn."""
_SECRETS = {"bigquery": "The JSON key of the service account", "snowflake": "The private key of the user"}


class Database(Protocol):
    """What is asked of a driver; every method raises AdapterFailed."""

    is_billed: bool
    """Whether each statement costs: then few are sent, for many rows, which are read on over pages."""

    def read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        """Give rows with the names of their columns, without holding all of them in memory."""

    def count(self, query: Query) -> int:
        """Return the number that a statement gives."""

    def close(self) -> None:
        """End the connection."""


def open_database(settings: SqlSettings, secret: str, *, deadline: float = float("inf")) -> Database:
    """Connect; what is not answered before `deadline`, a time of `time.monotonic`, is cut. Raises AdapterFailed."""
    if not secret:
        needed = _SECRETS.get(settings.engine, "A password")
        raise AdapterFailed(f"{needed} is needed, as none is stored for this server and user.")
    try:
        address = str(settings.find_address())
    except AddressBlocked as error:
        raise AdapterFailed(f"{settings.host} must not be reached: {error}.") from error
    except (OSError, UnicodeError) as error:
        raise AdapterFailed(f"The name {settings.host} does not resolve.") from error
    try:
        return _connect(settings, secret, address, deadline)
    except AdapterFailed as error:
        if any(word in str(error) for word in _OF_A_PORT) and not settings.is_within_own_networks:
            raise AdapterFailed("The database does not answer.") from error
        raise


def _connect(settings: SqlSettings, secret: str, address: str, deadline: float) -> Database:
    if settings.engine == "bigquery":
        from inference.prediction_log.sources.sql.bigquery import BigQueryDatabase

        return BigQueryDatabase(settings, secret, deadline=deadline)
    if settings.engine == "snowflake":
        from inference.prediction_log.sources.sql.snowflake import SnowflakeDatabase

        return SnowflakeDatabase(settings, secret, deadline=deadline)
    if settings.engine == "mysql":
        from inference.prediction_log.sources.sql.mysql import MysqlDatabase

        return MysqlDatabase(settings, secret, address, deadline=deadline)
    from inference.prediction_log.sources.sql.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(settings, secret, address, deadline=deadline)
