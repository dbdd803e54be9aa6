"""Pictures drawn on the server: they need no script, and their words are text on the page.

`plotly_figures` describes the same charts to Plotly, which draws them for those who zoom.

An SVG is stretched to the width that there is; strokes keep their width, points are strokes without length,
and all text is HTML beside it, so that it is as legible on a phone as on a wide screen.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from driftline.web.pages.account.display import localise

WIDTH, HEIGHT = 1000.0, 200.0
NOTE = "note"  # the kind of mark that an annotation is
SHADOW_LOOKS = ("shadow", "shadow-b", "shadow-c", "shadow-d")
"""What distinguishes several shadow versions in one chart: colour and dashes."""
MARK_WORDS = {
    "deploy": "version deployed",
    "shadow": "shadow or canary changed",
    "incident": "incident opened",
    "fired": "would have fired",
    "change": "error changed",
    NOTE: "annotation",
}
MAX_DOTS = 120  # of a line, up to which each window has a dot
_RAISED = ("notice", "warning", "critical")
_TICKS = 4
_MAX_DATES = 6
_EDGE = 0.03  # of the width: a word in the middle of it would lie on the labels of the axis
_WORD = 0.055


@dataclass(frozen=True)
class Dot:
    """One measured window."""

    start: datetime
    end: datetime
    value: float | None
    n: int = 0
    lower: float | None = None
    upper: float | None = None
    threshold: float | None = None
    status: str = "ok"
    revision: int = 1
    since: datetime | None = None

    @property
    def middle(self) -> datetime:
        return self.start + (self.end - self.start) / 2

    @property
    def is_raised(self) -> bool:
        return self.status in _RAISED


@dataclass(frozen=True)
class ChartLine:
    """A line; `look` is a CSS class: main, second, third, estimate, baseline or one of SHADOW_LOOKS."""

    name: str
    dots: Sequence[Dot]
    look: str = "main"
    bars: bool = False

    @property
    def has_dots(self) -> bool:
        return not self.bars and self.look != "baseline" and len(self.dots) <= MAX_DOTS


@dataclass(frozen=True)
class Mark:
    """Something that happened: a thin vertical line where it began, and a line of text in the list below."""

    at: datetime
    word: str
    text: str
    kind: str = "deploy"
    url: str = ""
    end: datetime | None = None  # of an interval, which is shaded


def milestones(marks: Iterable[Mark]) -> list[Mark]:
    """Choose the marks of charts that show no quality: deployments and what people noted."""
    return [mark for mark in marks if mark.kind in ("deploy", NOTE)]


@dataclass(frozen=True)
class Chart:
    """Series over one time axis. `spans` are shaded: periods that a rule fired in."""

    id: str
    title: str
    summary: str
    start: datetime
    end: datetime
    series: Sequence[ChartLine]
    unit: str = ""
    marks: Sequence[Mark] = ()
    spans: Sequence[tuple[datetime, datetime]] = ()
    from_zero: bool = False
    top: float | None = None
    least_top: float = 0.0  # the axis reaches at least this far
    limits: bool = True
    compact: bool = False
    band: str = "95 % interval"
    holds_band: bool = False  # on the axis, however far it reaches
    note: str = ""
    _scale: list[float] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not any(dot.value is not None for series in self.series for dot in series.dots)

    @property
    def hourly(self) -> bool:
        return any(dot.end - dot.start < timedelta(days=1) for dot in self.series[0].dots)

    @property
    def visible_marks(self) -> list[Mark]:
        return [mark for mark in self.marks if mark.at <= self.end and (mark.end or mark.at) >= self.start]

    @property
    def table(self) -> list[list[Any]]:
        """The same numbers as rows: a window, then value, limit, n and status of each series."""
        rows: dict[datetime, list[Dot | None]] = {}
        for position, series in enumerate(self.series):
            for dot in series.dots:
                rows.setdefault(dot.start, [None] * len(self.series))[position] = dot
        return [[start, rows[start]] for start in sorted(rows)]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Name all that is drawn, each with the class of its sign."""
        keys = [(f"{line.look} bar" if line.bars else line.look, line.name) for line in self.series]
        drawn = [dot for line in self.series if not line.bars for dot in line.dots if dot.value is not None]
        signs = {
            ("limit", "limit"): self.has_limit,
            ("band", self.band): any(dot.lower is not None and dot.upper is not None for dot in drawn),
            ("bad", "beyond its limit"): any(
                dot.status in _RAISED for line in self.series if line.has_dots for dot in line.dots
            ),
            ("hatch", "labels pending"): any(self._is_hatched(dot) for dot in self.series[0].dots),
            ("span", "incident open"): bool(self.spans),
        }
        kinds = dict.fromkeys(mark.kind for mark in self.visible_marks)
        marks = [(f"mark {kind}", MARK_WORDS[kind]) for kind in kinds]
        return [*keys, *(key for key, is_drawn in signs.items() if is_drawn), *marks]

    @property
    def has_limit(self) -> bool:
        return self.limits and any(dot.threshold is not None for dot in self.series[0].dots)

    def svg(self) -> SafeString:
        """Draw the picture."""
        low, high = self._range()
        parts = [self._shade(span) for span in self.spans]
        parts += [self._shade((mark.at, mark.end), NOTE) for mark in self.visible_marks if mark.end]
        parts += [self._unripe(dot) for dot in self.series[0].dots if self._is_hatched(dot)]
        parts += [
            f'<path class="grid" d="M0 {_y(tick, low, high):.1f}H{WIDTH:.0f}"/>' for tick in self.ticks()
        ]
        for series in self.series:
            parts.append(self._bars(series, low, high) if series.bars else self._line(series, low, high))
        if self.has_limit:
            parts.append(self._limit(low, high))
        parts += [
            f'<path class="mark {mark.kind}" d="M{self._x(mark.at):.1f} 0V{HEIGHT:.0f}"/>'
            for mark in self.visible_marks
            if mark.at >= self.start
        ]
        return format_html(
            '<svg viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
            int(WIDTH), int(HEIGHT), self.summary, mark_safe("".join(parts)),
        )  # fmt: skip

    def ticks(self) -> list[float]:
        low, high = self._range()
        step = _nice((high - low) / _TICKS)
        first = math.ceil(low / step - 1e-9) * step
        return [round(first + step * i, 12) for i in range(int((high - first) / step + 1e-9) + 1)]

    def y_labels(self) -> list[dict[str, str]]:
        low, high = self._range()
        ticks = self.ticks()
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [
            {"top": f"{_y(tick, low, high) / HEIGHT * 100:.1f}%", "text": f"{tick:,.{decimals}f}"}
            for tick in ticks
        ]

    def x_labels(self) -> list[dict[str, str]]:
        length = self.end - self.start
        step = max(timedelta(hours=6), length / _MAX_DATES)
        step = (
            timedelta(days=max(1, round(step / timedelta(days=1))))
            if length > timedelta(days=3)
            else timedelta(hours=12)
        )
        form = "%-d %b" if step >= timedelta(days=1) else "%-d %b %Hh"
        labels, at = [], self.start
        while at < self.end:
            share = (at - self.start) / length
            if share < 0.94:
                shown = at.astimezone(UTC) if step >= timedelta(days=1) else localise(at)
                labels.append({"left": f"{share * 100:.2f}%", "text": shown.strftime(form)})
            at += step
        return labels

    def mark_labels(self) -> list[dict[str, Any]]:
        """The marks' words, without those that would lie on another one; one at the edge begins at its mark."""
        labels: list[dict[str, Any]] = []
        last = -1.0
        for mark in sorted(self.visible_marks, key=lambda mark: mark.at):
            share = max(0.0, self._x(mark.at)) / WIDTH
            if mark.word and share - last > _WORD:
                labels.append(
                    {
                        "left": f"{share * 100:.2f}%",
                        "text": mark.word,
                        "title": mark.text,
                        "is_at_edge": share < _EDGE,
                    }
                )
                last = share
        return labels

    def _range(self) -> tuple[float, float]:
        if not self._scale:
            self._scale.extend(self._find_range())
        return self._scale[0], self._scale[1]

    def _find_range(self) -> tuple[float, float]:
        values = [dot.value for series in self.series for dot in series.dots if dot.value is not None]
        if self.has_limit:
            values += [dot.threshold for dot in self.series[0].dots if dot.threshold is not None]
        if not values:
            return 0.0, 1.0
        low, high = min(values), max(values)
        near = (high - low) or abs(high) or 1.0
        bounds = [b for s in self.series for dot in s.dots for b in (dot.lower, dot.upper) if b is not None]
        if self.holds_band:
            near = math.inf
        low, high = max([low - near, min([low, *bounds])]), min([high + near, max([high, *bounds])])
        low = 0.0 if self.from_zero else low
        margin = (high - low or abs(high) or 1.0) * 0.08
        high = max(high + margin, self.least_top)
        top = high if self.top is None else min(self.top, high)
        return (low if self.from_zero else low - margin), top

    def _x(self, at: datetime) -> float:
        return (at - self.start) / (self.end - self.start) * WIDTH

    def _shown(self, start: datetime, end: datetime) -> tuple[float, float]:
        """Return where the part of a span begins and ends that the chart shows."""
        return max(0.0, self._x(start)), min(WIDTH, self._x(end))

    def _shade(self, span: tuple[datetime, datetime], look: str = "span") -> str:
        left, right = self._shown(*span)
        return f'<rect class="{look}" x="{left:.1f}" y="0" width="{max(0.0, right - left):.1f}" height="{HEIGHT:.0f}"/>'

    def _is_hatched(self, dot: Dot) -> bool:
        return dot.status == "unripe" and not self.compact

    def _unripe(self, dot: Dot) -> str:
        left, right = self._shown(dot.start, dot.end)
        step = max(4.0, (right - left) / 4)
        lines = "".join(
            f"M{left + step * i:.1f} {HEIGHT:.0f}L{min(right, left + step * (i + 1)):.1f} 0" for i in range(4)
        )
        return f'<path class="hatch" d="{lines}"/>'

    def _bars(self, series: ChartLine, low: float, high: float) -> str:
        rects = []
        for dot in series.dots:
            if dot.value is None:
                continue
            left, right = self._x(dot.start), self._x(dot.end)
            top = _y(dot.value, low, high)
            gap = (right - left) * 0.12
            rects.append(f"M{left + gap:.1f} {HEIGHT:.0f}V{top:.1f}H{right - gap:.1f}V{HEIGHT:.0f}z")
        return f'<path class="bars {series.look}" d="{"".join(rects)}"/>'

    def _line(self, series: ChartLine, low: float, high: float) -> str:
        runs = list(unbroken(series.dots))
        band = "".join(self._band(run, low, high) for run in runs)
        line = "".join(
            "M" + "L".join(f"{self._x(dot.middle):.1f} {_y(dot.value or 0.0, low, high):.1f}" for dot in run)
            for run in runs
        )
        parts = [f'<path class="band {series.look}" d="{band}"/>'] if band else []
        parts.append(f'<path class="line {series.look}" d="{line}"/>')
        if series.has_dots:
            parts += [self._dots(series, low, high, bad=False), self._dots(series, low, high, bad=True)]
        return "".join(parts)

    def _dots(self, series: ChartLine, low: float, high: float, *, bad: bool) -> str:
        chosen = [d for d in series.dots if d.value is not None and d.is_raised == bad]
        path = "".join(f"M{self._x(d.middle):.1f} {_y(d.value or 0.0, low, high):.1f}h0" for d in chosen)
        return f'<path class="dot {series.look}{" bad" if bad else ""}" d="{path}"/>' if path else ""

    def _band(self, run: Sequence[Dot], low: float, high: float) -> str:
        known = [dot for dot in run if dot.lower is not None and dot.upper is not None]
        if len(known) < 2:
            return ""
        there = [f"{self._x(dot.middle):.1f} {_y(dot.upper or 0.0, low, high):.1f}" for dot in known]
        back = [f"{self._x(dot.middle):.1f} {_y(dot.lower or 0.0, low, high):.1f}" for dot in reversed(known)]
        return "M" + "L".join(there + back) + "z"

    def _limit(self, low: float, high: float) -> str:
        """Draw the limit as runs of equal height: each piece would begin its dashes anew."""
        parts, last = "", (math.nan, math.nan)
        for dot in self.series[0].dots:
            if dot.threshold is None:
                continue
            left, right, y = self._x(dot.start), self._x(dot.end), _y(dot.threshold, low, high)
            goes_on = abs(left - last[0]) < 0.1 and abs(y - last[1]) < 0.1
            parts += f"H{right:.1f}" if goes_on else f"M{left:.1f} {y:.1f}H{right:.1f}"
            last = (right, y)
        return f'<path class="limit" d="{parts}"/>'


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT * (1 - min(1.0, max(0.0, (value - low) / (high - low or 1.0))))


