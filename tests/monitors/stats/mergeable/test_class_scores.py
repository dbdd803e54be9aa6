"""The scores of each class in a summary that somebody else made."""

from dataclasses import replace

import numpy as np
import pytest

from monitors.stats.mergeable.class_scores import ClassScores
from monitors.stats.mergeable.outcomes import MulticlassOutcomeSummary, summarise_multiclass_outcomes
from monitors.stats.mergeable.sketches import summarise_categories
from monitors.stats.mergeable.untrusted import SummaryLayout, find_fault
from monitors.stats.mergeable.window_summary import WindowSummary

CLASSES = ("ant", "bee", "cat")
ROWS = 60
LAYOUT = SummaryLayout("multiclass", {}, None, CLASSES)


@pytest.fixture(scope="module")
def outcome() -> MulticlassOutcomeSummary:
    rng = np.random.default_rng(0)
    truth, answer = rng.choice(CLASSES, ROWS), rng.choice(CLASSES, ROWS)
    return summarise_multiclass_outcomes(CLASSES, truth, answer, rng.dirichlet([1, 1, 1], ROWS))


def window_of(outcome: MulticlassOutcomeSummary, scores: ClassScores) -> WindowSummary:
    answers = np.repeat(CLASSES, outcome.confusion.sum(axis=0)).tolist()
    return WindowSummary(
        rows=ROWS,
        features={},
        prediction=summarise_categories(answers),
        labelled=ROWS,
        outcome=replace(outcome, scores=scores),
    )


def test_is_read_as_it_was_written(outcome: MulticlassOutcomeSummary) -> None:
    window = WindowSummary.decode(window_of(outcome, outcome.scores).encode())

    assert find_fault(window, LAYOUT) == ""
    assert isinstance(window.outcome, MulticlassOutcomeSummary)
    assert np.array_equal(window.outcome.scores.steps, outcome.scores.steps)
    assert np.array_equal(window.outcome.scores.negatives, outcome.scores.negatives)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda scores: replace(scores, steps=scores.steps[::-1].copy()), "do not ascend"),
        (lambda scores: replace(scores, steps=scores.steps + (1 << 40)), "of no class"),
        (lambda scores: replace(scores, positives=-scores.positives), "a count is negative"),
        (lambda scores: replace(scores, positives=scores.positives * 2), "do not count the same"),
        (lambda scores: replace(scores, dropped_bits=60), "other steps than its classes may have"),
        (lambda scores: replace(scores, steps=scores.steps[:-1]), "other steps than its classes may have"),
    ],
)
def test_that_no_rows_could_have_given_is_named(
    outcome: MulticlassOutcomeSummary, spoil: object, fault: str
) -> None:
    found = find_fault(window_of(outcome, spoil(outcome.scores)), LAYOUT)  # type: ignore[operator]

    assert found.startswith("outcome: scores: ")
    assert fault in found
