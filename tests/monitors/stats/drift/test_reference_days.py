"""Days whose rows resemble each other: a quiet day is no drift, a moved one is."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pytest

from monitors.stats.drift.judging import judge_drift
from monitors.stats.drift.prepared import NumericReference, PreparedReference, prepare_reference
from monitors.stats.drift.reference_days import Days, DaySummary, count_days, draw_windows, runs_of
from monitors.stats.drift.stored_nulls import decode_null, encode_null
from monitors.stats.drift.thresholds import grid_size, resample_null
from monitors.stats.mergeable.sketches import (
    CategoricalSummary,
    NumericSummary,
    count_categories,
    merge_categories,
    merge_numbers,
    summarise_categories,
    summarise_numbers,
)

ROWS = 200


def day(rng: np.random.Generator, *, spread: float, shift: float = 0.0):
    return {"x": summarise_numbers(rng.normal(rng.normal(0, spread) + shift, 1, ROWS), centre=0.0)}


def reference_of(
    rng: np.random.Generator, *, spread: float, days: int = 40
) -> tuple[dict[str, PreparedReference], dict[str, Days | None]]:
    parts = [day(rng, spread=spread) for _ in range(days)]
    references = {"x": prepare_reference(merge_numbers([part["x"] for part in parts]))}
    return references, count_days(references, dated(parts))


def dated(parts: Sequence[Mapping[str, NumericSummary | CategoricalSummary]]) -> list[DaySummary]:
    return [(date(2026, 1, 1) + timedelta(days=number), part) for number, part in enumerate(parts)]


class TestDaysThatDiffer:
    @pytest.mark.slow
    def test_quiet_days_stay_below_the_5_percent_line_about_95_percent_of_the_time(self):
        rng = np.random.default_rng(1)
        references, days = reference_of(rng, spread=0.5)
        by_days, by_rows = (
            resample_null(references["x"], ROWS, rng=rng, days=known) for known in (days["x"], None)
        )

        quiet = [day(rng, spread=0.5) for _ in range(200)]
        p_values = {
            null.runs: [
                judge_drift(references, window, lambda name, size, null=null: null)["x"].p_value
                for window in quiet
            ]
            for null in (by_days, by_rows)
        }

        assert np.mean(np.array(p_values[40]) <= 0.05) <= 0.12
        assert np.mean(np.array(p_values[0]) <= 0.05) > 0.6

    def test_a_day_that_moved_further_than_any_is_found(self):
        rng = np.random.default_rng(1)
        references, days = reference_of(rng, spread=0.5)

        judged = judge_drift(
            references,
            day(rng, spread=0.0, shift=3.0),
            lambda name, size: resample_null(references[name], size, rng=rng, days=days[name]),
        )

        assert judged["x"].drifted

    def test_the_reason_says_what_the_limit_was_learnt_from(self):
        rng = np.random.default_rng(1)
        references, days = reference_of(rng, spread=0.5)

        said = resample_null(references["x"], ROWS, rng=rng, days=days["x"]).threshold("psi").reason

        assert "40 runs of days" in said
        assert "design effect" in said

    def test_a_window_at_the_limit_has_the_p_value_of_the_limit(self):
        rng = np.random.default_rng(1)
        references, days = reference_of(rng, spread=0.5)
        null = resample_null(references["x"], ROWS, rng=rng, days=days["x"])

        assert null.p_value("psi", null.threshold("psi", quantile=0.99).value) == pytest.approx(0.01)

    def test_what_was_learnt_from_days_comes_back_from_a_cache(self):
        rng = np.random.default_rng(1)
        references, days = reference_of(rng, spread=0.5)
        null = resample_null(references["x"], ROWS, rng=rng, days=days["x"])

        restored = decode_null(encode_null(null))

        assert restored.threshold("psi") == null.threshold("psi")
        assert restored.combined_p_value({"psi": 3.0}) == pytest.approx(
            null.combined_p_value({"psi": 3.0}), rel=1e-3
        )

    @pytest.mark.parametrize("weekday", ["Mon", "Sat", "Wed"])
    def test_a_weekday_that_few_days_show_is_no_drift(self, weekday):
        weekdays = ["Sun", "Tue", "Thu", "Wed"] * 4 + ["Sat", "Sat", "Mon", "Fri"]
        parts = [{"x": summarise_categories([name] * 50)} for name in weekdays]
        reference = prepare_reference(merge_categories([part["x"] for part in parts]))
        days = count_days({"x": reference}, dated(parts))["x"]
        null = resample_null(reference, grid_size(50), rng=np.random.default_rng(0), days=days)

        judged = judge_drift(
            {"x": reference}, {"x": summarise_categories([weekday] * 50)}, lambda name, size: null
        )["x"]

        assert null.runs == 20
        assert judged.p_value > 0.02

    @pytest.mark.parametrize(("number", "rows"), [(20, 1_000_000), (44, 100_000), (20, 50)])
    def test_one_more_day_with_a_level_of_its_own_as_all_have_is_no_drift(self, number, rows):
        parts = [{"x": count_categories({f"batch {day}": rows})} for day in range(number)]
        reference = prepare_reference(merge_categories([part["x"] for part in parts]))
        days = count_days({"x": reference}, dated(parts))["x"]
        null = resample_null(reference, grid_size(rows), rng=np.random.default_rng(0), days=days)

        judged = judge_drift(
            {"x": reference},
            {"x": count_categories({"batch of today": rows})},
            lambda name, size: decode_null(encode_null(null)),
        )["x"]

        assert judged.p_value > 0.01

    def test_a_week_varies_less_than_a_day(self):
        rng = np.random.default_rng(1)
        references, days = reference_of(rng, spread=0.5, days=60)

        one, seven = (
            resample_null(references["x"], n, rng=rng, days=days["x"], length=length)
            for n, length in ((ROWS, 1), (7 * ROWS, 7))
        )

        assert np.median(seven.draws["psi"]) < np.median(one.draws["psi"]) / 3


class TestDaysThatAreAlike:
    def test_count_as_independent_rows(self):
        rng = np.random.default_rng(2)
        references, days = reference_of(rng, spread=0.0)

        null = resample_null(references["x"], ROWS, rng=rng, days=days["x"])

        assert null.runs == 0
        assert "40 days are alike" in null.why
        assert days["x"] is not None
        assert days["x"].design_effect == pytest.approx(1, abs=0.25)

    def test_count_as_differing_where_many_other_columns_differ(self):
        rng = np.random.default_rng(2)
        parts = [
            {**day(rng, spread=1.0), "calm": summarise_categories(rng.choice(["a", "b"], ROWS))}
            for _ in range(20)
        ]
        references = {
            "x": prepare_reference(merge_numbers([part["x"] for part in parts])),
            "calm": prepare_reference(summarise_categories(rng.choice(["a", "b"], 20 * ROWS))),
        }

        days = count_days(references, dated(parts))

        assert all(column is not None and column.differ for column in days.values())


def test_columns_of_independent_rows_are_seldom_judged_by_days_however_many_there_are():
    """Judged by days a column shows less: of 20, some would always be by chance alone."""
    by_days = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shares = [rng.dirichlet([1.0, 1.0, 0.5]) for _ in range(20)]
        parts = [
            {f"c{place}": levels_of(rng.multinomial(50, share)) for place, share in enumerate(shares)}
            for _ in range(20)
        ]
        references = {
            name: prepare_reference(merge_categories([part[name] for part in parts])) for name in parts[0]
        }
        by_days += [days is None or days.differ for days in count_days(references, dated(parts)).values()]

    assert sum(by_days) <= 0.005 * len(by_days)


def levels_of(counts: np.ndarray) -> CategoricalSummary:
    return count_categories({f"level {place}": int(n) for place, n in enumerate(counts) if n})


class TestAShortDay:
    """An export that was cut in the middle of a day."""

    @pytest.mark.parametrize("spread", [0.0, 0.6])
    def test_changes_no_limit(self, spread: float) -> None:
        rng = np.random.default_rng(5)
        whole = [
            {"x": summarise_numbers(rng.normal(rng.normal(0, spread), 1, 24), centre=0.0)} for _ in range(60)
        ]
        cut = [{"x": summarise_numbers([0.1], centre=0.0)}, *whole]

        limits, reasons = zip(*(self._limit(parts) for parts in (whole, cut)), strict=True)

        assert limits[1] == pytest.approx(limits[0], rel=0.01 if spread else 0.1)
        if spread:
            assert limits[0] > 0.5
            assert "60 runs of days" in reasons[1]
            assert "1 with few rows is left out" in reasons[1]

    def _limit(self, parts: list[dict[str, NumericSummary]]) -> tuple[float, str]:
        reference = prepare_reference(merge_numbers([part["x"] for part in parts]))
        days = count_days({"x": reference}, dated(parts))["x"]
        null = resample_null(reference, grid_size(24), rng=np.random.default_rng(0), days=days)
        limit = null.threshold("psi")
        return limit.value, limit.reason

    def test_stands_in_for_no_window(self) -> None:
        days = Days(np.array([[1.0], *[[24.0]] * 20]), np.arange(21), 1.0, differ=True)

        runs = runs_of(days, 21, 1)

        assert (len(runs.counts), runs.left_out) == (20, 1)

    def test_stands_in_for_a_window_that_is_as_short(self) -> None:
        days = Days(np.array([[10.0], *[[24.0]] * 20]), np.arange(21), 1.0, differ=True)

        assert runs_of(days, 10, 1).left_out == 0


class TestRunsOfDays:
    def test_do_not_reach_across_a_gap(self) -> None:
        dates = np.concatenate([np.arange(30), np.arange(100, 130)])

        runs = runs_of(Days(np.full((60, 1), 24.0), dates, 1.0, differ=True), 168, 7)

        assert runs.counts.min() >= 84
        assert runs.left_out == 3

    def test_of_a_week_hold_five_days_where_weekends_have_no_rows(self) -> None:
        dates = np.array([day for day in range(84) if day % 7 < 5])

        runs = runs_of(Days(np.full((60, 1), 24.0), dates, 1.0, differ=True), 120, 7)

        assert set(runs.counts.sum(axis=1)) == {120}
        assert (runs.days, runs.left_out) == (5, 0)

    def test_count_alike_however_many_rows_each_has(self) -> None:
        rows = np.where(np.arange(40) % 2, 400.0, 100.0)
        days = Days(np.column_stack([rows / 2, rows / 2]), np.arange(40), 1.0, differ=True)
        runs = runs_of(days, 200, 1)

        others, windows = draw_windows(days, runs, 200, rng=np.random.default_rng(0), draws=400)

        drawn_from = rows.sum() - others.sum(axis=1)
        assert sorted(set(drawn_from)) == [100, 400]
        assert np.mean(drawn_from == 100) == pytest.approx(0.5)
        assert windows.sum(axis=1) == pytest.approx(200)

    def test_of_billions_of_rows_keep_their_shares(self) -> None:
        days = Days(np.tile([3e9, 1e9], (20, 1)), np.arange(20), 1.0, differ=True)
        runs = runs_of(days, 1_000, 1)

        _, windows = draw_windows(days, runs, 1_000, rng=np.random.default_rng(0), draws=100)

        assert windows.tolist() == [[750.0, 250.0]] * 20


def test_fewer_than_14_days_are_not_enough():
    _, days = reference_of(np.random.default_rng(3), spread=1.0, days=13)

    assert days == {"x": None}


@pytest.mark.parametrize("n", [10, ROWS, 5 * ROWS])
def test_a_run_of_days_is_compared_with_the_other_days_alone(n):
    rng = np.random.default_rng(4)
    references, days = reference_of(rng, spread=1.0, days=20)
    assert days["x"] is not None
    assert isinstance(references["x"], NumericReference)

    runs = runs_of(days["x"], n, 1)
    others, windows = draw_windows(days["x"], runs, n, rng=rng, draws=100)

    assert len(runs.counts) == 20
    assert windows.sum(axis=1) == pytest.approx(n)
    assert others.sum(axis=1) == pytest.approx(19 * ROWS)
