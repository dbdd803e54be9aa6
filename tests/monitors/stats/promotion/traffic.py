"""Pairs of answers for comparisons: two noisy readers of one truth."""

import numpy as np

from monitors.stats.promotion.paired import PairedComparison, compare_pairs


def traffic(
    *,
    n: int = 6_000,
    champion_noise: float = 1.0,
    challenger_noise: float = 1.0,
    days: int = 30,
    seed: int = 0,
) -> dict:
    """Labelled pairs of two noisy readers of the same truth; the less noise, the better the model."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return {
        "task": "binary",
        "y": (rng.random(n) < sigmoid(truth)).astype(float),
        "champion": sigmoid(truth + champion_noise * rng.normal(size=n)),
        "challenger": sigmoid(truth + challenger_noise * rng.normal(size=n)),
        "block": np.arange(n) * days // n,
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def compared(**pairs) -> PairedComparison:
    return compare_pairs(**pairs)
