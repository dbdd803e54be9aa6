"""How numbers, times and states are written on pages."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.forms import BoundField
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from driftline.common.clock import now
from driftline.common.number_format import format_number
from driftline.common.periods import parse_timestamp, rfc3339
from driftline.pages import charts
from monitors.alerts import wording
from monitors.metrics.catalogue import METRICS
from monitors.metrics.models import MetricPoint

register = template.Library()

NOTHING = "—"
HALF_PERCENTS = 200
WORDS = {
    "ok": "OK",
    "warning": "Warning",
    "critical": "Critical",
    "notice": "Notice",
    "no_data": "No data",
    "insufficient": "Too few rows",
    "unripe": "Labels pending",
    "unreliable": "Did not come true",
    "error": "Error",
    "open": "Open",
    "acknowledged": "Acknowledged",
    "resolved": "Resolved",
}
LOOKS = {  # which of the shapes a state is drawn with
    "ok": "ok", "resolved": "ok", "sent": "ok", "done": "ok", "promoted": "ok", "normal": "ok", "ready": "ok",
    "warning": "warning", "notice": "notice", "acknowledged": "notice", "pending": "notice", "waiting": "notice",
    "running": "notice", "queued": "notice", "building": "notice", "open": "notice", "firing": "warning",
    "critical": "critical", "error": "critical", "failed": "critical", "rejected": "warning",
}  # fmt: skip
_SHAPES = {
    "ok": '<circle cx="8" cy="8" r="7"/><path class="ink" d="M4.6 8.2l2.4 2.4 4.4-5"/>',
    "warning": '<path d="M8 1.2 15.2 14.6H.8z"/><path class="ink" d="M8 6v4M8 12.1v.3"/>',
    "critical": '<path d="M5 .8h6L15.2 5v6L11 15.2H5L.8 11V5z"/><path class="ink" d="M5.4 5.4l5.2 5.2m0-5.2-5.2 5.2"/>',
    "notice": '<rect x="1.5" y="1.5" width="13" height="13" rx="3"/><path class="ink" d="M8 7.2v4M8 4.6v.2"/>',
    "none": '<circle cx="8" cy="8" r="6.4"/>',
}


@register.filter
def place(percent: float | str) -> str:
    """Name the class of `places.css` that holds a place or width in per cent, to the half: no style attribute may."""
    halves = round(float(str(percent).removesuffix("%")) * 2)
    whole, half = divmod(min(max(halves, 0), HALF_PERCENTS), 2)
    return f"p{whole}-5" if half else f"p{whole}"


@register.filter
def figure(value: Any, digits: int = 3) -> str:
    """Write a number with so many significant digits, for a column; a dash where there is none."""
    if value is None or value == "":
        return NOTHING
    number = float(value)
    return NOTHING if number != number else format_number(number, digits, pad=True)


@register.filter
def bound(value: float | None) -> str:
    """Write the end of an interval; what only rounding keeps from 0 is 0."""
    return figure(value if value is None else round(value, 9))


@register.filter
def cause_name(cause: dict[str, Any]) -> str:
    return str(cause.get("feature") or cause.get("segment") or NOTHING)


@register.filter
def cell(value: float) -> str:
    """Write a number for a narrow cell of the heat map."""
    if value >= 10 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}".lstrip("0")


@register.filter
def evidence(value: Any) -> str:
    """Write a value that a step found."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return figure(value, 4) if isinstance(value, float) else str(value)


@register.filter
def signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.4f}"


@register.simple_tag
def interval(lower: Any, upper: Any) -> str:
    """Write an interval; a dash where there is none."""
    return NOTHING if lower in (None, "") else f"{bound(lower)} \N{EN DASH} {figure(upper)}"


@register.simple_tag
def signed_interval(lower: Any, upper: Any) -> str:
    """Write the interval of a difference; a dash where there is none."""
    return NOTHING if lower in (None, "") else f"{signed(lower)} to {signed(upper)}"


@register.filter
def count(value: float | str | None) -> str:
    """Write a whole number; what a template did not find comes as an empty text."""
    return f"{value:,.0f}" if isinstance(value, int | float) else NOTHING


