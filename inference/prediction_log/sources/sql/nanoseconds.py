"""Times with nanoseconds: a place in a table is exact, and a `datetime` ends at microseconds."""

from datetime import datetime
from typing import Self


class NanosecondTime(datetime):
    """A time, and the nanoseconds (1 to 999) after its microsecond."""

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
        return self.nanosecond == getattr(other, "nanosecond", 0)

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.nanosecond))
