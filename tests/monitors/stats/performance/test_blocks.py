from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from monitors.stats.mergeable.outcomes import (
    OutcomeSummary,
    merge_outcomes,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.performance.blocks import MIN_BLOCKS, jackknife_error, measure_blocks
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.metrics import measure_outcomes

pytestmark = pytest.mark.slow


def hours(rng: np.random.Generator, *, alike: float, rows: Sequence[int]) -> list[OutcomeSummary]:
    """A regression's hours; errors of one hour share a part with that standard deviation."""
    return [
        summarise_regression_outcomes(np.zeros(n), rng.normal(scale=alike) + rng.normal(size=n)) for n in rows
    ]


def measured(blocks: Sequence[OutcomeSummary]) -> dict[str, Estimate]:
    return measure_blocks(merge_outcomes(blocks), blocks)


def coverage(true: float, estimates: Iterable[Estimate]) -> float:
    return float(np.mean([e.lower <= true <= e.upper for e in estimates]))  # type: ignore[operator]


def test_rows_that_are_alike_within_an_hour_get_an_interval_that_still_covers():
    rng = np.random.default_rng(0)
    rows = rng.integers(20, 200, size=24)
    days = [hours(rng, alike=0.5, rows=rows) for _ in range(120)]

    by_rows = coverage(0.0, [measure_outcomes(merge_outcomes(day))["bias"] for day in days])
    by_hours = coverage(0.0, [measured(day)["bias"] for day in days])

    assert by_rows < 0.4
    assert 0.9 <= by_hours <= 0.99


def test_independent_rows_are_covered_and_the_wider_interval_is_taken():
    rng = np.random.default_rng(0)
    day = hours(rng, alike=0.0, rows=[50] * 24)
    rowwise = measure_outcomes(merge_outcomes(day))

    for name, estimate in measured(day).items():
        assert estimate.value == rowwise[name].value
        if estimate.value is not None:
            assert estimate.upper - estimate.lower >= rowwise[name].upper - rowwise[name].lower


def test_the_method_is_told_with_the_number_of_blocks():
    day = hours(np.random.default_rng(0), alike=2.0, rows=[50] * 24)

    assert (measured(day)["mae"].method, measured(day)["mae"].detail["blocks"]) == ("jackknife", 24)


def test_too_few_blocks_and_blocks_of_other_rows_leave_the_interval_over_rows():
    day = hours(np.random.default_rng(0), alike=2.0, rows=[50] * MIN_BLOCKS)
    whole = merge_outcomes(day)

    assert measured(day[:-1]) == measure_outcomes(merge_outcomes(day[:-1]))
    assert measure_blocks(whole, [*day, day[0]]) == measure_outcomes(whole)
    assert measure_blocks(whole, []) == measure_outcomes(whole)


def test_an_hour_without_labels_changes_nothing():
    day = hours(np.random.default_rng(0), alike=2.0, rows=[50] * 10)
    empty = summarise_regression_outcomes([], [])

    assert measured([*day[:4], empty, *day[4:]]) == measured(day)


def test_leaving_out_by_running_sums_equals_leaving_out_by_hand():
    rng = np.random.default_rng(0)
    score = rng.random((9, 40))
    truth = rng.random((9, 40)) < score
    blocks = [summarise_binary_outcomes(t, s > 0.5, s) for t, s in zip(truth, score, strict=True)]
    by_hand = [
        measure_outcomes(merge_outcomes([b for b in blocks if b is not left_out]))["log_loss"].value
        for left_out in blocks
    ]
    whole = measure_outcomes(merge_outcomes(blocks))["log_loss"].value

    error = jackknife_error(whole, np.full(9, 40.0), np.array(by_hand))

    estimate = measured(blocks)["log_loss"]
    if estimate.method == "jackknife":
        assert (estimate.upper - estimate.value) / 2.306004 == pytest.approx(error, rel=1e-6)
    else:  # then the one over rows was wider
        assert estimate.upper - estimate.value > 2.306004 * error


@pytest.mark.parametrize("only", [True, False])
def test_one_class_alone_is_measured_by_blocks_as_by_rows(only):
    blocks = [summarise_binary_outcomes([only] * 5, [True] * 5, [0.5] * 5)] * 8

    assert {name: e.value for name, e in measured(blocks).items()} == {
        name: e.value for name, e in measure_outcomes(merge_outcomes(blocks)).items()
    }


def test_classes_that_only_one_hour_knows_leave_their_averages_to_the_interval_over_rows():
    known = summarise_multiclass_outcomes(("ant", "bee"), ["ant", "bee"], ["ant", "ant"], None)
    unknown = summarise_multiclass_outcomes(("ant", "bee"), ["cow"] * 3, ["ant"] * 3, None)
    day = [known, *[unknown] * 7]
    names = ("precision", "weighted_precision", "recall", "f1", "weighted_f1")

    estimates, by_rows = measured(day), measure_outcomes(merge_outcomes(day))

    assert {name: estimates[name] for name in names} == {name: by_rows[name] for name in names}


@pytest.mark.parametrize("size", [1e160, 1e300, 1e307])
def test_errors_whose_squares_no_float_holds_give_no_bound_that_is_infinite(size):
    rng = np.random.default_rng(0)
    day = [summarise_regression_outcomes(size * rng.uniform(-1, 1, 2), np.zeros(2)) for _ in range(8)]

    for name, estimate in measured(day).items():
        assert all(bound is None or np.isfinite(bound) for bound in (estimate.lower, estimate.upper)), name


def test_every_metric_of_every_task_has_an_interval_within_what_it_can_be():
    rng = np.random.default_rng(0)
    classes = ("ant", "bee", "cat")
    animals = []
    for _ in range(8):
        table = rng.dirichlet([1, 1, 1], size=40)
        truth = [classes[rng.choice(3, p=row)] for row in table]
        answer = [classes[i] for i in table.argmax(axis=1)]
        animals.append(summarise_multiclass_outcomes(classes, truth, answer, table))

    for name, estimate in measured(animals).items():
        most = np.inf if name in ("log_loss", "brier") else 1.0
        assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= most, name


def test_one_metric_alone_is_what_it_is_among_all():
    rng = np.random.default_rng(0)
    score = rng.random((9, 40))
    truth = rng.random((9, 40)) < score
    answers = [summarise_binary_outcomes(t, s > 0.5, s) for t, s in zip(truth, score, strict=True)]

    for blocks in (answers, hours(rng, alike=0.5, rows=[30] * 9)):
        for name, estimate in measured(blocks).items():
            assert measure_blocks(merge_outcomes(blocks), blocks, metric=name) == {name: estimate}
        assert measure_blocks(merge_outcomes(blocks), blocks, metric="psi") == {}
