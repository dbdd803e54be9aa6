"""The charts of pages as Plotly figures, for zooming and for pictures to keep: all that the server's SVG shows.

A figure is made only when somebody asks for one: it takes some milliseconds, and Plotly's script several megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import plotly.graph_objects as go

from driftline.base.periods import rfc3339
from driftline.web.charts.svg import NOTE, Chart, ChartLine, Dot, unbroken

_COLOURS = {  # as in driftline.css
    "main": "#0072B2",
    "second": "#5F6770",
    "third": "#9AA3AC",
    "shadow": "#B87D00",
    "shadow-b": "#007A5A",
    "shadow-c": "#A63A79",
    "shadow-d": "#4A4FB5",
    "estimate": "#7B4EA3",
    "baseline": "#5F6770",
    "limit": "#8B1A2B",
}
_DASHES = {
    "shadow": "dash",
    "shadow-b": "dot",
    "shadow-c": "dashdot",
    "shadow-d": "longdash",
    "estimate": "dash",
    "baseline": "dot",
    "limit": "dash",
}
_BARS, _RAISED, _INCIDENT, _PENDING = "#9DBCD4", "#8B1A2B", "#E69F00", "#8A939C"
_MARK, _NOTE = "#5F6770", "#7B4EA3"
_HOVER = "%{y:.4g} of %{customdata[0]:,} rows, %{customdata[1]}<extra>%{fullData.name}</extra>"


def figure_of(chart: Chart) -> go.Figure:
    """Describe a chart to Plotly: series with gaps and intervals, limit, incidents, pending windows and marks."""
    traces = [trace for line in chart.series for trace in _traces(line)]
    if chart.has_limit:
        traces.append(_limit(chart.series[0].dots))
    layout = go.Layout(
        template="none",
        title={"text": chart.title, "font": {"size": 14}},
        shapes=[*_shades(chart), *_mark_lines(chart)],
        annotations=_mark_words(chart),
        xaxis={"type": "date", "range": [rfc3339(chart.start), rfc3339(chart.end)]},
        yaxis={"title": chart.unit, "rangemode": "tozero" if chart.from_zero else "normal"},
        margin={"l": 60, "r": 16, "t": 64, "b": 40},
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.15},
        paper_bgcolor="#FFFFFF",  # whatever the theme of the page: it is kept as a picture, too
        bargap=0.12,
    )
    return go.Figure(data=traces, layout=layout)


def _traces(line: ChartLine) -> Iterator[Any]:
    if line.bars:
        yield _bars(line)
        return
    bands = [band for run in unbroken(line.dots) if (band := _band(line, run))]
    yield from bands
    yield _line(line)


def _bars(line: ChartLine) -> go.Bar:
    dots = [dot for dot in line.dots if dot.value is not None]
    return go.Bar(
        name=line.name,
        x=[rfc3339(dot.middle) for dot in dots],
        y=[dot.value for dot in dots],
        width=[(dot.end - dot.start).total_seconds() * 880 for dot in dots],  # milliseconds, less a gap
        customdata=[_facts(dot) for dot in dots],
        hovertemplate=_HOVER,
        marker={"color": _BARS},
    )


def _line(line: ChartLine) -> go.Scatter:
    dots = [dot for run in unbroken(line.dots) for dot in (*run, None)]
    colour = _COLOURS[line.look]
    return go.Scatter(
        name=line.name,
        x=[rfc3339(dot.middle) if dot else None for dot in dots],
        y=[dot.value if dot else None for dot in dots],
        customdata=[_facts(dot) if dot else [0, ""] for dot in dots],
        hovertemplate=_HOVER,
        mode="lines" if line.look == "baseline" else "lines+markers",
        line={"color": colour, "dash": _DASHES.get(line.look, "solid"), "width": 2},
        marker={
            "color": [_RAISED if dot and dot.is_raised else colour for dot in dots],
            "size": [9 if dot and dot.is_raised else 6 for dot in dots],
        },
        connectgaps=False,
    )


def _band(line: ChartLine, run: Sequence[Dot]) -> go.Scatter | None:
    known = [dot for dot in run if dot.lower is not None and dot.upper is not None]
    if len(known) < 2:
        return None
    times = [rfc3339(dot.middle) for dot in known]
    return go.Scatter(
        name=f"interval of {line.name}",
        x=[*times, *reversed(times)],
        y=[*(dot.upper for dot in known), *(dot.lower for dot in reversed(known))],
        fill="toself",
        fillcolor=_COLOURS[line.look],
        opacity=0.14,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def _limit(dots: Sequence[Dot]) -> go.Scatter:
    times: list[str | None] = []
    values: list[float | None] = []
    end: datetime | None = None
    for dot in dots:
        if dot.threshold is None:
            continue
        if end is not None and end != dot.start:
            times.append(None)
            values.append(None)
        times += [rfc3339(dot.start), rfc3339(dot.end)]
        values += [dot.threshold, dot.threshold]
        end = dot.end
    return go.Scatter(
        name="limit",
        x=times,
        y=values,
        mode="lines",
        line={"color": _COLOURS["limit"], "dash": _DASHES["limit"], "width": 1.5},
        hovertemplate="%{y:.4g}<extra>limit</extra>",
        connectgaps=False,
    )


def _shades(chart: Chart) -> list[dict[str, Any]]:
    pending = [(dot.start, dot.end) for dot in chart.series[0].dots if dot.status == "unripe"]
    noted = [(mark.at, mark.end) for mark in chart.visible_marks if mark.end]
    shades = [(span, _INCIDENT, 0.14) for span in chart.spans] + [(span, _PENDING, 0.2) for span in pending]
    shades += [(span, _NOTE, 0.12) for span in noted]
    return [
        {
            "type": "rect",
            "yref": "paper",
            "x0": rfc3339(max(start, chart.start)),
            "x1": rfc3339(min(end, chart.end)),
            "y0": 0,
            "y1": 1,
            "fillcolor": colour,
            "opacity": opacity,
            "line": {"width": 0},
            "layer": "below",
        }
        for (start, end), colour, opacity in shades
    ]


def _mark_lines(chart: Chart) -> list[dict[str, Any]]:
    return [
        {
            "type": "line",
            "yref": "paper",
            "x0": rfc3339(mark.at),
            "x1": rfc3339(mark.at),
            "y0": 0,
            "y1": 1,
            "line": {
                "color": _NOTE if mark.kind == NOTE else _MARK,
                "width": 1,
                "dash": "solid" if mark.word else "dot",
            },
        }
        for mark in chart.visible_marks
        if mark.at >= chart.start
    ]


def _mark_words(chart: Chart) -> list[dict[str, Any]]:
    return [
        {
            "x": rfc3339(max(mark.at, chart.start)),
            "yref": "paper",
            "y": 1,
            "yanchor": "bottom",
            "text": mark.word,
            "hovertext": mark.text,
            "showarrow": False,
        }
        for mark in chart.visible_marks
        if mark.word
    ]


def _facts(dot: Dot) -> list[Any]:
    return [dot.n, dot.status.replace("_", " ")]
