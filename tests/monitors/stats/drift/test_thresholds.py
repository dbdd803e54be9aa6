import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitors.stats.drift.distances import KERNELS, kernels_for, kind_of, measure_drift
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.stored_nulls import encode_null
from monitors.stats.drift.thresholds import (
    COMBINED,
    NullDistributions,
    benjamini_hochberg,
    grid_size,
    resample_null,
)
from monitors.stats.mergeable.sketches import summarise_categories, summarise_numbers
from tests.monitors.stats.columns import real_columns

CASES = ["lognormal", "heavy_tails", "half_zeros", "counts"]


def reference_of(name: str, rng: np.random.Generator):
    return prepare_reference(summarise_numbers(real_columns(rng)[name], centre=1.0))


class TestResampleNull:
    @pytest.mark.parametrize("n", [100, 2_000])
    @pytest.mark.parametrize("name", CASES)
    def test_windows_without_drift_pass_the_5_percent_line_about_5_percent_of_the_time(self, name, n):
        rng = np.random.default_rng(3)
        reference = reference_of(name, rng)
        null = resample_null(reference, n, rng=rng)
        alarms = dict.fromkeys(null.draws, 0)

        for _ in range(250):
            window = summarise_numbers(real_columns(rng, n)[name], centre=1.0)
            for kernel, statistic in measure_drift(reference, window).items():
                alarms[kernel] += null.p_value(kernel, statistic.value) <= 0.05

        assert all(share / 250 <= 0.11 for share in alarms.values()), alarms

    def test_a_drifted_window_has_a_small_p_value(self):
        rng = np.random.default_rng(0)
        reference = prepare_reference(summarise_numbers(rng.normal(size=5_000), centre=0.0))
        null = resample_null(reference, 500, rng=rng)

        measured = measure_drift(reference, summarise_numbers(rng.normal(0.4, 1, 500), centre=0.0))

        assert all(null.p_value(name, statistic.value) < 1e-3 for name, statistic in measured.items())

    def test_categories_are_calibrated_too(self):
        rng = np.random.default_rng(0)
        reference = prepare_reference(summarise_categories(rng.choice(list("abcdefgh"), 3_000)))
        null = resample_null(reference, 200, rng=rng)
        alarms = 0

        for _ in range(200):
            window = summarise_categories(rng.choice(list("abcdefgh"), 200))
            alarms += null.p_value("psi", measure_drift(reference, window)["psi"].value) <= 0.05

        assert alarms <= 22

    @pytest.mark.parametrize("column", [[], [np.nan] * 5, [3.0] * 50])
    def test_columns_without_spread_are_calibrated_to_something_finite(self, column):
        reference = prepare_reference(summarise_numbers(column, centre=0.0))

        null = resample_null(reference, 100, rng=np.random.default_rng(0), draws=20)

        for kernel in kernels_for(kind_of(reference)):
            assert np.isfinite(null.draws[kernel.name]).all()
            assert null.threshold(kernel.name).value == pytest.approx(0.1)

    def test_the_same_seed_gives_the_same_thresholds(self):
        reference = reference_of("counts", np.random.default_rng(0))

        first, second = (resample_null(reference, 100, rng=np.random.default_rng(5)) for _ in range(2))

        assert encode_null(first) == encode_null(second)


class TestThreshold:
    def test_small_windows_have_wider_thresholds(self):
        reference = reference_of("lognormal", np.random.default_rng(0))

        small, large = (
            resample_null(reference, n, rng=np.random.default_rng(0)).threshold("psi") for n in (50, 5_000)
        )

        assert small.value > 0.2
        assert "At 50 rows psi exceeds" in small.reason
        assert large.value == 0.1
        assert large.reason.startswith("Effects below 0.1 do not matter")

    def test_every_kernel_has_an_effect_floor(self):
        assert all(kernel.effect_floor(1_000, 500) > 0 for kernel in KERNELS.values())


class TestPValue:
    @given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.floats(0, 200), st.floats(0, 200))
    def test_falls_as_the_statistic_grows(self, draws, one, other):
        null = NullDistributions(100, 100, {"psi": np.sort(draws)}, np.zeros(1))

        low, high = sorted([one, other])

        assert 0 <= null.p_value("psi", high) <= null.p_value("psi", low) <= 1

    def test_the_tail_continues_beyond_the_draws(self):
        rng = np.random.default_rng(0)
        null = NullDistributions(100, 100, {"chi_square": np.sort(rng.chisquare(8, size=2_000))}, np.zeros(1))

        for value in (20.0, 30.0, 40.0):
            exact = stats.chi2.sf(value, 8)
            assert exact / 4 < null.p_value("chi_square", value) < exact * 12

    def test_what_only_rounding_tells_from_the_draws_is_nothing(self):
        null = NullDistributions(100, 100, {"chi_square": np.zeros(1_000)}, np.zeros(1_000))

        assert null.p_value("chi_square", 1e-30) == 1

    def test_a_value_beyond_all_measure_has_a_p_value_that_is_not_nought(self):
        draws = np.sort(np.random.default_rng(0).chisquare(8, size=2_000))
        null = NullDistributions(100, 100, {"wasserstein": draws}, np.sort(draws))

        assert 0 < null.p_value("wasserstein", 1e300) < 1e-300
        assert 0 < null.combined_p_value({"wasserstein": 1e300}) < 1e-6

    def test_several_statistics_are_never_less_likely_than_one_of_them_alone(self):
        rng = np.random.default_rng(0)
        null = resample_null(reference_of("lognormal", rng), 100, rng=rng)

        for values in rng.lognormal(-2, 2, size=(300, 3)):
            together = dict(zip(COMBINED["numeric"], values, strict=True))
            alone = [null.p_value(kernel, value) for kernel, value in together.items()]
            assert null.combined_p_value(together) >= 0.999 / sum(1 / p for p in alone)

    def test_statistics_that_agree_say_more_than_one_alone(self):
        rng = np.random.default_rng(0)
        null = resample_null(
            prepare_reference(summarise_numbers(rng.normal(size=2_000), centre=0.0)), 200, rng=rng
        )
        usual, rare = (
            {kernel: float(np.quantile(null.draws[kernel], share)) for kernel in ("psi", "wasserstein")}
            for share in (0.5, 0.995)
        )

        alone = null.combined_p_value(usual | {"psi": rare["psi"]})
        together = null.combined_p_value(rare)

        assert together < 0.6 * alone


@pytest.mark.parametrize(
    ("n", "size"), [(0, 10), (10, 10), (11, 10), (12, 10), (13, 13), (999, 826), (1000, 1000), (10**6, 10**6)]
)
def test_sizes_round_down_to_the_grid(n, size):
    assert grid_size(n) == size


class TestBenjaminiHochberg:
    @given(st.lists(st.floats(0, 1), max_size=50), st.floats(0.01, 0.3))
    def test_agrees_with_scipys_adjusted_p_values(self, p_values, q):
        rejected = benjamini_hochberg(p_values, q)

        adjusted = stats.false_discovery_control(p_values, method="bh") if p_values else np.array([])
        clear = np.abs(adjusted - q) > 1e-12
        assert [r for r, c in zip(rejected, clear, strict=True) if c] == (adjusted <= q)[clear].tolist()

    def test_rejects_nothing_without_hypotheses(self):
        assert benjamini_hochberg([], 0.05) == []