def _nice(step: float) -> float:
    """Round a step up to 1, 2 or 5 times a power of ten."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return float(next(factor for factor in (1, 2, 5, 10) if factor * power >= step * 0.999) * power)


def unbroken(dots: Sequence[Dot]) -> Iterable[list[Dot]]:
    """Split a series where windows are missing: a gap is drawn as a gap."""
    run: list[Dot] = []
    for dot in dots:
        if dot.value is None or (run and dot.start - run[-1].end > timedelta(minutes=1)):
            if run:
                yield run
            run = []
        if dot.value is not None:
            run.append(dot)
    if run:
        yield run


def sparkline(values: Sequence[float | None]) -> SafeString:
    """Draw the course of a number in a line of text; it says nothing that the text beside it does not say."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return SafeString("")
    low, high = min(known), max(known)
    step = 100 / (len(values) - 1)
    points: list[str] = []
    pen = "M"
    for position, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        points.append(f"{pen}{position * step:.1f} {22 - 20 * (value - low) / ((high - low) or 1):.1f}")
        pen = "L"
    return format_html(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true"><path d="{}"/></svg>',
        mark_safe("".join(points)),
    )


@dataclass(frozen=True)
class Bin:
    """One bin of two overlaid histograms: shares of rows, and how the bin is named."""

    name: str
    reference: float
    current: float
    is_new: bool = False

    @property
    def change(self) -> float:
        return self.current - self.reference


