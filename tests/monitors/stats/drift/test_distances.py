import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from monitors.stats.drift.distances import (
    CATEGORICAL,
    KERNELS,
    NUMERIC,
    KindMismatch,
    compare,
    kernels_for,
    measure_drift,
)
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.mergeable.sketches import (
    choose_centre,
    count_categories,
    summarise_categories,
    summarise_numbers,
)
from monitors.stats.mergeable.window_summary import ColumnSummary
from tests.monitors.stats.columns import levels, numbers, real_columns

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "drift.json").read_text())

EVERY_CASE = [(kernel, kind) for kernel in KERNELS.values() for kind in sorted(kernel.applies_to)]
IDS = [f"{kernel.name}-{kind}" for kernel, kind in EVERY_CASE]


def column_of(kind: str, values: list) -> ColumnSummary:
    return summarise_numbers(values, centre=0.0) if kind == NUMERIC else summarise_categories(values)


def columns_of(kind: str) -> st.SearchStrategy[list]:
    return numbers if kind == NUMERIC else levels


@pytest.mark.parametrize(("kernel", "kind"), EVERY_CASE, ids=IDS)
class TestEveryKernel:
    @given(data=st.data())
    def test_is_zero_on_identical_data(self, kernel, kind, data):
        column = column_of(kind, data.draw(columns_of(kind)))

        statistic = kernel.measure(compare(prepare_reference(column), column))

        assert statistic.value == pytest.approx(0, abs=1e-9)
        assert statistic.p_value is None or statistic.p_value == pytest.approx(1)

    @given(data=st.data(), times=st.integers(2, 9))
    def test_is_zero_when_only_the_number_of_rows_differs(self, kernel, kind, data, times):
        values = data.draw(columns_of(kind))

        statistic = kernel.measure(
            compare(prepare_reference(column_of(kind, values)), column_of(kind, values * times))
        )

        assert statistic.value == pytest.approx(0, abs=1e-7)

    @given(data=st.data())
    def test_is_finite_and_not_negative_on_any_data(self, kernel, kind, data):
        reference, current = data.draw(columns_of(kind)), data.draw(columns_of(kind))

        statistic = kernel.measure(
            compare(prepare_reference(column_of(kind, reference)), column_of(kind, current))
        )

        assert np.isfinite(statistic.value)
        assert statistic.value >= 0
        assert statistic.p_value is None or 0 <= statistic.p_value <= 1

    @given(data=st.data(), random=st.randoms(use_true_random=True))
    def test_does_not_depend_on_the_order_of_rows(self, kernel, kind, data, random):
        reference, current = data.draw(columns_of(kind)), data.draw(columns_of(kind))
        shuffled = [random.sample(values, len(values)) for values in (reference, current)]

        straight, mixed = (
            kernel.measure(compare(prepare_reference(column_of(kind, first)), column_of(kind, second)))
            for first, second in ((reference, current), shuffled)
        )

        assert straight.value == pytest.approx(mixed.value, rel=1e-6, abs=1e-9)

    def test_says_nothing_when_a_side_is_empty(self, kernel, kind):
        filled, empty = column_of(kind, [1.0, 2.0, 2.0]), column_of(kind, [])

        for reference, current in ((filled, empty), (empty, filled), (empty, empty)):
            assert kernel.measure(compare(prepare_reference(reference), current)).value == 0

    def test_grows_with_the_distance(self, kernel, kind):
        rng = np.random.default_rng(0)
        base = rng.normal(size=4_000)
        moved = [base + shift for shift in (0.0, 0.3, 1.0, 3.0)]
        if kind == CATEGORICAL:
            moved = [np.round(values).astype(str) for values in moved]
        reference = prepare_reference(column_of(kind, moved[0]))

        measured = [kernel.measure(compare(reference, column_of(kind, values))).value for values in moved]

        assert measured == sorted(measured)
        assert measured[0] == pytest.approx(0, abs=1e-9)
        assert measured[1] > 0


