"""Pages with charts, and each chart of them alone: `?chart=<id>&as=figure` for Plotly, `&as=csv` for a spreadsheet."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from driftline.base.errors import Problem
from driftline.base.http.exports import CSV, JSON, write_csv
from driftline.web.charts.svg import Chart, Dot

_PER_SERIES = ("value", "lower", "upper", "limit", "n", "status")


def render_with_charts(request: HttpRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
    """Render a page, or answer with the one of its charts that is asked for.

    Raises `Problem`: 404 for a chart that the page does not have, 400 for another form than the two.
    """
    if "chart" not in request.GET:
        return render(request, template, dict(context))
    chart = next((one for one in _charts(context) if one.id == request.GET["chart"]), None)
    if chart is None:
        raise Problem(404, "not_found", "This page has no such chart in this range.")
    match request.GET.get("as", "figure"):
        case "figure":
            # Plotly takes a moment to import, and most processes never need it.
            from driftline.web.charts.plotly_figures import figure_of

            return HttpResponse(figure_of(chart).to_json(), content_type=JSON)
        case "csv":
            text = io.StringIO()
            write_csv(text, rows_of(chart))
            headers = {"Content-Disposition": f'attachment; filename="{chart.id}.csv"'}
            return HttpResponse(text.getvalue(), content_type=f"{CSV}; charset=utf-8", headers=headers)
    raise Problem(400, "invalid_format", "`as` is `figure` or `csv`.")


def rows_of(chart: Chart) -> Iterator[list[Any]]:
    """Yield a heading and a row a window: its start and end, then six cells for each series."""
    yield ["start", "end", *(f"{line.name}: {name}" for line in chart.series for name in _PER_SERIES)]
    for start, dots in chart.table:
        end = next(dot.end for dot in dots if dot is not None)
        yield [start, end, *(cell for dot in dots for cell in _cells(dot))]


def _cells(dot: Dot | None) -> list[Any]:
    if dot is None:
        return [None] * len(_PER_SERIES)
    return [dot.value, dot.lower, dot.upper, dot.threshold, dot.n, dot.status]


def _charts(value: Any) -> Iterator[Chart]:
    if isinstance(value, Chart):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _charts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _charts(part)
