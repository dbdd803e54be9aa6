"""What was added to a summary comes out of it again, or the difference says that it is not exact."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.mergeable.outcomes import (
    OutcomeMismatch,
    OutcomeSummary,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.mergeable.subtraction import subtract, subtract_outcomes
from monitors.stats.mergeable.window_summary import WindowSummary, merge_windows, summarise_window
from monitors.summaries.checking import difference_of

CLASSES = ("ant", "bee", "cat")
TASKS = ("binary", "multiclass", "regression")


def outcome_of(task: str, rng: np.random.Generator, n: int) -> OutcomeSummary:
    if task == "binary":
        score = rng.random(n)
        return summarise_binary_outcomes(rng.random(n) < score, score > 0.5, score)
    if task == "multiclass":
        table = rng.dirichlet(np.ones(3), n)
        truth = rng.choice(np.array([*CLASSES, "dog"], object), n)
        return summarise_multiclass_outcomes(
            CLASSES, truth, np.array(CLASSES, object)[table.argmax(1)], table
        )
    truth = rng.normal(5, 2, n)
    return summarise_regression_outcomes(truth, truth + rng.normal(0, 1, n))


def window_of(task: str, rng: np.random.Generator, n: int) -> WindowSummary:
    return summarise_window(
        rows=n,
        features={
            "income": np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 1, n)),
            "region": rng.choice(np.array(["north", "south", None], object), n),
        },
        centres={"income": 0.0},
        prediction=rng.choice(np.array(["a", "b"], object), n),
        score=rng.random(n),
        latency_ms=rng.gamma(2, 1, n),
        outcome=outcome_of(task, rng, n) if n else None,
        labelled=n,
        label_lag_s=rng.gamma(2, 100, n),
    )


@pytest.mark.slow
@given(
    task=st.sampled_from(TASKS),
    seed=st.integers(0, 10_000),
    kept=st.integers(1, 60),
    lost=st.integers(0, 60),
)
def test_a_part_comes_out_as_if_it_had_never_been_added(task: str, seed: int, kept: int, lost: int) -> None:
    rng = np.random.default_rng(seed)
    rest, part = window_of(task, rng, kept), window_of(task, rng, lost)

    difference = subtract(merge_windows([rest, part]), part)

    if difference.is_exact:
        assert difference_of(difference.rest, rest) is None
    assert difference.rest.rows == rest.rows
    assert difference.rest.features["region"] == rest.features["region"]
    income, expected = difference.rest.features["income"], rest.features["income"]
    assert (income.n, income.missing) == (expected.n, expected.missing)  # type: ignore[union-attr]


@pytest.mark.parametrize("task", TASKS)
def test_one_row_of_many_comes_out_exactly(task: str) -> None:
    """That is the rule: a correction among an hour's labels."""
    rng = np.random.default_rng(0)
    hour = window_of(task, rng, 500)
    exact = [
        subtract(merge_windows([hour, one]), one) for one in (window_of(task, rng, 1) for _ in range(40))
    ]

    assert sum(one.is_exact for one in exact) >= 36
    assert [difference_of(one.rest, hour) for one in exact if one.is_exact] == [None] * sum(
        one.is_exact for one in exact
    )


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_left_of_an_outcome_that_comes_out_of_itself(task: str) -> None:
    outcome = outcome_of(task, np.random.default_rng(1), 30)

    assert subtract_outcomes(outcome, outcome) is None


def regression(label: float, prediction: float) -> WindowSummary:
    outcome = summarise_regression_outcomes([label], [prediction])
    return summarise_window(rows=0, features={}, centres={}, outcome=outcome, labelled=1)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (regression(1e30, 1.0), "nothing is left of the digits of the others"),
        (regression(999.0, 1.0), "the next largest error is not kept"),
    ],
)
def test_a_difference_says_that_it_is_not_exact(part: WindowSummary, reason: str) -> None:
    others = merge_windows([regression(float(label), 1.0) for label in range(1, 400)])

    assert not subtract(merge_windows([others, part]), part).is_exact, reason


def test_the_same_extreme_of_several_rows_stays() -> None:
    others = merge_windows([regression(label, 1.0) for label in (9.0, 9.0, 2.0)])

    difference = subtract(merge_windows([others, regression(9.0, 1.0)]), regression(9.0, 1.0))

    outcome: Any = difference.rest.outcome
    assert difference.is_exact
    assert (outcome.magnitude.maximum, outcome.n) == (8.0, 3)


def test_the_last_row_leaves_empty_columns() -> None:
    only = window_of("regression", np.random.default_rng(2), 1)

    rest = subtract(only, only).rest

    assert (rest.rows, rest.labelled, rest.outcome) == (0, 0, None)
    assert rest.score is not None
    assert rest.score.n == 0
    assert math.isnan(rest.score.minimum)


def test_other_tasks_do_not_come_out() -> None:
    rng = np.random.default_rng(3)

    with pytest.raises(OutcomeMismatch):
        subtract_outcomes(outcome_of("binary", rng, 3), outcome_of("regression", rng, 3))
