"""The heat map of drift: a row a feature, a cell a day, its colour how many times its own limit a value is.

Three months of thirty features are thousands of cells, which a template would take a quarter of a second to write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from driftline.pages import queries
from driftline.pages.templatetags.figures import cell as short
from driftline.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.metrics.catalogue import METRICS
from monitors.metrics.models import MetricPoint
from monitors.metrics.references.loaded import LoadedReference

STEPS = 5
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


@dataclass(frozen=True)
class HeatMap:
    """The features, what stands furthest off first, and the days."""

    rows: list[HeatMapRow]
    days: list[datetime]


@dataclass(frozen=True)
class _Column:
    """A day as a cell names it and links to it."""

    start: datetime
    name: str
    query: str


def heat_map(
    model: Model, points: Iterable[MetricPoint], reference: LoadedReference | None, chosen: TimeRange
) -> HeatMap:
    """Lay out the points of one metric."""
    by_feature: dict[str, dict[datetime, MetricPoint]] = {}
    for point in points:
        by_feature.setdefault(point.feature, {})[point.start] = point
    days = sorted({day for cells in by_feature.values() for day in cells})[-MAX_COLUMNS:]
    columns = [_column(day, chosen) for day in days]
    importance = reference.importance if reference else {}
    rows = [
        _row(name, reverse("feature", args=[model.name, name]), cells, columns, importance.get(name))
        for name, cells in by_feature.items()
    ]
    return HeatMap(sorted(rows, key=_badness, reverse=True), days)


def _column(day: datetime, chosen: TimeRange) -> _Column:
    query = {"day": f"{day.astimezone(UTC):%Y-%m-%d}"}
    if not chosen.is_default:
        query |= {"from": f"{chosen.start:%Y-%m-%d}", "to": f"{chosen.last_day:%Y-%m-%d}"}
    return _Column(day, f"{day:%-d %b}", escape(f"?{urlencode(query)}"))


def _badness(row: HeatMapRow) -> tuple[bool, int, float]:
    newest = row.newest
    beyond = (newest.value or 0) / (newest.threshold or 1) if newest else 0.0
    return row.feature not in queries.NOT_FEATURES, row.drifted, beyond


def _row(
    name: str,
    url: str,
    points: dict[datetime, MetricPoint],
    columns: Sequence[_Column],
    importance: float | None,
) -> HeatMapRow:
    ordered = [points.get(column.start) for column in columns]
    judged = [point for point in ordered if point is not None and point.status in queries.JUDGED]
    written, address = escape(name), escape(url)
    cells = [
        _cell(point, f"{written}, {column.name}", address + column.query)
        for column, point in zip(columns, ordered, strict=True)
    ]
    return HeatMapRow(
        feature=name,
        url=url,
        cells=mark_safe("".join(cells)),
        importance=importance,
        drifted=sum(point.status in ("warning", "critical") for point in judged),
        newest=judged[-1] if judged else None,
    )


def _cell(point: MetricPoint | None, heading: str, address: str) -> str:
    """Write one cell; `whose` and `address` are escaped."""
    if point is None or point.value is None:
        label = f"{heading}, no data"
        return f'<td class="c none" title="{label}"><span aria-label="{label}">·</span></td>'
    if point.status == "insufficient":
        look, text, said = "few", f"n={point.n}", f"only {point.n} rows"
    else:
        look, text, said = f"s{_step(point)}", short(point.value), _said(point, point.value)
    label = f"{heading}, {said}"
    link = f'<a href="{address}" aria-label="{text}, {label}">{text}</a>'
    return f'<td class="c {look}" title="{label}">{link}</td>'


def _said(point: MetricPoint, value: float) -> str:
    limit = "" if point.threshold is None else f", limit {point.threshold:.3g}"
    word = "drifted" if point.status in ("warning", "critical") else "within its limit"
    return f"{METRICS[point.metric].title} {value:.3g}{limit}, {word}"


def _step(point: MetricPoint) -> int:
    """Choose one of five steps by how many times its own limit the value is: below half, 1, 2, 4, beyond."""
    if not point.threshold:
        return 0 if not point.value else min(STEPS - 1, 1 + int((point.value or 0) * 4))
    times = (point.value or 0) / point.threshold
    return sum(times > edge for edge in (0.5, 1, 2, 4))
