"""How much of a label one feature explains by itself, whatever its shape."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
MAX_LEVELS = 20


def explained_share(values: NDArray[Any], label: NDArray[Any]) -> float:
    """Return the share of the label's variance that lies between bins of a feature, from 0 to 1.

    Numbers fall into tenths, texts into their most frequent levels and a rest; missing values are a bin. A label of
    texts counts by the variances of its classes (the tau of Goodman and Kruskal, 1954), of numbers by its own. What
    so many bins explain by chance is taken out, as in an adjusted R squared.
    """
    if label.size < 2:
        return 0.0
    bins = _bins(values)
    outcomes = _outcomes(label)
    total = float(outcomes.var(axis=0).sum())
    count = int(bins.max()) + 1
    if total == 0 or label.size <= count or count < 2:
        return 0.0
    sizes = np.bincount(bins, minlength=count).astype(np.float64)
    kept = sizes > 0
    means = np.stack([np.bincount(bins, weights=column, minlength=count) for column in outcomes.T])[:, kept]
    means /= sizes[kept]
    between = float((sizes[kept] * (means - outcomes.mean(axis=0)[:, None]) ** 2).sum()) / label.size
    share = between / total
    adjusted = 1 - (1 - share) * (label.size - 1) / (label.size - int(kept.sum()))
    return float(np.clip(adjusted, 0, 1))


def _bins(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype != object:
        known = np.isfinite(values)
        tenths = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(values[known], tenths)) if known.any() else np.empty(0)
        return np.where(known, 1 + np.searchsorted(edges, values, side="left"), 0).astype(np.int64)
    import pandas as pd  # takes a second to load, so only where there are texts

    codes, levels = pd.factorize(values)
    sizes = np.bincount(codes[codes >= 0], minlength=len(levels))
    rank = np.empty(len(levels), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(levels))
    return np.where(codes < 0, 0, 1 + np.minimum(rank[codes], MAX_LEVELS)) if len(levels) else codes * 0


def _outcomes(label: NDArray[Any]) -> NDArray[np.float64]:
    """Return the label as columns (rows, classes), or (rows, 1) of numbers."""
    if label.dtype != object:
        return label.astype(np.float64)[:, None]
    import pandas as pd

    codes, classes = pd.factorize(label)
    return (codes[:, None] == np.arange(len(classes))).astype(np.float64)
