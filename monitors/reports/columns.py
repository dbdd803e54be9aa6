"""The columns of a report on data: which each side has, and in sentences what is left out and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.reports.rows import ReportRows

MAX_COLUMNS = 200  # more make a browser hang; those that matter most to the model are taken
_ANSWERS = ("prediction", "probability", "label")
_NAMED = 8

type Values = NDArray[Any]
type Columns = dict[str, Values]


class NoReport(Exception):
    """There is nothing to report on; the message says why, and what to do."""


@dataclass
class DataColumns:
    """Columns of both sides, the reference's None where there is none, and what is left out."""

    current: Columns
    reference: Columns | None
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, names: Sequence[str], why: str) -> None:
        """Take columns away and say why."""
        if not names:
            return
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        self.left_out.append(f"{', '.join(names[:_NAMED])}{more}: {why}")
        for side in (self.current, self.reference):
            for name in names if side else ():
                side.pop(name, None)  # type: ignore[union-attr]


def data_columns(
    current: ReportRows, reference: ReportRows | None, *, importance: dict[str, float], needs_values: bool
) -> DataColumns:
    """Choose features, answers and labels that both sides have, of one type; with `needs_values` none may be empty.

    `importance` tells which features come first where there are too many. Raises NoReport where no column is left.
    """
    columns = DataColumns(_columns_of(current), None if reference is None else _columns_of(reference))
    columns.leave_out(sorted(current.dropped), "its values are dropped once they are summarised")
    if columns.reference is not None:
        _align(columns, columns.reference)
    if needs_values:
        empty = [name for name in columns.current if not _has_values(columns, name)]
        columns.leave_out(empty, "no value on one side")
    ranked = sorted(columns.current, key=lambda name: (name not in _ANSWERS, -importance.get(name, 0.0)))
    columns.leave_out(ranked[MAX_COLUMNS:], f"a report has {MAX_COLUMNS} columns, those that matter most")
    if not columns.current:
        why = "; ".join(columns.left_out) or "the rows have no features"
        raise NoReport(f"There is no column to report on ({why}). Choose another window or reference.")
    return columns


def _columns_of(side: ReportRows) -> Columns:
    """Name the answer and its label beside the features; a feature of such a name is the feature."""
    answers = {"prediction": side.prediction, "label": side.label}
    if side.probability is not None and side.probability.ndim == 1:
        answers["probability"] = side.probability
    return {name: values for name, values in answers.items() if values is not None} | side.features


def _align(columns: DataColumns, reference: Columns) -> None:
    """Leave out what one side does not have, or has of another type. That an answer is missing is no news."""
    current = columns.current
    if "label" in current and "label" in reference and reference["label"].dtype != object:
        current["label"] = as_numbers(current["label"])  # the log keeps the text of each label
    for name in _ANSWERS:
        if (name in current) != (name in reference):
            current.pop(name, None)
            reference.pop(name, None)
    columns.leave_out([name for name in current if name not in reference], "not in the reference")
    columns.leave_out([name for name in reference if name not in current], "not in the window")
    other = [name for name in current if (current[name].dtype == object) != (reference[name].dtype == object)]
    columns.leave_out(other, "text on one side and numbers on the other")


def _has_values(columns: DataColumns, name: str) -> bool:
    sides = [columns.current, *([] if columns.reference is None else [columns.reference])]
    return all(bool(is_known(side[name]).any()) for side in sides)


def is_known(values: Values) -> NDArray[np.bool_]:
    """Mark the entries that have a value."""
    if values.dtype == object:
        return np.array([value is not None for value in values], bool)
    known: NDArray[np.bool_] = np.isfinite(values)
    return known


def as_numbers(values: Values) -> NDArray[np.float64]:
    """Read texts as numbers; NaN where they are none."""
    return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return np.nan if value is None else float(value)
    except ValueError:
        return np.nan


def texts_among(columns: Columns) -> list[str]:
    """Name the columns that Evidently itself would take for text: more than half of the values are different."""
    known = {
        name: [value for value in values if value is not None]
        for name, values in columns.items()
        if values.dtype == object and name not in _ANSWERS
    }
    return [name for name, values in known.items() if len(set(values)) > len(values) / 2]
