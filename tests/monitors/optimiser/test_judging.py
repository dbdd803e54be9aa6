"""The budget of a variant: refused for a cause that is said, a gain that is said, or none."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.optimiser.comparing import Measured
from monitors.optimiser.judging import VariantBudget, VariantVerdict, budget_of, judge
from monitors.stats.promotion.differences import MetricDifference
from tests.monitors.optimiser.timings import timing


def accuracy(difference: float, *, wide: float = 0.001, original: float = 0.9) -> dict[str, MetricDifference]:
    value = original + difference
    bounds = (difference - wide, difference + wide)
    return {"accuracy": MetricDifference("accuracy", True, original, value, difference, *bounds)}


SAME = Measured(
    source="rows",
    rows=1000,
    labelled=1000,
    agreement=1.0,
    mean_difference=0.0,
    max_difference=0.0,
    spread=1.0,
    not_finite=0,
    quality=accuracy(0.0),
    timings=[timing(), timing(rows=64)],
)


def verdict(budget: VariantBudget | None = None, size: int = 1000, **changes: Any) -> VariantVerdict:
    return judge(
        msgspec.structs.replace(SAME, **changes), budget or VariantBudget(), size=size, original_size=1000
    )


class TestNoGain:
    def test_is_the_verdict_on_an_equal(self) -> None:
        assert verdict() == VariantVerdict(
            "no_gain",
            "Neither faster nor smaller than the original. No metric is worse than its margin on 1,000 labelled rows.",
        )

    def test_is_a_speed_up_within_its_interval(self) -> None:
        assert verdict(timings=[timing(0.9, wide=0.2), timing(rows=64)]).status == "no_gain"


class TestGain:
    def test_is_less_time_beyond_the_interval(self) -> None:
        judged = verdict(timings=[timing(0.6, wide=0.1), timing(rows=64)])

        assert judged.status == "gain"
        assert judged.reason.startswith("Faster: one row takes 60% of the time.")

    def test_is_fewer_bytes(self) -> None:
        assert verdict(size=300).reason.startswith("Smaller: 30% of the bytes.")

    @given(st.floats(0.01, 3), st.integers(1, 3000), st.floats(-0.5, 0.1))
    def test_never_costs_more_than_half_a_point_or_time(
        self, ratio: float, size: int, difference: float
    ) -> None:
        judged = verdict(
            timings=[timing(ratio), timing(ratio, rows=64)], size=size, quality=accuracy(difference)
        )

        if judged.status == "gain":
            assert difference > -0.005
            assert ratio <= 1.05
            assert ratio < 0.95 or size <= 900


class TestRefused:
    def test_for_a_loss_of_quality(self) -> None:
        judged = verdict(size=300, quality=accuracy(-0.02))

        assert judged.status == "refused"
        assert "accuracy 0.88 against 0.9" in judged.reason
        assert "worse than the margin of 0.005" in judged.reason

    def test_for_a_loss_that_few_rows_cannot_rule_out(self) -> None:
        judged = verdict(size=300, quality=accuracy(-0.001, wide=0.02))

        assert judged.status == "refused"
        assert "may be worse than the margin of 0.005" in judged.reason

    def test_for_falling_below_the_objectives_floor(self) -> None:
        budget = budget_of({"quality": {"metric": "accuracy", "floor": 0.899}})

        judged = verdict(budget, size=300, quality=accuracy(-0.002))

        assert judged == VariantVerdict(
            "refused",
            "Its accuracy of 0.898 is worse than the objective's 0.899, which the original meets with 0.9.",
        )

    def test_not_for_a_floor_that_the_original_misses_too(self) -> None:
        budget = budget_of({"quality": {"metric": "accuracy", "floor": 0.95}})

        assert verdict(budget, size=300).status == "gain"

    def test_for_a_floor_that_is_a_ceiling_of_errors(self) -> None:
        budget = budget_of({"quality": {"metric": "mae", "floor": 1.001}})
        error = MetricDifference("mae", False, 1.0, 1.002, 0.002, 0.0019, 0.0021)

        assert (
            "Its mae of 1.002 is worse than the objective's 1.001"
            in verdict(budget, quality={"mae": error}).reason
        )

    def test_for_being_slower(self) -> None:
        judged = verdict(size=300, timings=[timing(1.4, wide=0.1), timing(rows=64)])

        assert judged == VariantVerdict(
            "refused",
            "It is slower on this machine: one row takes 1.40 times as long (14.0 against 10.0 µs).",
        )

    def test_for_a_p99_over_the_objective(self) -> None:
        judged = verdict(
            budget_of({"latency_p99_ms": 0.5}), size=300, timings=[timing(p99_us=900), timing(rows=64)]
        )

        assert judged == VariantVerdict("refused", "Its p99 of 0.9 ms a row is over the objective's 0.5 ms.")

    def test_for_answers_that_are_no_numbers(self) -> None:
        assert (
            verdict(not_finite=3).reason == "It gives no finite number on 3 rows that the original answers."
        )


class TestWithoutLabels:
    @pytest.mark.parametrize(("agreement", "status"), [(0.996, "gain"), (0.99, "refused")])
    def test_classes_have_to_agree(self, agreement: float, status: str) -> None:
        judged = verdict(size=300, quality={}, agreement=agreement)

        assert judged.status == status
        assert "no labels to judge by" in judged.reason

    @pytest.mark.parametrize(("difference", "status"), [(0.004, "gain"), (0.006, "refused")])
    def test_numbers_have_to_be_near(self, difference: float, status: str) -> None:
        judged = verdict(size=300, quality={}, agreement=None, mean_difference=difference)

        assert judged.status == status
        assert "no labels to judge by" in judged.reason


def test_an_equal_of_a_perfect_original_is_not_refused() -> None:
    perfect = {"mae": MetricDifference("mae", False, 0.0, 0.0, 0.0, 0.0, 0.0)}

    assert verdict(size=300, quality=perfect).status == "gain"
