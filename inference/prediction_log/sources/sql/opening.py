"""Opens a connection to a database of others: to a checked address, in read-only transactions that end in time."""

from driftline.base.outbound.addresses import AddressBlocked
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.sql.database import Database
from inference.prediction_log.sources.sql.settings import SqlSettings

_OF_A_PORT = ("refused", "timeout", "timed out", "unreachable", "No route")
"""Words of errors that distinguish a closed port from a silent one, which strangers must not learn."""
_SECRETS = {"bigquery": "The JSON key of the service account", "snowflake": "The private key of the user"}


def open_database(settings: SqlSettings, secret: str, *, deadline: float = float("inf")) -> Database:
    """Connect; what is not answered before `deadline`, a time of `time.monotonic`, is cut. Raises ConnectorFailed."""
    if not secret:
        needed = _SECRETS.get(settings.engine, "A password")
        raise ConnectorFailed(f"{needed} is needed, as none is stored for this server and user.")
    try:
        address = str(settings.find_address())
    except AddressBlocked as error:
        raise ConnectorFailed(f"{settings.host} must not be reached: {error}.") from error
    except (OSError, UnicodeError) as error:
        raise ConnectorFailed(f"The name {settings.host} does not resolve.") from error
    try:
        return _connect(settings, secret, address, deadline)
    except ConnectorFailed as error:
        if any(word in str(error) for word in _OF_A_PORT) and not settings.is_within_own_networks:
            raise ConnectorFailed("The database does not answer.") from error
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
