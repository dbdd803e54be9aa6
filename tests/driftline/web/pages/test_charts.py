"""What charts draw: gaps stay gaps, axes are shared, and every picture has its numbers as a table."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from driftline.web.charts.histograms import LEVELS_SHOWN, overlay_of
from driftline.web.charts.svg import Chart, ChartLine, Dot, Mark, sparkline
from driftline.web.pages.queries import shadow_lines
from driftline.web.pages.templatetags.figures import figure, percent
from monitors.stats.mergeable.sketches import summarise_categories, summarise_numbers

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def dot(day: int, value: float | None, **fields: object) -> Dot:
    return Dot(START + day * DAY, START + (day + 1) * DAY, value, 100, **fields)  # type: ignore[arg-type]


def chart(dots: list[Dot], **fields: object) -> Chart:
    series = [ChartLine("champion", dots)]
    return Chart("c", "AUC", "AUC by day.", START, START + 10 * DAY, series, **fields)  # type: ignore[arg-type]


def line_of(drawn: Chart) -> str:
    found = re.search(r'class="line main" d="([^"]*)"', drawn.svg())
    assert found is not None
    return found[1]


class TestChart:
    def test_never_joins_points_across_a_gap(self) -> None:
        drawn = chart([dot(0, 0.7), dot(1, 0.8), dot(2, None), dot(4, 0.6), dot(5, 0.7)])

        assert line_of(drawn).count("M") == 2

    def test_draws_straight_segments_only(self) -> None:
        assert set(re.findall(r"[A-Za-z]", line_of(chart([dot(0, 1.0), dot(1, 3.0)])))) == {"M", "L"}

    def test_hatches_windows_that_wait_for_labels(self) -> None:
        assert chart([dot(0, 0.7), dot(1, 0.8, status="unripe")]).svg().count("hatch") == 1

    def test_hatches_no_more_of_a_window_than_it_shows(self) -> None:
        days = [dot(0, 0.7), Dot(START + DAY, START + 90 * DAY, 0.8, 100, status="unripe")]

        found = re.search(r'class="hatch" d="([^"]*)"', chart(days).svg())

        assert found is not None
        assert max(float(x) for x in re.findall(r"[ML]([\d.]+) ", found[1])) <= 1_000

    def test_says_in_words_what_it_shows(self) -> None:
        assert 'aria-label="AUC by day."' in chart([dot(0, 0.7)]).svg()

    def test_escapes_what_people_wrote(self) -> None:
        drawn = Chart("c", "t", '"><script>', START, START + DAY, [ChartLine("s", [dot(0, 1.0)])])

        assert "<script>" not in drawn.svg()

    def test_gives_each_window_as_a_row(self) -> None:
        assert [row[0] for row in chart([dot(1, 0.8), dot(0, 0.7)]).table] == [START, START + DAY]

    def test_leaves_out_marks_beyond_the_range(self) -> None:
        marks = [Mark(START + DAY, "v2", "Version 2 answers"), Mark(START - DAY, "v1", "Version 1 answers")]

        assert [label["text"] for label in chart([dot(0, 1.0)], marks=marks).mark_labels()] == ["v2"]

    def test_begins_a_word_at_its_mark_where_the_middle_of_it_would_lie_on_the_axis(self) -> None:
        marks = [Mark(START, "v1", "Version 1 answers"), Mark(START + DAY, "v2", "Version 2 answers")]

        labels = chart([dot(0, 1.0), dot(1, 1.0)], marks=marks).mark_labels()

        assert [label["is_at_edge"] for label in labels] == [True, False]

    def test_names_all_that_it_draws(self) -> None:
        marks = [
            Mark(START + DAY, "v2", "Version 2 answers"),
            Mark(START + DAY, "", "INC-1 opened", "incident"),
            Mark(START + 2 * DAY, "", "Version 3 shadows", "shadow"),
            Mark(START + 2 * DAY, "", "The error rose", "change"),
        ]
        dots = [
            dot(0, 0.7, lower=0.6, upper=0.8, threshold=0.6),
            dot(1, 0.5, lower=0.4, upper=0.6, threshold=0.6, status="warning"),
            dot(2, 0.7, status="unripe"),
        ]

        drawn = chart(dots, marks=marks, spans=[(START, START + DAY)])

        assert drawn.legend == [
            ("main", "champion"), ("limit", "limit"), ("band", "95 % interval"), ("bad", "beyond its limit"),
            ("hatch", "labels pending"), ("span", "incident open"), ("mark deploy", "version deployed"),
            ("mark incident", "incident opened"), ("mark shadow", "shadow or canary changed"),
            ("mark change", "error changed"),
        ]  # fmt: skip

    def test_names_nothing_that_is_not_there(self) -> None:
        assert chart([dot(0, 0.7), dot(1, 0.8)]).legend == [("main", "champion")]

    def test_holds_its_band_where_that_is_what_it_shows(self) -> None:
        dots = [dot(0, 10.0, lower=-500.0, upper=900.0), dot(1, 11.0, lower=-400.0, upper=800.0)]

        labels = chart(dots, holds_band=True).y_labels()

        ticks = [float(label["text"].replace(",", "")) for label in labels]
        assert ticks[0] <= -400
        assert ticks[-1] >= 800

    def test_tells_versions_in_the_shadow_apart(self) -> None:
        lines = shadow_lines({version: [] for version in ("6", "7", "8")}, "p99, ")

        assert len({line.look for line in lines}) == 3
        assert lines[0].name == "p99, version 6 in the shadow"

    def test_is_empty_without_a_value(self) -> None:
        assert chart([dot(0, None)]).is_empty

    @pytest.mark.parametrize("value", [0.0, 1e-9, 5.0, -3.0, 1e12])
    def test_finds_an_axis_for_a_single_value(self, value: float) -> None:
        assert len(chart([dot(0, value)]).ticks()) >= 2


def test_a_sparkline_of_one_value_is_nothing() -> None:
    assert sparkline([1.0, None]) == ""


class TestOverlay:
    def test_puts_both_columns_into_the_same_bins(self) -> None:
        known = summarise_numbers(np.arange(1000), centre=500.0)
        moved = summarise_numbers(np.arange(1000) + 2000, centre=500.0)

        overlay = overlay_of("x", known, [moved])

        assert overlay is not None
        assert sum(bin.reference for bin in overlay.bins) == pytest.approx(1)
        assert sum(bin.current for bin in overlay.bins) == pytest.approx(1)
        assert not any(bin.reference and bin.current for bin in overlay.bins)

    def test_folds_rare_categories_and_marks_new_ones(self) -> None:
        known = summarise_categories([f"c{number}" for number in range(40)])
        moved = summarise_categories(["new"] * 5 + [f"c{number}" for number in range(40)])

        overlay = overlay_of("x", known, [moved])

        assert overlay is not None
        assert (overlay.bins[0].name, overlay.bins[0].is_new) == ("new", True)
        assert len(overlay.bins) == LEVELS_SHOWN + 1
        assert sum(bin.current for bin in overlay.bins) == pytest.approx(1)

    def test_shows_nothing_where_the_kinds_differ(self) -> None:
        known = summarise_numbers([1.0, 2.0], centre=0.0)

        assert overlay_of("x", known, [summarise_categories(["a"])]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6799, "0.680"), (320.0, "320"), (1234567.0, "1,234,567"), (12.345, "12.3"), (0.0, "0"), (None, "—"),
        (float("nan"), "—"), (0.00001, "1.00e-05"), (-2.5, "-2.50"), (999.96, "1,000"),
        (0.0123, "0.0123"), (5.0, "5"),
    ],
)  # fmt: skip
def test_a_figure_has_three_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_small_shares_keep_a_digit() -> None:
    assert [percent(0.123), percent(0.012), percent(0.0), percent(None)] == ["12%", "1.2%", "0%", "—"]
