"""The figure that Plotly draws: all that the picture of the server shows, so that zooming loses nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import plotly.graph_objects as go
import pytest

from driftline.web.charts.plotly_figures import figure_of
from driftline.web.charts.svg import Chart, ChartLine, Dot, Mark

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def dot(day: int, value: float | None, **fields: Any) -> Dot:
    return Dot(START + day * DAY, START + (day + 1) * DAY, value, 100, **fields)


def figure(*lines: ChartLine, **fields: Any) -> go.Figure:
    return figure_of(Chart("c", "AUC", "AUC by day.", START, START + 10 * DAY, lines, **fields))


def named(drawn: go.Figure, name: str) -> Any:
    return next(trace for trace in drawn.data if trace.name == name)


@pytest.mark.slow
def test_a_gap_stays_a_gap() -> None:
    drawn = named(figure(ChartLine("champion", [dot(0, 0.7), dot(1, 0.8), dot(3, 0.6)])), "champion")

    assert list(drawn.y) == [0.7, 0.8, None, 0.6, None]
    assert drawn.connectgaps is False


def test_intervals_are_bands_and_bars_stay_bars() -> None:
    bounded = [dot(day, 0.7, lower=0.6, upper=0.8) for day in range(2)]
    drawn = figure(
        ChartLine("champion", bounded), ChartLine("predictions", [dot(0, 5.0)], "second", bars=True)
    )

    assert list(named(drawn, "interval of champion").y) == [0.8, 0.8, 0.6, 0.6]
    assert isinstance(named(drawn, "predictions"), go.Bar)


def test_the_limit_covers_its_windows_and_nothing_between() -> None:
    dots = [dot(0, 0.7, threshold=0.5), dot(1, 0.7, threshold=0.5), dot(4, 0.7, threshold=0.6)]

    assert list(named(figure(ChartLine("champion", dots)), "limit").y) == [0.5, 0.5, 0.5, 0.5, None, 0.6, 0.6]


def test_breaches_are_red_as_in_the_picture() -> None:
    drawn = named(figure(ChartLine("champion", [dot(0, 0.7), dot(1, 0.2, status="critical")])), "champion")

    assert drawn.marker.color[0] != drawn.marker.color[1]
    assert drawn.marker.size[1] > drawn.marker.size[0]


def test_incidents_pending_windows_and_marks_are_there() -> None:
    dots = [dot(0, 0.7), dot(1, 0.7, status="unripe")]
    marks = [Mark(START + DAY, "v2", "Version 2 answers"), Mark(START - DAY, "v1", "Version 1 answers")]

    drawn = figure(ChartLine("champion", dots), spans=[(START - DAY, START + DAY)], marks=marks)

    shapes = [(shape.type, str(shape.x0)[:10], str(shape.x1)[:10]) for shape in drawn.layout.shapes]
    assert shapes == [
        ("rect", "2026-01-01", "2026-01-02"),
        ("rect", "2026-01-02", "2026-01-03"),
        ("line", "2026-01-02", "2026-01-02"),
    ]
    assert [(word.text, word.hovertext) for word in drawn.layout.annotations] == [("v2", "Version 2 answers")]