class TestAgainstExactComputation:
    """The grid against SciPy on the raw rows."""

    @pytest.fixture
    def rng(self):
        return np.random.default_rng(7)

    def test_golden_numbers(self):
        reference = np.array([(37 * i % 1009) / 100 for i in range(1200)])
        current = np.array([(53 * i % 997) / 95 + 0.5 for i in range(800)])
        centre = choose_centre(reference)

        measured = measure_drift(
            prepare_reference(summarise_numbers(reference, centre=centre)),
            summarise_numbers(current, centre=centre),
        )

        assert measured["wasserstein"].value == pytest.approx(GOLDEN["wasserstein"], rel=1e-9)
        assert measured["ks"].value == pytest.approx(GOLDEN["ks_statistic"], abs=1e-3)
        assert measured["ks"].p_value == pytest.approx(GOLDEN["ks_p_value"], rel=0.05)

    @pytest.mark.parametrize("shift", [0.0, 0.02, 0.3])
    @pytest.mark.parametrize("name", real_columns(np.random.default_rng(0)))
    def test_ks_and_wasserstein_of_awkward_columns(self, name, shift, rng):
        reference, current = real_columns(rng)[name], real_columns(rng)[name]
        current = current + shift * reference.std() * (name != "half_zeros") if shift else current
        centre = choose_centre(reference)

        measured = measure_drift(
            prepare_reference(summarise_numbers(reference, centre=centre)),
            summarise_numbers(current, centre=centre),
        )

        exact = stats.ks_2samp(reference, current, method="asymp")
        assert measured["ks"].value == pytest.approx(exact.statistic, abs=0.004)
        distance = stats.wasserstein_distance(reference, current) / reference.std()
        assert measured["wasserstein"].value == pytest.approx(distance, abs=0.001)
        assert (measured["ks"].p_value < 0.05) == (exact.pvalue < 0.05) or 0.01 < exact.pvalue < 0.2

    def test_p_value_of_whole_numbers_is_that_of_scipy(self, rng):
        reference, current = rng.integers(0, 30, 3_000), rng.integers(0, 30, 2_000)

        statistic = measure_drift(
            prepare_reference(summarise_numbers(reference, centre=0.0)),
            summarise_numbers(current, centre=0.0),
        )["ks"]

        exact = stats.ks_2samp(reference, current, method="asymp")
        assert statistic.value == pytest.approx(exact.statistic)
        assert statistic.p_value == pytest.approx(exact.pvalue, rel=0.05)

    def test_js_is_scipys_in_base_2(self, rng):
        reference, current = (
            rng.choice(list("abcd"), 900),
            rng.choice(list("abcd"), 500, p=[0.4, 0.3, 0.2, 0.1]),
        )

        measured = measure_drift(
            prepare_reference(summarise_categories(reference)), summarise_categories(current)
        )

        shares = [[(column == level).mean() for level in "abcd"] for column in (reference, current)]
        assert measured["js"].value == pytest.approx(jensenshannon(*shares, base=2))
        expected_psi = sum((r - c) * np.log(r / c) for r, c in zip(*shares, strict=True))
        assert measured["psi"].value == pytest.approx(expected_psi)

    def test_js_and_psi_of_numbers_use_the_references_tenths(self, rng):
        reference, current = rng.normal(size=50_000), rng.normal(0.5, 1, size=20_000)
        edges = np.quantile(reference, np.arange(1, 10) / 10)
        shares = [
            np.bincount(np.searchsorted(edges, column), minlength=10) / column.size
            for column in (reference, current)
        ]

        measured = measure_drift(
            prepare_reference(summarise_numbers(reference, centre=0.0)),
            summarise_numbers(current, centre=0.0),
        )

        assert measured["js"].value == pytest.approx(jensenshannon(*shares, base=2), abs=0.003)
        expected_psi = ((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum()
        assert measured["psi"].value == pytest.approx(expected_psi, abs=0.005)

    def test_chi_square_is_scipys_contingency_test(self, rng):
        reference, current = {"a": 500, "b": 300, "c": 200}, {"a": 130, "b": 90, "c": 30}

        statistic = measure_drift(prepare_reference(count_categories(reference)), count_categories(current))[
            "chi_square"
        ]

        exact = stats.chi2_contingency([list(reference.values()), list(current.values())], correction=False)
        assert statistic.value == pytest.approx(exact.statistic)
        assert statistic.p_value == pytest.approx(exact.pvalue)


class TestAwkwardWindows:
    def test_one_row_of_an_unseen_level_is_no_drift(self):
        reference = count_categories({"a": 500, "b": 500})
        current = count_categories({"a": 45, "b": 45, "new": 1})

        statistic = measure_drift(prepare_reference(reference), current)["chi_square"]

        assert statistic.p_value > 0.005

    def test_many_rows_of_unseen_levels_are_drift(self):
        reference = count_categories({"a": 500, "b": 500})
        current = count_categories({"a": 30, "b": 30, "new": 15, "newer": 15})

        measured = measure_drift(prepare_reference(reference), current)

        assert measured["chi_square"].p_value < 1e-6
        assert measured["psi"].value > 0.5

    def test_missing_values_are_drift_by_psi_and_js(self):
        column = np.random.default_rng(0).normal(size=1_000)
        holey = np.where(np.arange(1_000) % 3 == 0, np.nan, column)
        reference = prepare_reference(summarise_numbers(column, centre=0.0))

        measured = measure_drift(reference, summarise_numbers(holey, centre=0.0))

        assert measured["psi"].value > 1
        assert measured["js"].value > 0.3
        assert measured["ks"].p_value > 0.5

    def test_one_outlier_blinds_neither_psi_nor_js(self):
        rng = np.random.default_rng(0)
        reference, current = rng.normal(size=2_000), rng.normal(3, 1, size=1_500)
        current[0] = 1e6

        measured = measure_drift(
            prepare_reference(summarise_numbers(reference, centre=0.0)),
            summarise_numbers(current, centre=0.0),
        )

        assert measured["psi"].value > 3
        assert measured["js"].value > 0.7

    def test_values_below_an_atom_do_not_hide_in_its_bin(self):
        rng = np.random.default_rng(0)
        reference = np.where(rng.random(5_000) < 0.6, 0.0, rng.exponential(size=5_000))
        current = np.where(reference == 0, -1.0, reference)

        measured = measure_drift(
            prepare_reference(summarise_numbers(reference, centre=0.0)),
            summarise_numbers(current, centre=0.0),
        )

        assert measured["psi"].value > 1

    def test_a_constant_reference_notices_a_change(self):
        constant = prepare_reference(summarise_numbers([5.0] * 100, centre=5.0))

        measured = measure_drift(constant, summarise_numbers([5.0] * 50 + [6.0] * 50, centre=5.0))

        assert measured["psi"].value > 1
        assert measured["ks"].value == pytest.approx(0.5)

    def test_a_window_on_another_centre_is_compared_all_the_same(self):
        rng = np.random.default_rng(0)
        reference = prepare_reference(summarise_numbers(rng.normal(100, 5, 5_000), centre=100.0))

        measured = measure_drift(reference, summarise_numbers(rng.normal(100, 5, 5_000), centre=0.0))

        assert measured["wasserstein"].value < 0.06
        assert measured["psi"].value < 0.1

    def test_a_column_of_twenty_thousand_levels_is_not_drift_by_itself(self):
        rng = np.random.default_rng(0)
        popular = [f"level {level}" for level in rng.zipf(1.3, 60_000) % 20_000]

        measured = measure_drift(
            prepare_reference(summarise_categories(popular[:30_000])), summarise_categories(popular[30_000:])
        )

        assert measured["js"].value < 0.1
        assert measured["chi_square"].p_value > 0.01

    def test_a_changed_kind_is_refused(self):
        with pytest.raises(KindMismatch, match="signature"):
            compare(prepare_reference(summarise_numbers([1.0], centre=0.0)), summarise_categories(["a"]))

    def test_no_kernel_warns(self):
        columns = [summarise_numbers(values, centre=0.0) for values in ([], [np.nan], [1.0], [1.0, 2.0])]

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for reference in columns:
                for current in columns:
                    assert set(measure_drift(prepare_reference(reference), current)) == {
                        kernel.name for kernel in kernels_for(NUMERIC)
                    }
