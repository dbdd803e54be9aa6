"""When a schedule is due: cron's five fields in a time zone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from celery.schedules import ParseException, crontab_parser

MAX_LETTERS = 100
_HORIZON = timedelta(days=5 * 366)  # the 29th of February comes within it

_PARSERS = (
    crontab_parser(60), crontab_parser(24), crontab_parser(31, 1), crontab_parser(12, 1), crontab_parser(7)
)  # fmt: skip
"""Of the five fields: minute, hour, day of the month, month and weekday, Sunday being 0."""
_SUNDAY_AS_7 = re.compile(r"(?<![/\d])7(?!\d)")


class BadSchedule(ValueError):
    """The text is no schedule; the message says what one looks like."""


@dataclass(frozen=True)
class Schedule:
    """A cron expression such as `0 3 * * 1` (Mondays at 3:00) in a zone.

    Where both a day of the month and a day of the week are named, either of them counts, as cron has it.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_of_both: bool
    zone: str

    @classmethod
    def parse(cls, text: str, zone: str) -> "Schedule":
        """Read a schedule; raises BadSchedule."""
        fields = text.split() if len(text) <= MAX_LETTERS else []
        if len(fields) != 5:
            raise BadSchedule("Use five fields: minute, hour, day, month and weekday, such as 0 3 * * 1.")
        try:
            fields[4] = _SUNDAY_AS_7.sub("0", fields[4])
            numbers = [parser.parse(field) for parser, field in zip(_PARSERS, fields, strict=True)]
        except (ParseException, ValueError, ZeroDivisionError) as error:
            raise BadSchedule(
                f"{text!r} is no cron expression; use one such as 0 3 * * 1 (Mondays at 3:00)."
            ) from error
        minutes, hours, days, months, weekdays = numbers
        schedule = cls(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(weekdays),
            any_of_both=fields[2] != "*" and fields[4] != "*",
            zone=zone,
        )
        if schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is None:
            raise BadSchedule(f"{text!r} names a day that never comes.")
        return schedule

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first time after a moment, in UTC; None where none comes within five years.

        An hour that the clock skips counts as the next one, and of one that comes twice the first counts.
        """
        local = moment.astimezone(ZoneInfo(self.zone))
        for offset in range(_HORIZON.days):
            for due in self._of_day(local.date() + timedelta(days=offset)):
                if due > moment:
                    return due
        return None

    def _of_day(self, day: date) -> Iterator[datetime]:
        if not self._is_on(day):
            return
        for hour in self.hours:
            for minute in self.minutes:
                yield datetime(
                    day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(self.zone)
                ).astimezone(UTC)

    def _is_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.any_of_both else by_date and by_weekday
