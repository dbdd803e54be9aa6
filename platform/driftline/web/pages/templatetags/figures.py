"""How numbers, times and states are written on pages."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from django import template
from django.forms import BoundField
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from driftline.base.clock import now
from driftline.base.number_format import format_number
from driftline.base.periods import counted, is_span, named, parse_timestamp, rfc3339
from driftline.base.state_words import state_word, words
from driftline.web.charts import svg as charts
from driftline.web.pages import timerange
from driftline.web.pages.account.display import localise
from monitors.alerts import wording
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.masking import mask_target, without_acts
from monitors.metrics.catalogue import METRICS, is_drift
from monitors.metrics.glossary import meaning_of
from monitors.metrics.limits import RAISED, is_drifted
from monitors.metrics.store.models import MetricPoint
from monitors.workflows.judging.verdict_text import LIVE, reasons_of_verdict

register = template.Library()

NOTHING = "—"
HALF_PERCENTS = 200
MIN_P_VALUE = 1e-4  # smaller ones read alike
LOOKS = {  # which of the shapes a state is drawn with
    "ok": "ok", "resolved": "ok", "sent": "ok", "done": "ok", "promoted": "ok", "normal": "ok", "ready": "ok",
    "warning": "warning", "notice": "notice", "acknowledged": "notice", "pending": "notice", "waiting": "notice",
    "running": "notice", "queued": "notice", "building": "notice", "open": "notice", "firing": "warning",
    "recovering": "notice", "active": "ok", "completed": "ok", "silent": "warning", "expired": "warning",
    "critical": "critical", "error": "critical", "failed": "critical", "rejected": "warning",
    "rolled_back": "critical", "aborted": "critical", "paused": "warning", "progressing": "notice",
    "watching": "notice", "succeeded": "ok", "compared": "ok", "champion": "ok", "registered": "ok", "listed": "ok",
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
def windows(n: int, span: str) -> str:
    """Write a number of windows; `auto` is of whatever span fits the traffic."""
    return counted(n, span if is_span(span or "") else "window")


@register.filter
def window_name(span: str) -> str:
    """Name one window of a span after an article."""
    return named(span)


@register.filter
def bound(value: float | None) -> str:
    """Write the end of an interval; what only rounding keeps from 0 is 0."""
    return figure(value if value is None else round(value, 9))


@register.filter
def cause_name(cause: dict[str, Any]) -> str:
    return str(cause.get("feature") or cause.get("segment") or NOTHING)


@register.filter
def cause_names(causes: Iterable[dict[str, Any]]) -> str:
    """Name causes in a line of a list; broken data and drift of one feature are one name."""
    return ", ".join(dict.fromkeys(cause_name(cause) for cause in causes)) or NOTHING


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
        "impossible_share",
        "mode_share",
    ):
        return percent(value)
    return f"{figure(value)} {unit}" if unit in ("ms", "rows/s", "h") else figure(value)


@register.filter
def metric_title(name: str) -> str:
    return METRICS[name].title if name in METRICS else name


@register.simple_tag
def metric(name: str) -> SafeString:
    """Name a metric, with what it means under the pointer and its line of the reference behind it."""
    meaning, title = meaning_of(name), metric_title(name)
    if not meaning:
        return format_html("{}", title)
    return format_html(
        '<a class="term" href="/docs/reference/metrics.html" title="{}">{}</a>',
        meaning,
        title,
    )


@register.filter
def channel_title(kind: str) -> str:
    """Name a kind of channel; one that is no longer registered keeps its bare name."""
    return KINDS[kind].title if kind in KINDS else kind


register.filter("masked", mask_target)
register.filter("state", state_word)
register.filter("words", words)
register.filter("without_acts", without_acts)


@register.filter
def realised_title(name: str) -> str:
    """Name the metric that an estimate is of."""
    return metric_title(name.removeprefix("estimated_"))


@register.filter
def direction(name: str) -> str:
    return METRICS[name].direction if name in METRICS else ""


@register.filter
def when(moment: datetime | None) -> SafeString:
    """Write a moment in the reader's time zone, with its ISO form in UTC in the title."""
    return _time(moment, localise(moment).strftime("%-d %b %Y %H:%M")) if moment else SafeString(NOTHING)


@register.filter
def stored_time(value: str | datetime) -> SafeString:
    """Write a time that may have been read from a JSON column."""
    return when(value if isinstance(value, datetime) else parse_timestamp(value))


