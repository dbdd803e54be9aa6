"""How the SQL of each engine writes names, places of values, comparisons of rows and times."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.prediction_log.sources.sql.settings import SqlSettings


class SqlDialect:
    """Standard SQL with the placeholders of Python's drivers, as PostgreSQL takes it."""

    placeholder = "%s"

    def quote(self, name: str) -> str:
        """Return a name as it is written in a statement."""
        return '"{}"'.format(name.replace('"', '""').replace("%", "%%"))

    def table_of(self, settings: SqlSettings) -> str:
        """Return the quoted name of the table, with the schema where one is set."""
        names = [settings.schema_name, settings.table] if settings.schema_name else [settings.table]
        return ".".join(map(self.quote, names))

    def all_columns(self, table: str) -> str:
        """Return what selects the columns of a table, before others are selected beside them."""
        return f"{table}.*"

    def behind(self, columns: Sequence[str], place: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return the condition that a row comes after a place in the order of these columns, and its values."""
        return f"({', '.join(columns)}) > ({', '.join([self.placeholder] * len(place))})", place

    def time_before_now(self, seconds: int, *, has_zone: bool) -> str:
        """Return the time so many seconds ago, as it is compared with times that have a zone or are taken for UTC."""
        return f"now() - interval '{seconds}' second"

    def as_time(self, column: str) -> str:
        """Return a column of times as it is compared with `time_before_now`."""
        return column


class MysqlDialect(SqlDialect):
    """That of MariaDB and MySQL."""

    def quote(self, name: str) -> str:
        return "`{}`".format(name.replace("`", "``").replace("%", "%%"))

    def time_before_now(self, seconds: int, *, has_zone: bool) -> str:
        return f"now(6) - interval '{seconds}' second"


class WarehouseDialect(SqlDialect):
    """What BigQuery and Snowflake share: they compare no rows, so a condition goes column by column."""

    placeholder = "?"

    def all_columns(self, table: str) -> str:
        return "*"

    def behind(self, columns: Sequence[str], place: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        text, values = f"{columns[-1]} > ?", [place[-1]]
        for name, value in zip(reversed(columns[:-1]), reversed(place[:-1]), strict=True):
            text, values = f"({name} > ? OR ({name} = ? AND {text}))", [value, value, *values]
        return text, values


class BigQueryDialect(WarehouseDialect):
    """That of BigQuery."""

    def quote(self, name: str) -> str:
        return "`{}`".format(name.replace("\\", "\\\\").replace("`", "\\`"))

    def table_of(self, settings: SqlSettings) -> str:
        return f"{self.quote(settings.database)}.{super().table_of(settings)}"

    def time_before_now(self, seconds: int, *, has_zone: bool) -> str:
        return f"TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {seconds} SECOND)"

    def as_time(self, column: str) -> str:
        return f"CAST({column} AS TIMESTAMP)"  # a DATETIME is taken for UTC


class SnowflakeDialect(WarehouseDialect):
    """That of Snowflake."""

    def quote(self, name: str) -> str:
        return '"{}"'.format(name.replace('"', '""'))

    def time_before_now(self, seconds: int, *, has_zone: bool) -> str:
        """Return it without a zone where none is compared: Snowflake would take such times for the session's zone."""
        return f"DATEADD(second, -{seconds}, {'CURRENT_TIMESTAMP()' if has_zone else 'SYSDATE()'})"


DIALECTS: Mapping[str, SqlDialect] = {
    "postgresql": SqlDialect(),
    "mysql": MysqlDialect(),
    "bigquery": BigQueryDialect(),
    "snowflake": SnowflakeDialect(),
}
"""By the engine of the settings."""
