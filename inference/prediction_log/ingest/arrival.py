"""The weeks in which rows arrive: narrow rows lie in the partition of theirs, and an id is refused across them.

A unique key of a partitioned table holds within a partition only, so a writer also looks for its ids in the weeks
before. At the turn of a week that is not enough: a writer of the old week may not have committed yet. So each writer
shares a lock of its week from the start, by the database's clock, and looks at the clock once more when it has it; the
first of each process in a new week waits until it can have the old week's lock alone. Nobody writes there after that.
"""

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial

from django.db import connection, transaction

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from inference.prediction_log.storage import partitions

_clock = "clock_timestamp()"
_FIRST_MONDAY = date(1970, 1, 5)
_closed: set[int] = set()  # weeks that this process has seen the last writer of


class WeekTurned(Exception):
    """Raised where a week ended while a writer waited for its lock."""


class WeekMissing(Exception):
    """Raised where a week has no partition yet."""

    def __init__(self, week: date) -> None:
        super().__init__(week)
        self.week = week


def in_arrival_week[Result](store: Callable[[date], Result]) -> Result:
    """Call `store` with the Monday of the present week, in a transaction that writes its rows there."""
    while True:
        try:
            with transaction.atomic():
                return store(_enter_week())
        except WeekMissing as missing:
            partitions.WEEKS.make([missing.week])
        except WeekTurned:
            pass


def _enter_week() -> date:
    with connection.cursor() as cursor:
        cursor.execute(_enter_statement())
        number, _, still = cursor.fetchone()
        if still != number:
            raise WeekTurned
        monday = _FIRST_MONDAY + timedelta(weeks=number)
        if number - 1 not in _closed:
            lock(AdvisoryLock.ARRIVAL_WEEK, number - 1)
            if not partitions.WEEKS.has(monday):
                raise WeekMissing(monday)
            transaction.on_commit(partial(_closed.add, number - 1))  # what undoes it undoes the partition
    return monday


def _enter_statement() -> str:
    """Share the lock of the week that the clock shows, and look at the clock before and after."""
    number = f"floor(extract(epoch FROM {_clock} - timestamptz '1970-01-05 00:00Z') / 604800)::int"
    return (
        f"SELECT week, pg_advisory_xact_lock_shared({AdvisoryLock.ARRIVAL_WEEK}, week), {number} "
        f"FROM (SELECT {number} AS week) AS before"
    )
