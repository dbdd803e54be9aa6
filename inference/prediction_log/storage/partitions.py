"""The partitions of the log: one for each event day of packed chunks, one for each week in which narrow rows arrive.

They are made ahead and when needed, and dropped whole; there is no default partition. A new one is made beside its
table and attached, which stops neither readers nor writers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from driftline.base.periods import day_of, floor
from driftline.base.work.advisory_locks import AdvisoryLock, lock

DAYS_AHEAD = 2


@dataclass(frozen=True)
class Partitioned:
    """A table in partitions of `days` days, each named for the first of them."""

    table: str
    prefix: str
    days: int

    def make(self, starts: Iterable[date]) -> None:
        """Make a partition from each of these days on; several processes may ask at once."""
        for start in sorted({start for start in starts if not self.has(start)}):
            with transaction.atomic(), connection.cursor() as cursor:
                lock(AdvisoryLock.PARTITIONS)
                if not self.has(start):
                    cursor.execute(f"CREATE TABLE {self._name(start)} (LIKE {self.table} INCLUDING ALL)")
                    cursor.execute(
                        f"ALTER TABLE {self.table} ATTACH PARTITION {self._name(start)} "
                        "FOR VALUES FROM (%s) TO (%s)",
                        [start, start + timedelta(days=self.days)],
                    )

    def has(self, start: date) -> bool:
        """Look in the catalogue's table: what a session remembers of names may be older than a lock it waited for."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_class WHERE relname = %s)", [self._name(start)])
            return bool(cursor.fetchone()[0])

    def starts(self) -> list[date]:
        """List the days on which a partition starts."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT right(relname, 8)::date FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
                "WHERE inhparent = %s::regclass ORDER BY 1",
                [self.table],
            )
            return [start for (start,) in cursor.fetchall()]

    def keep(self) -> None:
        """Keep every partition from being dropped until the caller's transaction ends."""
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE ONLY {self.table} IN ACCESS SHARE MODE")

    def lock(self) -> None:
        """Keep everybody from the table until the caller's transaction ends."""
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE ONLY {self.table} IN ACCESS EXCLUSIVE MODE")

    def drop(self, start: date) -> None:
        """Drop a partition with all that is in it."""
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self._name(start)}")

    def _name(self, start: date) -> str:
        return f"{self.prefix}{start:%Y%m%d}"


DAYS = Partitioned("inference_predictionchunk_packed", "inference_predictionchunk_d", 1)
WEEKS = Partitioned("inference_predictionrow", "inference_predictionrow_w", 7)


def make_ahead(now: datetime) -> None:
    """Make the partitions for the present and what comes next."""
    today, week = day_of(now), floor(now, "week").date()
    DAYS.make(today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1))
    WEEKS.make([week, week + timedelta(weeks=1)])


def oldest_week() -> date:
    """Return the first week whose narrow rows are still there."""
    return min(WEEKS.starts(), default=date.max)
