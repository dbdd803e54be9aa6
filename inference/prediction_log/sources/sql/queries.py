"""The statements that read a table: in the order of (watermark, keys), behind a place, and never newer than the lag."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.prediction_log.sources.sql.settings import SqlSettings


@dataclass(frozen=True)
class Query:
    """A statement with the values of its places, and what its answer has: that many rows at most, columns at least."""

    text: str
    values: Sequence[Any] = ()
    max_rows: int = 1
    min_columns: int = 1


class TableQueries:
    """Builds the statements of one source; names are quoted, and values are sent as parameters.

    Where the watermark is a plain date, `is_by_day`, the rows of a day are read once it has ended: until then any may
    come, before others of that day. It is None until the table shows.
    """

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self.is_by_day: bool | None = None
        self._is_bigquery = settings.engine == "bigquery"
        quote = _QUOTES[settings.engine]
        names = [settings.schema_name, settings.table] if settings.schema_name else [settings.table]
        if self._is_bigquery:
            names = [settings.database, *names]
        self._table = ".".join(map(quote, names))
        self._order = [quote(name) for name in (settings.watermark, *settings.keys)]
        every = "*" if self._is_bigquery else f"{self._table}.*"
        # Names of their own, as BigQuery refuses columns of one name.
        place = [f"{name} AS driftline_place_{number}" for number, name in enumerate(self._order)]
        self._selected = ", ".join([", ".join(map(quote, settings.columns)) or every, *place])

    def page(self, after: Sequence[Any] | None, rows: int) -> Query:
        """Read rows behind a place; the last columns are watermark and keys."""
        where, values = self._beyond(after)
        return Query(
            f"SELECT {self._selected} FROM {self._table} WHERE {where} "
            f"ORDER BY {', '.join(self._order)} LIMIT {rows}",
            values,
            rows,
            1 + len(self._order),
        )

    def newest(self, rows: int) -> Query:
        """Read the last rows."""
        where, values = self._beyond(None)
        order = ", ".join(f"{name} DESC" for name in self._order)
        return Query(
            f"SELECT {self._selected} FROM {self._table} WHERE {where} ORDER BY {order} LIMIT {rows}",
            values,
            rows,
            1 + len(self._order),
        )

    def count_beyond(self, after: Sequence[Any] | None, limit: int) -> Query:
        """Count the rows behind a place, up to a limit."""
        where, values = self._beyond(after)
        return Query(
            f"SELECT count(*) FROM (SELECT 1 FROM {self._table} WHERE {where} LIMIT {limit}) AS beyond",
            values,
        )

    def count_without_place(self) -> Query:
        """Count the rows that have no watermark, or lack a key."""
        return Query(
            f"SELECT count(*) FROM {self._table} WHERE {' OR '.join(f'{name} IS NULL' for name in self._order)}"
        )

    def any_watermark(self) -> Query:
        """Read some watermark, to see of which type they are."""
        return Query(f"SELECT {self._order[0]} FROM {self._table} WHERE {self._order[0]} IS NOT NULL LIMIT 1")

    def _beyond(self, after: Sequence[Any] | None) -> tuple[str, Sequence[Any]]:
        """Return the condition on rows behind a place: those without a watermark or a key never meet it."""
        conditions = [f"{name} IS NOT NULL" for name in self._order]
        values: list[Any] = []
        if after is not None:
            # The first part lets an index or a partition of the watermark alone lead to the place.
            behind, places = self._behind(after)
            conditions += [f"{self._order[0]} >= {'?' if self._is_bigquery else '%s'}", behind]
            values = [after[0], *places]
        if self._settings.lag_seconds or self.is_by_day:
            conditions.append(self._settled())
        return " AND ".join(conditions), values

    def _behind(self, after: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return the condition that a row comes after a place; BigQuery compares no rows, but column by column."""
        if not self._is_bigquery:
            return f"({', '.join(self._order)}) > ({', '.join(['%s'] * len(after))})", after
        text, values = f"{self._order[-1]} > ?", [after[-1]]
        for name, value in zip(reversed(self._order[:-1]), reversed(after[:-1]), strict=True):
            text, values = f"({name} > ? OR ({name} = ? AND {text}))", [value, value, *values]
        return text, values

    def _settled(self) -> str:
        """Return the condition that a watermark is so old that no transaction adds rows before it."""
        watermark, seconds = self._order[0], self._settings.lag_seconds
        if self._is_bigquery:
            settled = f"TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {seconds} SECOND)"
            if not self.is_by_day:  # a DATETIME is taken for UTC
                watermark = f"CAST({watermark} AS TIMESTAMP)"
        else:
            clock = "now(6)" if self._settings.engine == "mysql" else "now()"
            settled = f"{clock} - interval '{seconds}' second"
        return f"{watermark} < {f'CAST({settled} AS date)' if self.is_by_day else settled}"


def _quote_standard(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""').replace("%", "%%"))


def _quote_mysql(name: str) -> str:
    return "`{}`".format(name.replace("`", "``").replace("%", "%%"))


def _quote_bigquery(name: str) -> str:
    return "`{}`".format(name.replace("\\", "\\\\").replace("`", "\\`"))


_QUOTES = {"postgresql": _quote_standard, "mysql": _quote_mysql, "bigquery": _quote_bigquery}
