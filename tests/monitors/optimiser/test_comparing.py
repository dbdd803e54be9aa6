"""What a trial's answers come to, also where a hostile model made them."""

import json
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from inference.registry.trials import Trial
from inference.registry.trials.orders import pack
from inference.signatures import Signature
from monitors.optimiser.comparing import BrokenAnswers, compare, storable
from monitors.optimiser.evaluation_set import EvaluationSet
from tests.inference.onnx_models import classifier_signature, summing_signature
from tests.monitors.optimiser.timings import timing

ROWS = 200
BINARY = classifier_signature(2)


def rows(y: Any) -> EvaluationSet:
    return EvaluationSet(
        {"X": np.zeros((ROWS, 2), np.float32)}, np.asarray(y, np.float64), np.zeros(ROWS, np.int64), "rows"
    )


def binary_trial(original: Any, variant: Any) -> Trial:
    """A trial of p of the positive class; the answer is the more probable class."""

    def told(p: Any) -> dict[str, Any]:
        p = np.asarray(p, np.float64)
        return {
            "label": pack((p >= 0.5).astype(np.int64)),
            "probabilities": pack(np.stack([1 - p, p], axis=1).astype(np.float32)),
        }

    return Trial(b"", ROWS, told(original), told(variant), [timing(), timing(rows=64)])


def number_trial(original: Any, variant: Any) -> Trial:
    sides = ({"sum": pack(np.asarray(side, np.float32).reshape(-1, 1))} for side in (original, variant))
    return Trial(b"", ROWS, *sides, [timing(), timing(rows=64)])


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(0)


def test_equal_answers_agree_and_lose_nothing(chance: np.random.Generator) -> None:
    p = chance.random(ROWS)

    measured = compare(binary_trial(p, p), rows(p > chance.random(ROWS)), BINARY)

    assert (measured.agreement, measured.max_difference, measured.not_finite) == (1, 0, 0)
    assert {metric.difference for metric in measured.quality.values()} == {0}
    assert set(measured.quality) == {"roc_auc", "log_loss", "accuracy", "brier"}


def test_a_loss_is_bounded_by_pairs(chance: np.random.Generator) -> None:
    p = chance.random(ROWS)
    turned = np.where(chance.permutation(ROWS) < 50, 1 - p, p)

    measured = compare(binary_trial(p, turned), rows(p >= 0.5), BINARY)

    assert measured.agreement == 0.75
    accuracy = measured.quality["accuracy"]
    assert (accuracy.champion, accuracy.challenger) == (1, 0.75)
    assert accuracy.lower < -0.25 < accuracy.upper < 0


def test_numbers_have_no_agreement_and_differ_by_their_distance() -> None:
    original = np.arange(ROWS)

    measured = compare(number_trial(original, original + 2), rows(original), summing_signature(2))

    assert measured.agreement is None
    assert (measured.mean_difference, measured.max_difference) == (2, 2)
    assert measured.quality["mae"].difference == 2


def test_without_labels_enough_there_is_no_quality() -> None:
    y = np.full(ROWS, np.nan)
    y[:99] = 1

    measured = compare(number_trial(np.arange(ROWS), np.arange(ROWS)), rows(y), summing_signature(2))

    assert (measured.labelled, measured.quality) == (99, {})


def test_without_probabilities_accuracy_alone_is_judged(chance: np.random.Generator) -> None:
    p = chance.random(ROWS)
    signature: Signature = structs.replace(BINARY, probabilities_output=None)

    assert set(compare(binary_trial(p, p), rows(p >= 0.5), signature).quality) == {"accuracy"}


def test_numbers_that_only_the_variant_lost_are_counted() -> None:
    original, variant = np.arange(ROWS, dtype=float), np.arange(ROWS, dtype=float)
    original[0], variant[:4] = np.nan, np.nan

    measured = compare(number_trial(original, variant), rows(np.arange(ROWS)), summing_signature(2))

    assert (measured.rows, measured.not_finite) == (196, 3)


def test_what_is_stored_is_json_that_the_database_takes() -> None:
    original = np.zeros(ROWS)
    trial = structs.replace(
        number_trial(original, original), timings=[timing(float("nan")), timing(float("inf"))]
    )

    stored = storable(compare(trial, rows(original), summing_signature(2)))

    json.dumps(stored, allow_nan=False)
    assert stored["timings"][1]["ratio"] is None


class TestBrokenAnswers:
    @pytest.mark.parametrize(
        "change",
        [
            {"rows": 0},
            {"rows": ROWS + 1},
            {"timings": []},
            {"variant": {}},
            {"variant": {"sum": pack(np.zeros((3, 1), np.float32))}},
            {"variant": {"sum": pack(np.zeros((ROWS, 2), np.float32))}},
            {"variant": {"sum": pack(np.array(["a"] * ROWS, object))}},
        ],
    )
    def test_are_said_to_be_broken(self, change: dict[str, Any]) -> None:
        trial = structs.replace(number_trial(np.zeros(ROWS), np.zeros(ROWS)), **change)

        with pytest.raises(BrokenAnswers):
            compare(trial, rows(np.zeros(ROWS)), summing_signature(2))

    def test_are_columns_that_are_not_the_classes(self) -> None:
        signature = structs.replace(BINARY, task="multiclass", positive_class=None, classes=["0", "1", "2"])

        with pytest.raises(BrokenAnswers, match="2 columns for 3 classes"):
            compare(binary_trial(np.zeros(ROWS), np.zeros(ROWS)), rows(np.zeros(ROWS)), signature)
