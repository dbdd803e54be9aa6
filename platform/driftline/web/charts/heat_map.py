"""The heat map of drift: a row a feature, a cell a window.

A cell that did not drift is blue or grey, one that did is orange, the darker the more times its own limit the value is.

Three months of thirty features are thousands of cells, which a template would take a quarter of a second to write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from driftline.base.number_format import format_number
from driftline.base.periods import dated
from driftline.web.pages.templatetags.figures import cell as short
from driftline.web.pages.templatetags.figures import decision_of, drift_words, times_limit
from driftline.web.pages.timerange import TimeRange, in_address
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS
from monitors.metrics.limits import JUDGED, NOT_SIGNIFICANT, RAISED, is_drifted
from monitors.metrics.references.loaded import LoadedReference
from monitors.metrics.store.models import MetricPoint

MAX_COLUMNS = 92


@dataclass(frozen=True)
class HeatMapRow:
    """A feature's days: its cells as HTML, how many of them drifted, and the newest that was judged."""

    feature: str
    url: str
    cells: SafeString
    importance: float | None
    drifted: int
    newest: MetricPoint | None
    advice: str = ""  # what would tell more, where the newest window cannot tell
    dimension: int | None = None  # of a vector


@dataclass(frozen=True)
class HeatMap:
    """The days, and the features: the one that drifted on most days first."""

    rows: list[HeatMapRow]
    days: list[datetime]


@dataclass(frozen=True)
class _Column:
    """A day as a cell names it and links to it."""

    start: datetime
    name: str
    query: str


def heat_map(
    model: Model,
    points: Iterable[MetricPoint],
    reference: LoadedReference | None,
    chosen: TimeRange,
    span: str = "day",
    *,
    links: bool = True,
) -> HeatMap:
    """Lay out the judged points of one metric in windows of a span; `links` lead to the pages of the features."""
    by_feature: dict[str, dict[datetime, MetricPoint]] = {}
    for point in points:
        by_feature.setdefault(point.feature, {})[point.start] = point
    days = sorted({day for cells in by_feature.values() for day in cells})[-MAX_COLUMNS:]
    columns = [_column(day, chosen, span) for day in days]
    importance = reference.importance if reference else {}
    rows = [
        _row(
            name,
            reverse("feature", args=[model.name, name]) if links else "",
            cells,
            columns,
            importance.get(name),
        )
        for name, cells in by_feature.items()
    ]
    return HeatMap(sorted(rows, key=_badness, reverse=True), days)


def _column(start: datetime, chosen: TimeRange, span: str) -> _Column:
    query = {"day": in_address(start)}
    if not chosen.is_default:
        query |= {"from": f"{chosen.start:%Y-%m-%d}", "to": f"{chosen.last_day:%Y-%m-%d}"}
    name = f"{start:%-d %b}" if span == "day" else dated(start, span)
    return _Column(start, name, urlencode(query))


def _badness(row: HeatMapRow) -> tuple[bool, int, float]:
    newest = row.newest
    beyond = (newest.value or 0) / (newest.threshold or 1) if newest else 0.0
    return row.feature not in ANSWER_COLUMNS, row.drifted, beyond


def _row(
    name: str,
    url: str,
    points: dict[datetime, MetricPoint],
    columns: Sequence[_Column],
    importance: float | None,
) -> HeatMapRow:
    ordered = [points.get(column.start) for column in columns]
    judged = [point for point in ordered if point is not None and point.status in JUDGED]
    written = escape(name)
    cells = [
        _cell(point, f"{written}, {column.name}", escape(f"{url}?{column.query}{_by(point)}") if url else "")
        for column, point in zip(columns, ordered, strict=True)
    ]
    return HeatMapRow(
        feature=name,
        url=url,
        cells=mark_safe("".join(cells)),
        importance=importance,
        drifted=sum(is_drifted(point) for point in judged),
        newest=judged[-1] if judged else None,
        advice=_advice(ordered),
    )


def _advice(ordered: Sequence[MetricPoint | None]) -> str:
    newest = next(
        (point for point in reversed(ordered) if point is not None and point.value is not None), None
    )
    if newest is None or newest.status != "not_informative":
        return ""
    return str((newest.__dict__.get("detail") or {}).get("advice", ""))


def _by(point: MetricPoint | None) -> str:
    """Write into the address whether its window is one of quality: its monitor may judge windows of another length."""
    is_quality = point is not None and METRICS[point.metric].kind == MonitorKind.QUALITY
    return f"&by={MonitorKind.QUALITY}" if is_quality else ""


def _cell(point: MetricPoint | None, heading: str, address: str) -> str:
    """Write one cell; `heading` and `address` are escaped already, and without an address it is no link.

    Of the statistic that decided it shows how many times its limit the value is: those of different ones compare.
    """
    if point is not None and point.status == "insufficient":
        look, text, detail = "few", f"n={point.n}", f"only {point.n} rows"
    elif point is None or point.value is None:
        label = f"{heading}, no data"
        return f'<td class="c none" title="{label}"><span aria-label="{label}">·</span></td>'
    else:
        look = "unsure" if point.status == "not_informative" else _look(point, point.value)
        text, detail = short(_shown(point, point.value)), _describe(point, point.value)
    label = f"{heading}, {escape(detail)}"
    label_of_text = f'aria-label="{text}, {label}"'
    link = (
        f'<a href="{address}" {label_of_text}>{text}</a>'
        if address
        else f"<span {label_of_text}>{text}</span>"
    )
    return f'<td class="c {look}" title="{label}">{link}</td>'


def _shown(point: MetricPoint, value: float) -> float:
    times = times_limit(point) if decision_of(point) else None
    return value if times is None else times


def _describe(point: MetricPoint, value: float) -> str:
    limit = "" if point.threshold is None else f", limit {format_number(point.threshold)}"
    decision = decision_of(point)
    chance = f", {decision}" if decision else ""
    return (
        f"{METRICS[point.metric].title} {format_number(value)}{limit}{chance}, {drift_words(point).lower()}"
    )


def _look(point: MetricPoint, value: float) -> str:
    """Choose the class of a cell: by how far a value went where it counts, and how near its limit it came elsewhere."""
    times = (
        value / point.threshold if point.threshold else 8 * value
    )  # without a limit a quarter of the rows is much
    if point.status in RAISED:
        return f"d{1 + (times > 2) + (times > 4)}"
    if point.status == NOT_SIGNIFICANT:
        return "chance"
    return "s1" if times > 0.5 else "s0"
