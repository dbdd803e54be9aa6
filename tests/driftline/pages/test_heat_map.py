"""The heat map of drift: what each cell shows and says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.pages.heat_map import HeatMap, heat_map
from driftline.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.metrics.models import MetricPoint

DAY = datetime(2026, 1, 5, tzinfo=UTC)
A_DAY = timedelta(days=1)


def point(day: int = 0, value: float | None = 0.05, **other: Any) -> MetricPoint:
    told = {"feature": "income", "status": "ok", "n": 300, "threshold": 0.1} | other
    return MetricPoint(metric="psi", start=DAY + day * A_DAY, value=value, **told)


def drawn(*points: MetricPoint, is_default: bool = True) -> HeatMap:
    chosen = TimeRange(DAY, DAY + 3 * A_DAY, None, is_default)
    return heat_map(Model(name="approvals"), points, None, chosen)


class TestCells:
    def test_say_the_value_its_limit_and_the_decision_and_lead_to_the_day(self) -> None:
        [row] = drawn(point(value=0.25, status="warning")).rows

        label = "income, 5 Jan, Population stability index 0.25, limit 0.1, drifted"
        assert row.cells == (
            f'<td class="c s3" title="{label}">'
            f'<a href="/models/approvals/features/income?day=2026-01-05" aria-label=".25, {label}">.25</a></td>'
        )

    @pytest.mark.parametrize(
        ("value", "look"), [(0.05, "s0"), (0.1, "s1"), (0.2, "s2"), (0.4, "s3"), (0.41, "s4")]
    )
    def test_look_by_how_many_times_its_limit_a_value_is(self, value: float, look: str) -> None:
        [row] = drawn(point(value=value)).rows

        assert f'class="c {look}"' in row.cells

    def test_of_few_rows_give_their_number_alone(self) -> None:
        [row] = drawn(point(status="insufficient", n=7)).rows

        assert 'class="c few"' in row.cells
        assert ">n=7</a>" in row.cells
        assert row.newest is None

    def test_of_days_without_a_value_are_no_links(self) -> None:
        row, _ = drawn(point(), point(day=1, value=None), point(day=2, feature="region")).rows

        assert row.cells.count("no data") == 4
        assert row.cells.count("<a ") == 1

    def test_keep_the_range_that_was_chosen(self) -> None:
        [row] = drawn(point(), is_default=False).rows

        assert "?day=2026-01-05&amp;from=2026-01-05&amp;to=2026-01-07" in row.cells

    def test_escape_what_callers_named_a_feature(self) -> None:
        [row] = drawn(point(feature='"><script>')).rows

        assert "<script>" not in row.cells
        assert "&lt;script&gt;" in row.cells


def test_what_drifted_most_often_comes_first_and_the_answer_last() -> None:
    rows = drawn(
        point(feature="score", status="critical"), point(), point(feature="region", status="warning")
    ).rows

    assert [row.feature for row in rows] == ["region", "income", "score"]
