"""How much of a label a feature explains, beside a regression on the same bins."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from monitors.stats.explained_share import explained_share


def adjusted_r_squared(levels: np.ndarray, label: np.ndarray) -> float:
    """Regress numbers on the levels of a text, as a textbook does."""
    known = np.unique(levels)
    design = (levels[:, None] == known).astype(float)
    share = LinearRegression().fit(design, label).score(design, label)
    return float(1 - (1 - share) * (label.size - 1) / (label.size - known.size))


class TestTexts:
    @pytest.mark.slow
    @given(seed=st.integers(0, 100), levels=st.integers(2, 8))
    def test_explain_what_a_regression_on_their_levels_does(self, seed: int, levels: int) -> None:
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, levels, 400)
        label = codes * rng.normal() + rng.normal(size=400)
        texts = np.array([f"level {code}" for code in codes], object)
        expected = max(adjusted_r_squared(codes, label), 0.0)
        assert explained_share(texts, label) == pytest.approx(expected, abs=1e-9)

    def test_beyond_the_most_frequent_levels_are_one(self) -> None:
        rng = np.random.default_rng(1)
        ids = np.array([f"row {n}" for n in range(2_000)], object)
        assert explained_share(ids, rng.normal(size=2_000)) < 0.02


class TestNumbers:
    @pytest.mark.parametrize("shape", [lambda x: x, lambda x: -x, np.abs])
    def test_that_decide_the_class_explain_most_of_it_whatever_the_shape(self, shape: Any) -> None:
        values = np.random.default_rng(2).normal(size=5_000)
        label = np.where(shape(values) > 0.7, "yes", "no").astype(object)
        assert explained_share(values, label) > 0.7

    def test_that_say_nothing_explain_nothing(self) -> None:
        rng = np.random.default_rng(3)
        label = rng.choice(np.array(["a", "b", "c"], object), 5_000)
        assert explained_share(rng.normal(size=5_000), label) < 0.01

    def test_explain_by_being_missing_too(self) -> None:
        rng = np.random.default_rng(4)
        values = rng.normal(size=2_000)
        label = np.where(rng.random(2_000) < 0.5, "yes", "no").astype(object)
        values[label == "yes"] = np.nan
        assert explained_share(values, label) > 0.99

    @pytest.mark.parametrize(
        ("values", "label"),
        [
            (np.full(50, np.nan), np.arange(50.0)),
            (np.arange(50.0), np.full(50, "yes", object)),
            (np.full(50, None, object), np.arange(50.0)),
            (np.empty(0), np.empty(0)),
        ],
    )
    def test_without_anything_to_tell_explain_nothing(self, values: Any, label: Any) -> None:
        assert explained_share(values, label) == 0
