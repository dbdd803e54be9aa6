import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.mergeable.outcomes import (
    OutcomeMismatch,
    OutcomeSummary,
    merge_outcomes,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.metrics import measure_outcomes

CLASSES = ("ant", "bee", "cat")

rows = st.lists(
    st.tuples(st.booleans(), st.floats(0.0, 1.0), st.sampled_from(CLASSES), st.sampled_from(CLASSES)),
    max_size=30,
)


def binary(part) -> OutcomeSummary:
    score = np.array([row[1] for row in part])
    return summarise_binary_outcomes([row[0] for row in part], score >= 0.5, score)


def multiclass(part) -> OutcomeSummary:
    probability = np.array([[row[1], (1 - row[1]) / 2, (1 - row[1]) / 2] for row in part]).reshape(-1, 3)
    return summarise_multiclass_outcomes(
        CLASSES, [row[2] for row in part], [row[3] for row in part], probability
    )


def regression(part) -> OutcomeSummary:
    score = np.round([row[1] for row in part], 3)  # labels nearer than that are one at a million
    return summarise_regression_outcomes(1e6 + 3 * score, 1e6 + score**2)


@pytest.mark.parametrize("summarise", [binary, multiclass, regression])
@given(parts=st.lists(rows, min_size=1, max_size=4))
def test_metrics_of_merged_parts_equal_those_of_the_whole(summarise, parts):
    whole = measure_outcomes(summarise([row for part in parts for row in part]))

    merged = measure_outcomes(merge_outcomes([summarise(part) for part in parts]))

    assert merged.keys() == whole.keys()
    for name, estimate in whole.items():
        assert merged[name].n == estimate.n
        assert numbers_of(merged[name]) == pytest.approx(
            numbers_of(estimate), rel=1e-4, abs=1e-5, nan_ok=True
        )


def numbers_of(estimate: Estimate) -> list[float]:
    """The value and its bounds, with NaN for what is undefined."""
    return [np.nan if x is None else x for x in (estimate.value, estimate.lower, estimate.upper)]


def test_outcomes_of_different_tasks_do_not_merge():
    with pytest.raises(OutcomeMismatch, match="different tasks"):
        merge_outcomes([binary([]), regression([])])


def test_outcomes_of_versions_with_other_classes_are_put_on_the_classes_of_either():
    old = summarise_multiclass_outcomes(("bee", "ant"), ["ant", "bee"], ["ant", "ant"], None)
    new = summarise_multiclass_outcomes(("ant", "cat"), ["cat", "ant"], ["cat", "cat"], None)

    merged = merge_outcomes([old, new])

    assert merged.classes == ("bee", "ant", "cat")
    assert merged.confusion.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_a_label_that_is_no_class_is_a_wrong_answer():
    outcome = summarise_multiclass_outcomes(CLASSES, ["ant", "dog"], ["ant", "ant"], None)

    assert measure_outcomes(outcome)["accuracy"].value == 0.5


def test_a_row_without_probability_counts_by_its_class_alone():
    outcome = summarise_binary_outcomes([True, False], [True, True], [np.nan, 0.7])

    measured = measure_outcomes(outcome)
    assert (measured["accuracy"].value, measured["accuracy"].n) == (0.5, 2)
    assert measured["log_loss"].n == 1
