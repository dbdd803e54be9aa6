"""One day of a list, chosen above it or searched for by its date.

Django's own hierarchy of dates reads every row of a list to name the years and days that it has; a day is a range of
the column's index.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict
from unfold.views import ChangeList

from driftline.base.clock import now

DAY = "day"
_NEXT = timedelta(days=1)


class DayChangeList(ChangeList):
    """A list that shows one day of a column, where one was chosen."""

    clear_all_filters_qs: Any

    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        """Show the whole list where the day cannot be read, and say so."""
        super().__init__(request, *args, **options)
        text = self.params.get(DAY, "")
        if text and self.day is None:
            messages.error(request, f"{text[:60]!r} is no day such as 2026-06-15; the list shows all days.")

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Leave the day out: it is no lookup of a column."""
        return {name: value for name, value in super().get_filters_params(params).items() if name != DAY}

    def get_filters(self, request: HttpRequest) -> Any:
        *found, has_active_filters = super().get_filters(request)
        return *found, has_active_filters or self.day is not None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        kept = QueryDict(self.clear_all_filters_qs.removeprefix("?"), mutable=True)
        kept.pop(DAY, None)
        self.clear_all_filters_qs = f"?{kept.urlencode()}"
        return of_day(rows, self.model_admin.by_day, self.day) if self.day else rows

    @property
    def day(self) -> date | None:
        """The day that was chosen, in UTC; None where there is none, or it cannot be read."""
        return read_day(self.params.get(DAY, ""))

    @property
    def day_label(self) -> str:
        """What the day is of, such as *Day (UTC, last used)*."""
        name = str(self.opts.get_field(self.model_admin.by_day).verbose_name).removesuffix("at").strip()
        return f"Day (UTC, {name})" if name else "Day (UTC)"

    @property
    def kept_params(self) -> list[tuple[str, str]]:
        """The other parameters of the address, for the form that chooses a day."""
        return [(name, text) for name, texts in self.filter_params.items() if name != DAY for text in texts]

    @property
    def days_nearby(self) -> list[tuple[str, str]]:
        """What is one click away, with its address: the days before and after, or the newest, and all days."""
        if self.day is None:
            return [("Today", self._link(today())), ("Yesterday", self._link(today() - _NEXT))]
        return [
            ("← day before", self._link(self.day - _NEXT)),
            ("day after →", self._link(self.day + _NEXT)),
            ("all days", str(self.get_query_string({DAY: None}))),
        ]

    def _link(self, day: date) -> str:
        return str(self.get_query_string({DAY: day.isoformat()}))


def today() -> date:
    return now().astimezone(UTC).date()


def read_day(text: str) -> date | None:
    """Read a date such as 2026-06-15; None where the text is something else."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    is_plain = day.isoformat() == text and date.min < day < date.max - _NEXT
    return day if is_plain else None


def of_day[Row: Model](rows: QuerySet[Row], column: str, day: date) -> QuerySet[Row]:
    """Keep the rows with a time on this day in UTC."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return rows.filter(**{f"{column}__gte": start, f"{column}__lt": start + _NEXT})
