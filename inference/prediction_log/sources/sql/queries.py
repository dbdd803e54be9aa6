"""The statements that read a table: in the order of (watermark, keys), behind a place, and never newer than the lag."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.prediction_log.sources.sql.settings import SqlSettings


@dataclass(frozen=True)
class Query:
    """A statement with the values of its places."""

    text: str
    values: Sequence[Any] = ()


class TableQueries:
    """Builds the statements of one source; names are quoted, and values are sent as parameters.

    Where the watermark is a plain date, `is_by_day`, the rows of a day are read once it has ended: until then any may
    come, before others of that day. It is None until the table shows.
    """

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self.is_by_day: bool | None = None
        quote = _quote_mysql if settings.engine == "mysql" else _quote_standard
        names = [settings.schema_name, settings.table] if settings.schema_name else [settings.table]
        self._table = ".".join(map(quote, names))
        self._order = [quote(name) for name in (settings.watermark, *settings.keys)]
        self._columns = ", ".join(map(quote, settings.columns)) or f"{self._table}.*"

    def page(self, after: Sequence[Any] | None, rows: int) -> Query:
        """Read rows behind a place; the last columns are watermark and keys."""
        where, values = self._beyond(after)
        return Query(
            f"SELECT {self._columns}, {', '.join(self._order)} FROM {self._table} WHERE {where} "
            f"ORDER BY {', '.join(self._order)} LIMIT {rows}",
            values,
        )

    def newest(self, rows: int) -> Query:
        """Read the last rows."""
        where, values = self._beyond(None)
        order = ", ".join(f"{name} DESC" for name in self._order)
        return Query(
            f"SELECT {self._columns}, {', '.join(self._order)} FROM {self._table} WHERE {where} "
            f"ORDER BY {order} LIMIT {rows}",
            values,
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
            # The first part lets an index on the watermark alone lead to the place.
            conditions += [
                f"{self._order[0]} >= %s",
                f"({', '.join(self._order)}) > ({', '.join(['%s'] * len(after))})",
            ]
            values = [after[0], *after]
        if self._settings.lag_seconds or self.is_by_day:
            seconds = f"interval '{self._settings.lag_seconds}' second"
            clock = "now(6)" if self._settings.engine == "mysql" else "now()"
            settled = f"{clock} - {seconds}"
            conditions.append(
                f"{self._order[0]} < {f'CAST({settled} AS date)' if self.is_by_day else settled}"
            )
        return " AND ".join(conditions), values


def _quote_standard(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""').replace("%", "%%"))


def _quote_mysql(name: str) -> str:
    return "`{}`".format(name.replace("`", "``").replace("%", "%%"))
