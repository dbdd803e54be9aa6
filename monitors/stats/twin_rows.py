"""Rows that were set aside to judge a model and that it also learnt from, or nearly.

A twin has the label and the features of an older row; numbers are the same within a thousandth of their usual spread.
Rows of few values have many twins, and so have entities that come back unchanged. How many are usual is read from the
newest training rows: so many of them repeat one of the training rows before. Copies across the split show as more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_TWINS = 20
MIN_EXCESS = 0.1
"""Twins below a tenth of the rows, beyond those that are usual, change no verdict."""
RESOLUTION = 1e-3
"""Of the spread of a column: how far apart numbers may lie that are the same."""


@dataclass(frozen=True, slots=True)
class TwinRows:
    """Of `rows` that were set aside, how many have a twin among the training rows, and the share that is usual."""

    rows: int
    twins: int
    usual_share: float

    @property
    def share(self) -> float:
        return self.twins / self.rows if self.rows else 0.0

    @property
    def are_too_many(self) -> bool:
        """Whether what the rows say about a model is no longer about rows that it never saw."""
        return self.twins >= MIN_TWINS and self.share - self.usual_share >= MIN_EXCESS


def find_twins(
    columns: Mapping[str, NDArray[Any]], times: NDArray[np.int64], held_out: NDArray[np.bool_]
) -> TwinRows:
    """Count the rows that were held out and repeat a training row.

    `columns` are the features and the label, an entry a row: numbers as float64 with NaN, texts as objects with None.
    `times` orders the rows, and `held_out` is a mask of those set aside.
    """
    if not held_out.any() or held_out.all():
        return TwinRows(int(held_out.sum()), 0, 0.0)
    keys = _keys(columns)
    train = keys[~held_out][np.argsort(times[~held_out], kind="stable")]
    newest = min(int(held_out.sum()), train.size // 2)
    before, after = train[: train.size - newest], train[train.size - newest :]
    usual = float(np.isin(after, before).mean()) if newest else 0.0
    return TwinRows(int(held_out.sum()), int(np.isin(keys[held_out], train).sum()), usual)


def _keys(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
    """Hash each row to 64 bits: two of a billion rows are alike by that with a chance of 3%."""
    import pandas as pd  # takes a second to load, so only in the process that needs it

    frame = pd.DataFrame({name: _codes(values) for name, values in columns.items()}, copy=False)
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), np.uint64)


def _codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """Number values, equal ones alike; a missing one is a value too."""
    import pandas as pd

    if values.dtype == object:
        return np.asarray(pd.factorize(values)[0], np.int64)
    step = _spread(values[np.isfinite(values)].astype(np.float64)) * RESOLUTION
    return np.asarray(pd.factorize(np.round(values / step) if step else values)[0], np.int64)


def _spread(values: NDArray[np.float64]) -> float:
    """Return the distance between the quartiles, which single values cannot stretch; 0 where half of them are alike."""
    if not values.size:
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low)
