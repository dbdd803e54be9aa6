"""Finds the class that a column of probabilities is of, by the classes beside it."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_EXACT = 2.0**53  # below it a float64 tells each whole number from the next
_ERRORS = 2.0  # standard errors, from which on two means differ beyond chance


def class_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write classes as people would: 1.0 as 1, true as 1."""
    if pa.types.is_floating(column.type):
        is_whole = pc.and_(pc.less(pc.abs(column), _EXACT), pc.equal(column, pc.floor(column)))
        column = column.cast(pa.int64()) if pc.all(is_whole).as_py() else column
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.string())


def with_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read a column of texts as what all of them are: truths, numbers, or else texts."""
    for kind in (pa.bool_(), pa.float64()):
        with suppress(pa.ArrowInvalid):
            return column.cast(kind)
    return column


def find_scored_class(outcomes: Iterable[pa.ChunkedArray], probabilities: pa.ChunkedArray) -> str | None:
    """Return the one of two classes whose rows have the higher probabilities, or None where the rows do not show it.

    `outcomes` are columns of classes, such as the predictions and the labels; the first that shows it decides.

    >>> find_scored_class([pa.chunked_array([["yes", "no", "no"]])], pa.chunked_array([[0.9, 0.2, 0.4]]))
    'yes'
    """
    numbers = probabilities.to_numpy().astype(np.float64)
    found = (_scored_class(np.array(column.to_pylist(), object), numbers) for column in outcomes)
    return next((name for name in found if name is not None), None)


def _scored_class(outcomes: NDArray[Any], probabilities: NDArray[np.float64]) -> str | None:
    is_known = np.array([value is not None for value in outcomes], bool) & ~np.isnan(probabilities)
    outcomes, probabilities = outcomes[is_known], probabilities[is_known]
    names = sorted(set(outcomes))
    if len(names) != 2:
        return None
    groups = [probabilities[outcomes == name] for name in names]
    difference = groups[1].mean() - groups[0].mean()
    error = np.sqrt(sum(group.var() / len(group) for group in groups))
    return names[int(difference > 0)] if abs(difference) > _ERRORS * error else None
