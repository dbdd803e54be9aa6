"""The heat map of drift: what each cell shows and says."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.web.charts.heat_map import HeatMap, heat_map
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.metrics.limits import PointJudge
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Rule

DAY = datetime(2026, 1, 5, tzinfo=UTC)
A_DAY = timedelta(days=1)


def point(day: int = 0, value: float | None = 0.05, **other: Any) -> MetricPoint:
    given = {
        "feature": "income",
        "status": "ok",
        "n": 300,
        "threshold": 0.1,
        "role": "champion",
        "span": "day",
    }
    fields = given | other
    return MetricPoint(metric="psi", start=DAY + day * A_DAY, value=value, **fields)


def drawn(*points: MetricPoint, is_default: bool = True, rules: Sequence[Rule] = ()) -> HeatMap:
    chosen = TimeRange(DAY, DAY + 3 * A_DAY, None, is_default)
    model = Model(name="approvals")
    return heat_map(model, PointJudge(model, rules, looks_back=False).judge(points), None, chosen)


class TestCells:
    def test_say_the_value_its_limit_and_the_decision_and_lead_to_the_day(self) -> None:
        [row] = drawn(point(value=0.25, status="warning")).rows

        label = "income, 5 Jan, Population stability index 0.25, limit 0.1, drifted"
        assert row.cells == (
            f'<td class="c d2" title="{label}">'
            f'<a href="/models/approvals/features/income?day=2026-01-05" aria-label=".25, {label}">.25</a></td>'
        )

    def test_write_large_values_in_whole_numbers(self) -> None:
        [row] = drawn(point(value=1_500.0, threshold=1_200.0, status="warning")).rows

        assert "Population stability index 1,500, limit 1,200, drifted" in row.cells

    @pytest.mark.parametrize(("value", "look"), [(0.05, "s0"), (0.1, "s1")])
    def test_that_did_not_drift_look_by_how_near_their_limit_they_came(self, value: float, look: str) -> None:
        [row] = drawn(point(value=value)).rows

        assert f'class="c {look}"' in row.cells
        assert "within its limit" in row.cells

    @pytest.mark.parametrize(("value", "look"), [(0.2, "d1"), (0.4, "d2"), (0.41, "d3")])
    def test_that_drifted_look_by_how_many_times_their_limit_they_are(self, value: float, look: str) -> None:
        [row] = drawn(point(value=value, status="warning")).rows

        assert f'class="c {look}"' in row.cells
        assert ", drifted" in row.cells

    def test_that_drifted_by_another_statistic_are_never_pale(self) -> None:
        [row] = drawn(point(value=0.01, status="warning")).rows

        assert 'class="c d1"' in row.cells
        assert "limit 0.1, drifted by another statistic" in row.cells
        assert row.drifted == 1

    def test_beyond_a_limit_by_chance_have_a_look_of_their_own(self) -> None:
        [row] = drawn(point(value=0.5)).rows

        assert 'class="c chance"' in row.cells
        assert "limit 0.1, beyond its limit, not significant" in row.cells
        assert row.drifted == 0

    def test_take_the_limit_of_a_rule(self) -> None:
        rule = Rule(name="moved", metric="psi", feature="*", threshold=0.02, span="day", min_rows=1)

        [row] = drawn(point(value=0.05), rules=[rule]).rows

        assert 'class="c d2"' in row.cells
        assert "limit 0.02, beyond its rule's limit" in row.cells.replace("&#x27;", "'")
        assert row.drifted == 0

    def test_of_few_rows_give_their_number_alone(self) -> None:
        [row] = drawn(point(status="insufficient", value=None, n=7)).rows

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
