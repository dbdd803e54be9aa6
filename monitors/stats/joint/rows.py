"""Rows of many columns as one table of numbers: what kernels compare that look at all features at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray

# Larger numbers count as this one, so that sums of their squares are floats.
_MAX_NUMBER = 1e100
# A level needs this share of the reference's rows, and so many, to be told apart: a level that is rare is in one sample
# and not in the next although nothing drifts.
_MIN_SHARE, _MIN_COUNT = 0.005, 5


@dataclass(frozen=True, eq=False)
class JointRows:
    """Rows as a table of floats, NaN where a value is missing or infinite; a category is its level's number.

    `values` has a row each and a column a name. `hours` are the hours since 1970 that the rows' events lie in, None
    where times are not known.
    """

    names: tuple[str, ...]
    values: FloatArray
    is_category: NDArray[np.bool_]
    hours: IntArray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.generic]) -> JointRows:
        """Keep the rows that a mask or indices pick."""
        hours = None if self.hours is None else self.hours[rows]
        return JointRows(self.names, self.values[rows], self.is_category, hours)

    def select(self, names: Sequence[str]) -> JointRows:
        """Keep some columns, in the order of `names`."""
        places = np.array([self.names.index(name) for name in names], np.intp)
        return JointRows(tuple(names), self.values[:, places], self.is_category[places], self.hours)

    def sample(self, most: int, rng: np.random.Generator) -> JointRows:
        """Draw up to `most` rows without replacement, in the order that they have."""
        if len(self) <= most:
            return self
        return self.take(np.sort(rng.choice(len(self), most, replace=False)))

    @classmethod
    def concatenate(cls, parts: Sequence[JointRows]) -> JointRows:
        """Put rows of the same columns one below the other; there is at least one part."""
        hours = [part.hours for part in parts if part.hours is not None]
        return cls(
            parts[0].names,
            np.vstack([part.values for part in parts]),
            parts[0].is_category,
            np.concatenate(hours) if len(hours) == len(parts) else None,
        )


@dataclass(frozen=True, eq=False)
class JointEncoding:
    """The columns of a reference: of a category the numbers of its levels by frequency, of a number None."""

    levels: Mapping[str, Mapping[Any, int] | None]

    @classmethod
    def learn(cls, columns: Mapping[str, NDArray[Any]]) -> JointEncoding:
        """Learn the columns and their levels from arrays of one entry a row; texts are of dtype object."""
        return cls(
            {
                name: _number_levels(values.tolist()) if values.dtype == object else None
                for name, values in columns.items()
            }
        )

    def comparable(self, columns: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
        """Name the columns that a window has as well, as the same kind; a column without any value is of each."""
        return tuple(
            name
            for name, levels in self.levels.items()
            if name in columns
            and ((columns[name].dtype == object) == (levels is not None) or _is_empty(columns[name]))
        )

    def encode(
        self, columns: Mapping[str, NDArray[Any]], names: Sequence[str], hours: IntArray | None = None
    ) -> JointRows:
        """Lay some columns out as a table; a level that the reference does not have gets a number of its own."""
        rows = len(next(iter(columns.values()), ()))
        table = np.empty((rows, len(names)))
        for place, name in enumerate(names):
            table[:, place] = _column(columns[name], self.levels[name])
        kinds = np.array([self.levels[name] is not None for name in names], np.bool_)
        return JointRows(tuple(names), table, kinds, hours)


def _number_levels(values: Iterable[Any]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for value in values:
        if value is not None and value == value:
            counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts, key=lambda level: (-counts[level], str(level)))
    return {level: number for number, level in enumerate(ordered)}


def _is_empty(values: NDArray[Any]) -> bool:
    if values.dtype != object:
        return bool(np.isnan(values).all())
    return all(value is None or value != value for value in values.tolist())


def _column(values: NDArray[Any], levels: Mapping[Any, int] | None) -> FloatArray:
    if levels is not None:
        unknown = len(levels)
        found = [np.nan if v is None or v != v else levels.get(v, unknown) for v in values.tolist()]
        return np.array(found, np.float64)
    if values.dtype == object:
        return np.full(len(values), np.nan)  # `comparable` said that there is no value
    numbers = values.astype(np.float64)
    return np.where(np.isfinite(numbers), np.clip(numbers, -_MAX_NUMBER, _MAX_NUMBER), np.nan)


def level_shares(reference: JointRows, column: int) -> FloatArray:
    """Return the share of the reference's rows that each level of a category has, by its number; 0 where it is rare.

    A number beyond the array is of a level that none of these rows has.
    """
    known = reference.values[:, column]
    counts = np.bincount(known[np.isfinite(known)].astype(np.int64))
    least = max(_MIN_COUNT, _MIN_SHARE * len(reference))
    return np.where(counts >= least, counts / max(len(reference), 1), 0.0)


def look_up(by_level: FloatArray, levels: FloatArray, *, otherwise: float) -> FloatArray:
    """Replace level numbers by what an array holds of them, `otherwise` beyond its end; NaN stays NaN."""
    extended = np.append(by_level, otherwise)
    numbers = np.where(np.isfinite(levels), levels, 0).astype(np.int64)
    return np.where(np.isfinite(levels), extended[np.minimum(numbers, len(by_level))], np.nan)