@register.filter
def day(moment: datetime | None) -> SafeString:
    """Write a date in UTC, with its ISO form in the title."""
    return _time(moment, moment.astimezone(UTC).strftime("%-d %b %Y")) if moment else SafeString(NOTHING)


def _time(moment: datetime, text: str) -> SafeString:
    iso = rfc3339(moment.astimezone(UTC).replace(microsecond=0))
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, iso, text)


@register.filter
def in_address(moment: datetime) -> str:
    """Write the start of a window as a link names it."""
    return timerange.in_address(moment)


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
        look, mark_safe(_SHAPES[look]), word or state_word(state),
    )  # fmt: skip


@register.filter
def repair_sentence(repair: dict[str, Any]) -> str:
    """Write the measured repair of a promotion: both champions on the same requests, and whether that is better."""
    has_interval = repair["lower"] is not None and repair["upper"] is not None
    bounds = f" ({repair['lower']:+.4f} to {repair['upper']:+.4f})" if has_interval else ""
    return (
        f"{repair['new']:.4f} against {repair['old']:.4f} of the old champion on {repair['pairs']:,} labelled requests "
        f"that both answered: {repair['difference']:+.4f}{bounds}, {repair['verdict']}"
    )


@register.simple_tag
def drift_badge(point: MetricPoint) -> SafeString:
    """Write the state of a feature's drift: by itself it is no emergency, however far it goes."""
    look = "warning" if point.status in RAISED else point.status
    return badge(look, drift_words(point))


def drift_words(point: MetricPoint) -> str:
    """Return how a judged point of a column stands to the limit beside it."""
    if point.status in RAISED:
        if point.rule:
            return "Beyond its rule's limit"
        if not is_drift(point.metric):
            return "Beyond its limit"
        return "Drifted" if point.is_beyond else "Drifted by another statistic"
    if point.status != "ok":
        return state_word(point.status)
    return "Drifted, within its rule's limit" if is_drifted(point) else "Within its limit"


@register.filter
def times_limit(point: MetricPoint) -> float | None:
    """Return how many times its limit a value is; None without a value or a limit."""
    return point.value / point.threshold if point.value is not None and point.threshold else None


@register.filter
def decision_of(point: MetricPoint) -> str:
    """Return how far a statistic that decided lies from its limit, and its p-value; empty where it did not decide."""
    detail = point.__dict__.get("detail") or {}  # reading what was deferred would ask the database for each
    times = times_limit(point)
    if not detail.get("decides") or times is None:
        return ""
    return f"{times:.1f} times its limit, {chance(detail.get('decision_p_value'))}".rstrip(", ")


@register.filter
def chance(p_value: float | None) -> str:
    """Write a p-value."""
    if p_value is None:
        return ""
    return "p < 0.0001" if p_value < MIN_P_VALUE else f"p {format_number(p_value, 2)}"


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


@register.simple_tag(takes_context=True)
def chart_url(context: Context, chart: charts.Chart, form: str) -> str:
    """Link to one chart of this page alone, as a `figure` for Plotly or as `csv`."""
    request = context["request"]
    query = request.GET.copy()
    query["chart"], query["as"] = chart.id, form
    return f"{request.path}?{query.urlencode()}"


@register.simple_tag(takes_context=True)
def view_link(context: Context) -> str:
    """Link to what this page shows now: its range as absolute times, its window, and all else that it was asked for."""
    request = context["request"]
    query = request.GET.copy()
    for name in ("chart", "as", "part"):
        query.pop(name, None)
    shown = context.get("day") or getattr(context.get("window"), "start", None)
    if isinstance(shown, datetime):
        query["day"] = rfc3339(shown).removesuffix("T00:00:00Z")
    for name, value in context["range"].absolute.items():
        query[name] = value
    return f"{request.path}?{query.urlencode()}"


@register.inclusion_tag("partials/field.html")
def field(bound: BoundField, unit: str = "") -> dict[str, Any]:
    """Write a form's field with its label, help and errors, tied together for screen readers."""
    return {"field": bound, "unit": unit, "help_id": f"{bound.id_for_label}_help"}


@register.filter
def reasons(verdict: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """List a verdict's reasons by the comparison that they are drawn from; that of labelled pairs has no name."""
    groups = groupby(reasons_of_verdict(verdict), key=lambda reason: reason.comparison)
    return [("" if name == LIVE else name, [one.sentence for one in group]) for name, group in groups]


@register.filter("json")
def one_line_json(value: Any) -> str:
    """Write a value on one line, as a document has it."""
    return json.dumps(value, ensure_ascii=False)
