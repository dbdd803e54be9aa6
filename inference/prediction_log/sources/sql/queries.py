"""The statements that read a table: in the order of (watermark, keys), behind a place, and never newer than the lag."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.prediction_log.sources.sql.dialects import DIALECTS
from inference.prediction_log.sources.sql.settings import SqlSettings

_SEEN = 100  # watermarks, to find their type


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
    come, before others of that day. It is None until the table shows, as is whether watermarks have a zone.
    """

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self.is_by_day: bool | None = None
        self.has_zone = False
        self._dialect = DIALECTS[settings.engine]
        quote = self._dialect.quote
        self._table = self._dialect.table_of(settings)
        self._order = [quote(name) for name in (settings.watermark, *settings.keys)]
        columns = ", ".join(map(quote, settings.columns)) or self._dialect.all_columns(self._table)
        # Names of their own, as BigQuery refuses columns of one name.
        place = [f"{name} AS driftline_place_{number}" for number, name in enumerate(self._order)]
        self._selected = ", ".join([columns, *place])

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
        """Read some watermarks, to see of which type they are; the first may be one that says nothing of it."""
        return Query(
            f"SELECT {self._order[0]} FROM {self._table} WHERE {self._order[0]} IS NOT NULL LIMIT {_SEEN}",
            max_rows=_SEEN,
        )

    def _beyond(self, after: Sequence[Any] | None) -> tuple[str, Sequence[Any]]:
        """Return the condition on rows behind a place: those without a watermark or a key never meet it."""
        conditions = [f"{name} IS NOT NULL" for name in self._order]
        values: list[Any] = []
        if after is not None:
            # The first part lets an index or a partition of the watermark alone lead to the place.
            behind, places = self._dialect.behind(self._order, after)
            conditions += [f"{self._order[0]} >= {self._dialect.placeholder}", behind]
            values = [after[0], *places]
        if self._settings.lag_seconds or self.is_by_day:
            conditions.append(self._settled())
        return " AND ".join(conditions), values

    def _settled(self) -> str:
        """Return the condition that a watermark is so old that no transaction adds rows before it."""
        watermark = self._order[0]
        settled = self._dialect.time_before_now(self._settings.lag_seconds, has_zone=self.has_zone)
        if self.is_by_day:
            return f"{watermark} < CAST({settled} AS date)"
        return f"{self._dialect.as_time(watermark)} < {settled}"
