"""Which rows of a window are unlike its reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from monitors.stats.drift import changed_rows as kernel
from monitors.stats.drift.changed_rows import NEIGHBOURS, changed_rows

tables = arrays(
    np.float64,
    st.tuples(st.integers(NEIGHBOURS + 1, 12), st.just(3)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def normal(rows: int, *, seed: int, mean: float = 0.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean, 1, (rows, 8))


class TestChangedRows:
    def test_are_those_of_a_new_cluster_and_not_those_that_are_odd_by_themselves(self) -> None:
        odd = np.full((1, 8), -30.0)
        window = np.vstack([normal(300, seed=1), odd, normal(40, seed=2, mean=6)])

        found = changed_rows(normal(400, seed=3), window, count=5, nearest=3)

        assert len(found) == 5
        assert all(row.place > 300 for row in found)
        assert all(row.from_reference > 2 * row.from_window for row in found)

    @pytest.mark.parametrize("dimensions", [2, 8])
    @pytest.mark.parametrize("columns", [8, 16])
    def test_are_none_of_another_sample_of_the_same(self, dimensions: int, columns: int) -> None:
        into = np.random.default_rng(1).normal(size=(8, columns))
        into[dimensions:] = 0
        found = [
            changed_rows(
                normal(200, seed=2 * seed) @ into, normal(150, seed=2 * seed + 1) @ into,
                count=5, nearest=1,
            )
            for seed in range(100)
        ]  # fmt: skip

        assert found.count([]) >= 95

    def test_are_none_where_the_window_is_the_reference(self) -> None:
        for seed in range(20):
            rows = normal(200, seed=seed)
            assert changed_rows(rows, rows, count=5, nearest=1) == []

    def test_lie_as_far_away_as_scikit_learn_measures(self) -> None:
        reference, window = normal(60, seed=4), normal(50, seed=5, mean=9)

        found = changed_rows(reference, window, count=50, nearest=3)

        near, _ = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(reference).kneighbors(reference)
        usual = np.median(near[:, NEIGHBOURS])
        places = [row.place for row in found]
        distances, rows = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(reference).kneighbors(window[places])
        own, _ = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(window).kneighbors(window[places])
        assert sorted(places) == list(range(50))
        assert [row.from_reference for row in found] == pytest.approx(distances[:, -1] / usual)
        assert [row.from_window for row in found] == pytest.approx(own[:, NEIGHBOURS] / usual)
        assert [[one.place for one in row.nearest] for row in found] == rows[:, :3].tolist()
        ratios = [row.from_reference / row.from_window for row in found]
        assert ratios == sorted(ratios, reverse=True)

    @pytest.mark.slow
    @given(tables, tables)
    def test_are_finite_whatever_the_rows_are(
        self, reference: NDArray[np.float64], window: NDArray[np.float64]
    ) -> None:
        found = changed_rows(reference, window, count=4, nearest=2)

        assert len(found) <= 4
        for row in found:
            distances = [row.from_reference, row.from_window, *(one.distance for one in row.nearest)]
            assert np.isfinite(distances).all()
            assert row.nearest[0].distance <= row.nearest[1].distance <= row.from_reference * (1 + 1e-9)

    @pytest.mark.slow
    @given(tables, tables)
    def test_do_not_depend_on_the_unit(
        self, reference: NDArray[np.float64], window: NDArray[np.float64]
    ) -> None:
        found = changed_rows(reference, window, count=1, nearest=1)
        scaled = changed_rows(reference * 2.0**7, window * 2.0**7, count=1, nearest=1)

        assert (scaled == found) or np.ptp(reference) == 0

    def test_that_are_all_one_are_told_apart_from_another_one(self) -> None:
        window = np.vstack([np.zeros((20, 2)), np.ones((20, 2))])

        found = changed_rows(np.zeros((30, 2)), window, count=3, nearest=1)

        assert all(row.place >= 20 for row in found)

    @pytest.mark.parametrize("sizes", [(NEIGHBOURS, 50), (50, NEIGHBOURS), (0, 0)])
    def test_of_too_few_rows_are_none(self, sizes: tuple[int, int]) -> None:
        assert changed_rows(normal(sizes[0], seed=1), normal(sizes[1], seed=2), count=5, nearest=3) == []

    def test_are_the_same_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reference, window = normal(60, seed=6), normal(50, seed=7, mean=6)
        expected = changed_rows(reference, window, count=5, nearest=3)

        assert len(expected) == 5
        monkeypatch.setattr(kernel, "_BLOCK_CELLS", 100)

        assert changed_rows(reference, window, count=5, nearest=3) == expected