@register.filter
def percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.1%}" if 0 < abs(value) < 0.1 else f"{value:.0%}"


@register.filter
def measured(value: float | None, metric: str) -> str:
    """Write a metric's value with its unit."""
    unit = METRICS[metric].unit if metric in METRICS else ""
    if value is None:
        return NOTHING
    if metric in (
        "error_rate",
        "shadow_drop_rate",
        "label_coverage",
        "label_coverage_by_class",
        "missing_share",
        "wrong_type_share",
        "unseen_share",
        "out_of_range_share",
        "mode_share",
    ):
        return percent(value)
    return f"{figure(value)} {unit}" if unit in ("ms", "rows/s", "h") else figure(value)


@register.filter
def metric_title(name: str) -> str:
    return METRICS[name].title if name in METRICS else name


@register.filter
def realised_title(name: str) -> str:
    """Name the metric that an estimate is of."""
    return metric_title(name.removeprefix("estimated_"))


@register.filter
def direction(name: str) -> str:
    if name not in METRICS:
        return ""
    return "lower is better" if METRICS[name].lower_is_better else "higher is better"


@register.filter
def when(moment: datetime | None) -> SafeString:
    """Write a time in UTC, with its ISO form in the title."""
    return _time(moment, "%-d %b %Y %H:%M") if moment else SafeString(NOTHING)


@register.filter
def stored_time(value: str | datetime) -> SafeString:
    """Write a time that may have been read from a JSON column."""
    return when(value if isinstance(value, datetime) else parse_timestamp(value))


@register.filter
def day(moment: datetime | None) -> SafeString:
    """Write a date in UTC, with its ISO form in the title."""
    return _time(moment, "%-d %b %Y") if moment else SafeString(NOTHING)


def _time(moment: datetime, form: str) -> SafeString:
    moment = moment.astimezone(UTC)
    iso = rfc3339(moment.replace(microsecond=0))
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, iso, moment.strftime(form))


@register.filter
def ago(moment: datetime | None) -> str:
    """Write how long ago something happened on the machine's clock."""
    return f"{wording.duration(now() - moment)} ago" if moment else "never"


@register.filter
def lasting(length: timedelta | None) -> str:
    return wording.duration(length) if length is not None else NOTHING


@register.filter
def seconds(length: timedelta | None) -> str:
    if length is None:
        return NOTHING
    total = length.total_seconds()
    return f"{total:.1f} s" if total < 60 else wording.duration(length)


@register.simple_tag
def badge(state: str, word: str = "") -> SafeString:
    """Write a state as shape, word and colour together."""
    look = LOOKS.get(state, "none")
    return format_html(
        '<span class="badge {}"><svg viewBox="0 0 16 16" aria-hidden="true">{}</svg>{}</span>',
        look, mark_safe(_SHAPES[look]), word or WORDS.get(state, state.replace("_", " ").capitalize()),
    )  # fmt: skip


@register.simple_tag
def drift_badge(point: MetricPoint) -> SafeString:
    """Write the state of a feature's drift: by itself it is no emergency, however far it goes.

    Among many features some statistic crosses its limit by chance: then it is not sure enough to count.
    """
    if point.status == "ok":
        return badge("ok", "May be chance" if point.is_beyond else "Within its limit")
    return badge("warning", "Drifted") if point.status in ("warning", "critical") else badge(point.status)


@register.simple_tag
def spark(values: list[float | None]) -> SafeString:
    return charts.sparkline(values)


@register.filter
def sentence(verdict: Any) -> SafeString:
    return verdict.html()


@register.filter
def pretty(value: Any) -> str:
    """Write stored JSON for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def words(name: str) -> str:
    """Turn a snake-case name into words."""
    return name.replace("_", " ").capitalize()


@register.inclusion_tag("partials/field.html")
def field(bound: BoundField, unit: str = "") -> dict[str, Any]:
    """Write a form's field with its label, help and errors, tied together for screen readers."""
    return {"field": bound, "unit": unit, "help_id": f"{bound.id_for_label}_help"}
