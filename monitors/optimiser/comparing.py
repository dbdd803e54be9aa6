"""What a trial's answers come to: agreement with the original, and the loss of quality where labels are known."""

import math
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from inference.registry.trials.orders import Packed, Trial, unpack
from inference.runtime.variants.measuring import Timing
from inference.signatures import Signature
from monitors.definitions.outcomes import coded
from monitors.optimiser.evaluation_set import MIN_LABELLED, EvaluationSet
from monitors.stats.promotion.differences import METRICS, MetricDifference
from monitors.stats.promotion.paired import compare_pairs
from monitors.stats.promotion.pairs import answers_of

type Floats = NDArray[np.float64]


class BrokenAnswers(ValueError):
    """The child's answers are not what the signature says."""


class Measured(Struct, frozen=True):
    """One variant against its original.

    `agreement` is the share of rows answered with the same class, None for numbers. Differences are of scores
    (probabilities, or the number itself), over all columns; `spread` is the standard deviation of the original's.
    `not_finite` counts the rows on which only the variant's score is no finite number. `quality` holds the metrics
    that the labels allow, with the paired interval of their difference, variant minus original.
    """

    source: str
    rows: int
    labelled: int
    agreement: float | None
    mean_difference: float
    max_difference: float
    spread: float
    not_finite: int
    quality: dict[str, MetricDifference]
    timings: list[Timing]


def compare(trial: Trial, rows: EvaluationSet, signature: Signature) -> Measured:
    """Compare the answers of a trial to `rows`, of which a slow model was asked only the first.

    Raises BrokenAnswers.
    """
    if not 0 < trial.rows <= len(rows) or not trial.timings:
        raise BrokenAnswers(f"{trial.rows} of {len(rows)} rows were answered.")
    asked = rows.take(np.arange(trial.rows))
    try:
        original, variant = (_read(side, signature) for side in (trial.original, trial.variant))
    except (ValueError, KeyError, IndexError) as error:
        raise BrokenAnswers(str(error)) from error
    if {len(values) for values in (*original, *variant)} != {len(asked)}:
        raise BrokenAnswers("The numbers of answers and of rows differ.")
    usable, sound = _finite(original[0]), _finite(variant[0])
    both = usable & sound
    with np.errstate(over="ignore"):  # of numbers at both ends of what there is
        gaps = np.abs(variant[0][both] - original[0][both])
        spread = float(original[0][both].std()) if both.any() else 0.0
    labelled = both & ~np.isnan(asked.y)
    classes = signature.task in ("binary", "multiclass")
    return Measured(
        source=rows.source,
        rows=int(both.sum()),
        labelled=int(labelled.sum()),
        agreement=float((original[1][both] == variant[1][both]).mean()) if classes and both.any() else None,
        mean_difference=float(gaps.mean()) if gaps.size else 0.0,
        max_difference=float(gaps.max()) if gaps.size else 0.0,
        spread=spread,
        not_finite=int((usable & ~sound).sum()),
        quality=_quality(signature, asked, original, variant, labelled),
        timings=trial.timings,
    )


def storable(measured: Measured) -> dict[str, Any]:
    """Write what was measured as JSON that PostgreSQL takes: a number that is none becomes null."""
    quality = {
        name: {
            "original": metric.champion,
            "variant": metric.challenger,
            "difference": metric.difference,
            "lower": metric.lower,
            "upper": metric.upper,
        }
        for name, metric in measured.quality.items()
    }
    plain: dict[str, Any] = _without_infinities(msgspec.to_builtins(measured) | {"quality": quality})
    return plain


def _without_infinities(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_infinities(held) for name, held in value.items()}
        case list() | tuple():
            return [_without_infinities(held) for held in value]
        case float() if not math.isfinite(value):
            return None
    return value


def judged_outputs(signature: Signature) -> list[str]:
    """Name the outputs that are compared."""
    named = [signature.prediction_output, signature.probabilities_output]
    return [name for name in dict.fromkeys(named) if name is not None]


def _quality(
    signature: Signature,
    rows: EvaluationSet,
    original: tuple[Floats, Floats],
    variant: tuple[Floats, Floats],
    labelled: NDArray[np.bool_],
) -> dict[str, MetricDifference]:
    if signature.task not in METRICS or labelled.sum() < MIN_LABELLED:
        return {}
    comparison = compare_pairs(
        task=signature.task,
        y=rows.y[labelled],
        champion=original[0][labelled],
        challenger=variant[0][labelled],
        champion_answer=original[1][labelled],
        challenger_answer=variant[1][labelled],
        block=rows.block[labelled],
    )
    if signature.task != "regression" and signature.probabilities_output is None:
        return {name: metric for name, metric in comparison.metrics.items() if name == "accuracy"}
    return comparison.metrics


def _finite(score: Floats) -> NDArray[np.bool_]:
    return np.isfinite(score.reshape(len(score), -1)).all(axis=1)


def _read(outputs: dict[str, Packed], signature: Signature) -> tuple[Floats, Floats]:
    """Return the scores that metrics judge and the answers, both coded as labels are."""
    found = {name: unpack(packed) for name, packed in outputs.items()}
    answers = None
    if signature.prediction_output is not None:
        answers = _answers(found[signature.prediction_output], signature)
    if signature.probabilities_output is None:
        assert answers is not None
        return (_certain(answers, signature), answers)
    score = _scores(found[signature.probabilities_output], signature)
    return score, answers_of(signature.task, score) if answers is None else answers


def _answers(values: NDArray[Any], signature: Signature) -> Floats:
    """Read one answer a row; classes may come as numbers, which equal them by their text."""
    flat = values.reshape(len(values))
    if signature.task not in ("binary", "multiclass"):
        return flat.astype(np.float64)
    return coded(np.array([_class_text(value) for value in flat.tolist()], object), signature)


def _class_text(value: Any) -> str:
    is_whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if is_whole else str(value)


def _scores(values: NDArray[Any], signature: Signature) -> Floats:
    """Read p of the positive class, or rows x classes; one column alone is the positive class's."""
    table = values.astype(np.float64).reshape(len(values), -1)
    if signature.task == "multiclass":
        if table.shape[1] != len(signature.classes):
            raise ValueError(f"There are {table.shape[1]} columns for {len(signature.classes)} classes.")
        return table
    if table.shape[1] == 1:
        return table[:, 0]
    assert signature.positive_class is not None
    return table[:, signature.classes.index(signature.positive_class)]


def _certain(answers: Floats, signature: Signature) -> Floats:
    """Take an answer without probabilities as one that is certain; numbers are their own score."""
    if signature.task != "multiclass":
        return answers
    return (answers[:, None] == np.arange(len(signature.classes))).astype(np.float64)
