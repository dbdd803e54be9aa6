"""Columns that the tests of several kernels share."""

import numpy as np
from hypothesis import strategies as st

from monitors.stats.mergeable.sketches import Distinct, NumericSummary

finite = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
numbers = st.lists(
    st.one_of(finite, st.just(float("nan")), st.just(0.0), st.integers(-3, 3).map(float)), max_size=60
)
levels = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "c", "rare", ""])), max_size=60)


def same_numbers(left: NumericSummary, right: NumericSummary) -> bool:
    """Whether two summaries are equal but for the order in which floats were added."""
    exact = (left.centre, left.n, left.missing, left.infinite) == (
        right.centre,
        right.n,
        right.missing,
        right.infinite,
    )
    extremes = np.array_equal([left.minimum, left.maximum], [right.minimum, right.maximum], equal_nan=True)
    cells = np.array_equal(left.keys, right.keys) and np.array_equal(left.counts, right.counts)
    size = float(np.abs(left.sums).sum()) + 1.0
    added = np.allclose(left.sums, right.sums, rtol=1e-9, atol=1e-12 * size)
    totals = np.allclose(
        [left.total, left.total_sq], [right.total, right.total_sq], rtol=1e-9, atol=1e-12 * size**2
    )
    return exact and extremes and cells and added and totals and _same_distinct(left.distinct, right.distinct)


def _same_distinct(left: Distinct | None, right: Distinct | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left.values, right.values) and np.array_equal(left.counts, right.counts)


def real_columns(rng: np.random.Generator, n: int = 20_000) -> dict[str, np.ndarray]:
    """Columns of the shapes that break naive bins: tails, atoms, two modes, integers, far from zero, tiny."""
    return {
        "lognormal": rng.lognormal(size=n),
        "heavy_tails": rng.standard_t(2.5, size=n),
        "half_zeros": np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n)),
        "two_modes": np.where(rng.random(n) < 0.5, rng.normal(-3, 1, n), rng.normal(4, 0.5, n)),
        "counts": rng.poisson(1.5, size=n).astype(float),
        "far_from_zero": rng.normal(1e6, 100, size=n),
        "probabilities": rng.beta(0.5, 8, size=n),
    }
