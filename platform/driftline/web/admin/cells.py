"""How the admin writes the columns that Django shows as they are stored: JSON, durations, long texts."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.contrib.admin import display
from django.db import models
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from driftline.base.accounts.audit.trail import AuditChange, changes_of
from driftline.base.accounts.models import AuditEntry

NOTHING = "-"
MAX_CELL = 120
"""Characters of a cell of a list; the page of the row has all."""
_NO_LIMIT_AT_ZERO = ("requests_per_second",)
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))

type Column = str | Callable[[Any], Any]
type AnyField = models.Field[Any, Any]


def list_column(field: AnyField) -> Column:
    """Return the column of a list for a field: its name, where Django writes it well."""
    return _column(field, lambda value: Truncator(in_words(value)).chars(MAX_CELL))


def page_column(field: AnyField) -> Column:
    """Return the line for a field on the page of a row: its name, where Django writes it well."""
    if isinstance(field, models.TextField):
        return _named(field, _text)
    return _column(field, _lines)


def is_long(field: AnyField) -> bool:
    """Return whether a field may fill a screen, so that it is shown below the others."""
    return isinstance(field, models.TextField | models.JSONField)


def in_words(value: Any) -> str:
    """Write a value of JSON or a duration on one line."""
    match value:
        case None:
            return NOTHING
        case str() | list() | tuple() | Mapping() if not value:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return _duration(value)
        case Mapping():
            return "; ".join(f"{name}: {in_words(part)}" for name, part in value.items())
        case list() | tuple():
            return ", ".join(
                f"({in_words(part)})" if isinstance(part, Mapping) else in_words(part) for part in value
            )
        case _:
            return str(value)


@display(description="change")
def changes_in_words(entry: AuditEntry) -> str:
    """Write what an audit entry changed, field by field; its page has what is cut off."""
    changes = [one for one in changes_of(entry) if {in_words(one.before), in_words(one.after)} != {NOTHING}]
    return Truncator("; ".join(map(_change, changes)) or NOTHING).chars(MAX_CELL)


def _change(change: AuditChange) -> str:
    before, after = in_words(change.before), in_words(change.after)
    if change.before is None:
        return f"{change.field}: {after}"
    return f"{change.field}: {before} → {after if change.after is not None else 'nothing'}"


def _column(field: AnyField, write: Callable[[Any], Any]) -> Column:
    if isinstance(field, models.JSONField | models.DurationField):
        return _named(field, write)
    if field.name in _NO_LIMIT_AT_ZERO:
        return _named(field, lambda value: value or "no limit")
    return field.name


def _named(field: AnyField, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a column that is named and sorted as the field is."""

    @display(description=str(field.verbose_name), ordering=field.name)
    def column(row: Any) -> Any:
        return write(getattr(row, field.name))

    column.__name__ = field.name
    return column


def _lines(value: Any) -> Any:
    """Write an object with a line for each of its fields."""
    if not isinstance(value, Mapping) or not value:
        return in_words(value)
    lines = ((name, in_words(part)) for name, part in value.items())
    return format_html_join("", '<div class="break-all">{}: {}</div>', lines)


def _text(value: str) -> SafeString | str:
    """Write a text in a box that scrolls, where it is long."""
    box = '<div class="long-text" tabindex="0">{}</div>'
    return format_html(box, value) if value else NOTHING


def _duration(value: timedelta) -> str:
    rest, parts = int(value.total_seconds()), []
    for unit, seconds in _UNITS:
        number, rest = divmod(rest, seconds)
        if number:
            parts.append(f"{number} {unit}{'s' if number > 1 else ''}")
    return " ".join(parts) or "none"
