"""Times with nanoseconds: a place in a table is exact, and a `datetime` ends at microseconds."""

from datetime import datetime
from typing import Self


class NanosecondTime(datetime):
    """A time, and the nanoseconds (1 to 999) after its microsecond.

    Equality and the hash regard the nanoseconds. Order, arithmetic, `replace`, `astimezone`, text and pickles do not:
    what they give is as of the microsecond.
    """

    nanosecond: int = 0

    @classmethod
    def after(cls, moment: datetime, nanosecond: int) -> Self:
        """Return the time so many nanoseconds after a moment."""
        time = cls.combine(moment.date(), moment.timetz())
        time.nanosecond = nanosecond
        return time

    def truncated(self) -> datetime:
        """Return the time without its nanoseconds."""
        return datetime.combine(self.date(), self.timetz())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, datetime) or not super().__eq__(other):
            return False
        return self.nanosecond == nanosecond_of(other)

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.nanosecond))


def nanosecond_of(moment: datetime) -> int:
    """Return the nanoseconds after the microsecond of a time: 0 where it ends there."""
    return moment.nanosecond if isinstance(moment, NanosecondTime) else 0
