"""Days whose rows resemble each other: a quiet day is no drift, a moved one is."""

import numpy as np
import pytest

from monitors.stats.drift.judging import judge_drift
from monitors.stats.drift.prepared import NumericReference, PreparedReference, prepare_reference
from monitors.stats.drift.reference_days import Days, count_days, draw_windows
from monitors.stats.drift.stored_nulls import decode_null, encode_null
from monitors.stats.drift.thresholds import grid_size, resample_null
from monitors.stats.mergeable.sketches import (
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
    return references, count_days(references, parts)


class TestDaysThatDiffer:
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
        days = count_days({"x": reference}, parts)["x"]
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
        days = count_days({"x": reference}, parts)["x"]
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

        days = count_days(references, parts)

        assert all(column is not None and column.differ for column in days.values())


def test_fewer_than_14_days_are_not_enough():
    _, days = reference_of(np.random.default_rng(3), spread=1.0, days=13)

    assert days == {"x": None}


@pytest.mark.parametrize("n", [10, ROWS, 5 * ROWS])
def test_a_run_of_days_is_compared_with_the_other_days_alone(n):
    rng = np.random.default_rng(4)
    references, days = reference_of(rng, spread=1.0, days=20)
    assert days["x"] is not None
    assert isinstance(references["x"], NumericReference)

    others, windows, runs = draw_windows(days["x"], n, 1, rng=rng, draws=100)

    assert runs == 20
    assert windows.sum(axis=1) == pytest.approx(n)
    assert others.sum(axis=1) == pytest.approx(19 * ROWS)