@dataclass(frozen=True)
class Overlay:
    """Reference and current in the same bins on one axis; `left` and `right` name the ends of a numeric axis."""

    bins: Sequence[Bin]
    is_numeric: bool
    summary: str
    axis: Sequence[str] = ()
    keys: tuple[str, str] = ("reference", "current")

    @property
    def top(self) -> float:
        return max([bin.reference for bin in self.bins] + [bin.current for bin in self.bins] + [1e-9])

    def svg(self) -> SafeString:
        """Draw filled grey bars for the reference and a blue outline for the current window."""
        width = WIDTH / max(1, len(self.bins))
        bars = "".join(
            f"M{i * width:.1f} {HEIGHT:.0f}V{HEIGHT * (1 - bin.reference / self.top):.1f}h{width:.1f}V{HEIGHT:.0f}z"
            for i, bin in enumerate(self.bins)
        )
        steps = "".join(
            f"{'M' if i == 0 else 'L'}{i * width:.1f} {HEIGHT * (1 - bin.current / self.top):.1f}h{width:.1f}"
            for i, bin in enumerate(self.bins)
        )
        return format_html(
            '<svg class="overlay" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
            '<path class="reference" d="{}"/><path class="current" d="{}"/></svg>',
            int(WIDTH), int(HEIGHT), conditional_escape(self.summary), mark_safe(bars), mark_safe(steps),
        )  # fmt: skip
