"""The columns of a report on performance: labelled rows with their answers, and probabilities that lead to them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.reports.columns import Columns, NoReport, as_numbers, is_known
from monitors.reports.rows import ReportRows

MAX_CLASSES = 100
MAX_NUMBER = 1e150  # its square is a number still
WINDOW, REFERENCE = "the window", "the reference"

type Values = NDArray[Any]


@dataclass(frozen=True)
class AnswerColumns:
    """`label` and `prediction` of both sides, the reference's None where there is none, and what is left out.

    `probabilities` names the columns that hold them: one for a binary model, whose answers are positive from
    `threshold` on, or one a class.
    """

    current: Columns
    reference: Columns | None
    left_out: list[str] = field(default_factory=list)
    probabilities: list[str] = field(default_factory=list)
    threshold: float | None = None


def regression_columns(current: ReportRows, reference: ReportRows | None) -> AnswerColumns:
    """Return the rows whose label and answer are numbers; raises NoReport where the window has none."""
    left_out: list[str] = []
    sides = [
        _numbers_of(side, where, left_out) for side, where in _labelled_sides(current, reference, left_out)
    ]
    return AnswerColumns(sides[0], sides[1] if len(sides) > 1 else None, left_out)


def classification_columns(
    current: ReportRows, reference: ReportRows | None, *, classes: Sequence[str], positive: str | None
) -> AnswerColumns:
    """Return the rows whose label is a class; raises NoReport where a side has labels of one class alone, or none.

    `positive` is the positive class of a binary model, None for one of several classes.
    """
    left_out: list[str] = []
    sides = [
        _classified(side, where, classes, left_out)
        for side, where in _labelled_sides(current, reference, left_out)
    ]
    columns = [{"label": side.label, "prediction": side.prediction} for side in sides]
    names, threshold = _add_probabilities(sides, columns, classes, positive, left_out)
    return AnswerColumns(columns[0], columns[1] if len(columns) > 1 else None, left_out, names, threshold)  # type: ignore[arg-type]


def _labelled_sides(
    current: ReportRows, reference: ReportRows | None, left_out: list[str]
) -> list[tuple[ReportRows, str]]:
    """Keep what has a label beside an answer; a reference without any is left out."""
    window = _labelled(current, WINDOW, left_out)
    if not len(window):
        raise NoReport(
            f"None of the {current.total:,} rows of this window has a label beside its answer yet. Send labels, or "
            "choose a window whose labels have come."
        )
    if reference is None:
        return [(window, WINDOW)]
    usual = _labelled(reference, REFERENCE, left_out)
    if not len(usual):
        left_out.append("the reference: without any, the window stands alone")
        return [(window, WINDOW)]
    return [(window, WINDOW), (usual, REFERENCE)]


def _labelled(side: ReportRows, where: str, left_out: list[str]) -> ReportRows:
    labelled = np.zeros(len(side), bool)
    if side.label is not None and side.prediction is not None:
        labelled = is_known(side.label) & is_known(side.prediction)
    _tell_lost(~labelled, where, "no label beside the answer", left_out)
    return side.take(labelled)


# -- numbers -----------------------------------------------------------------------------------------------------------
def _numbers_of(side: ReportRows, where: str, left_out: list[str]) -> Columns:
    assert side.label is not None
    assert side.prediction is not None
    label, prediction = as_numbers(side.label), as_numbers(side.prediction)
    usable = (np.abs(label) < MAX_NUMBER) & (np.abs(prediction) < MAX_NUMBER)  # NaN is not
    if not usable.any():
        raise NoReport(
            f"No label of {where} is a finite number with such an answer; send labels as numbers, or choose another."
        )
    _tell_lost(~usable, where, "the label or the answer is no finite number", left_out)
    return {"label": label[usable], "prediction": prediction[usable]}


def _tell_lost(lost: NDArray[np.bool_], where: str, why: str, left_out: list[str]) -> None:
    if lost.any():
        left_out.append(f"{int(lost.sum()):,} of {where}'s rows: {why}")


# -- classes -----------------------------------------------------------------------------------------------------------
def _classified(side: ReportRows, where: str, classes: Sequence[str], left_out: list[str]) -> ReportRows:
    assert side.label is not None
    known = set(classes or side.label)
    if len(known) > MAX_CLASSES:
        raise NoReport(
            f"The labels have {len(known):,} different values; a report tells {MAX_CLASSES} classes apart. Declare "
            "the model's task as regression if they are numbers."
        )
    is_class = np.array([label in known for label in side.label], bool)
    if not is_class.any():
        raise NoReport(
            f"No label of {where} is a class of the model ({', '.join(map(str, classes))}); send labels that are."
        )
    _tell_lost(~is_class, where, "the label is no class of the model", left_out)
    rows = side.take(is_class)
    if len(set(rows.label)) < 2:  # type: ignore[arg-type]
        raise NoReport(
            f"All labels of {where} are of one class, so there is nothing to tell apart; choose a longer one."
        )
    return rows


def _add_probabilities(
    sides: Sequence[ReportRows],
    columns: Sequence[dict[str, Any]],
    classes: Sequence[str],
    positive: str | None,
    left_out: list[str],
) -> tuple[list[str], float | None]:
    """Add the probabilities to the columns where they lead to the answers; returns their names and the threshold.

    Evidently answers anew from the probabilities that it gets, so others would score another model.
    """
    given = [side.probability for side in sides if side.probability is not None]
    if len(given) < len(sides):
        return [], None
    answers = np.concatenate([side.prediction for side in sides if side.prediction is not None])
    threshold = None
    if any(not np.isfinite(values).all() for values in given):
        fault = "some rows have none"
    elif positive is None:
        fault = _fault_of_classes(sides, given, classes, answers)
    elif any(values.ndim != 1 for values in given):
        fault = "they are of other classes"
    else:
        threshold = _threshold(np.concatenate(given), answers == positive)
        fault = "" if threshold is not None else "the answers do not follow from them by one threshold"
    if fault:
        left_out.append(f"probabilities: {fault}, so the answers alone are scored")
        return [], None
    names = list(classes) if positive is None else ["probability"]
    for side, values in zip(columns, given, strict=True):
        side |= dict(zip(names, values.reshape(len(values), -1).T, strict=True))
    return names, threshold


def _fault_of_classes(
    sides: Sequence[ReportRows], given: Sequence[Values], classes: Sequence[str], answers: Values
) -> str:
    """Return why a table of probabilities cannot be used; empty where it can."""
    if {"label", "prediction"} & set(classes) or any(values.shape[1:] != (len(classes),) for values in given):
        return "they are of other classes"
    if any(set(side.label) != set(classes) for side in sides):  # type: ignore[arg-type]
        return "some class has no label"
    if (np.array(classes, object)[np.concatenate(given).argmax(axis=1)] != answers).any():
        return "the answers are not the most probable classes"
    return ""


def _threshold(probability: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float | None:
    """Find the probability from which on a model answers positive; None where there is no such one."""
    below = probability[~is_positive].max(initial=-np.inf)
    if not is_positive.any():
        return float(np.nextafter(below, np.inf))
    threshold = float(probability[is_positive].min())
    return threshold if below < threshold else None
