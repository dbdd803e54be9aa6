"""Gradient-boosted trees of LightGBM as kernels use them: small, the same on every run, in one thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray

_PARAMETERS = {
    "num_leaves": 15,
    "learning_rate": 0.1,
    "max_bin": 63,
    "min_data_in_leaf": 20,
    "feature_pre_filter": False,
    "force_col_wise": True,
    "deterministic": True,
    "seed": 0,
    "num_threads": 1,  # workers are processes; threads of several would wait for each other
    "verbosity": -1,
}


def train(values: FloatArray, target: FloatArray, *, objective: str, rounds: int) -> Any:
    """Train trees on rows with a column a feature, NaN where a value is missing; returns LightGBM's booster."""
    import lightgbm  # takes seconds to load, so only in the process that needs it

    parameters = _PARAMETERS | {"objective": objective}
    return lightgbm.train(parameters, lightgbm.Dataset(values, target, params=parameters), rounds)


def train_out_of_fold(
    values: FloatArray, target: FloatArray, folds: IntArray, *, objective: str, rounds: int
) -> Iterator[tuple[NDArray[np.bool_], Any]]:
    """Yield the rows of each fold as a mask, and trees that have not seen them."""
    import lightgbm

    parameters = _PARAMETERS | {"objective": objective}
    data = lightgbm.Dataset(values, target, params=parameters, free_raw_data=False).construct()
    for fold in np.unique(folds).tolist():
        rest = data.subset(np.flatnonzero(folds != fold).tolist())
        yield folds == fold, lightgbm.train(parameters, rest, rounds)


def deal_folds(groups: IntArray, folds: int) -> IntArray:
    """Deal groups of rows out to the folds by chance, alike wherever the same groups are dealt."""
    known, which = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng(0).permutation(known.size) % folds
    of_rows: IntArray = dealt[which]
    return of_rows
