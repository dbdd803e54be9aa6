import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.stored_nulls import decode_null, encode_null
from monitors.stats.drift.thresholds import NullDistributions, resample_null
from monitors.stats.mergeable.sketches import summarise_numbers
from tests.monitors.stats.columns import real_columns


def drawn(name: str) -> NullDistributions:
    column = real_columns(np.random.default_rng(0))[name]
    reference = prepare_reference(summarise_numbers(column, centre=1.0))
    return resample_null(reference, 500, rng=np.random.default_rng(0))


class TestStoredNull:
    @pytest.mark.slow
    @given(arrays(np.float64, st.integers(0, 30), elements=st.floats(allow_nan=False, allow_subnormal=False)))
    def test_draws_come_back_as_far_from_zero_to_a_part_in_thirty_thousand(self, draws):
        null = NullDistributions(100, 200, {"psi": draws}, draws, runs=3, why="Judged by 3 runs.")

        restored = decode_null(encode_null(null))

        assert (restored.n, restored.n_reference, restored.runs, restored.why) == (100, 200, 3, null.why)
        for values in (restored.draws["psi"], restored.combined):
            finite = np.isfinite(values)
            assert (np.abs(values) >= np.abs(draws)).all()
            assert values[finite] == pytest.approx(draws[finite], rel=2**-15)

    @pytest.mark.parametrize("name", ["lognormal", "counts"])
    def test_a_window_that_equals_a_draw_is_as_likely_as_before(self, name):
        null = drawn(name)
        restored = decode_null(encode_null(null))

        for kernel, draws in null.draws.items():
            for value in draws[[500, 950, 999]]:
                assert restored.p_value(kernel, value) == pytest.approx(null.p_value(kernel, value), rel=0.01)
            assert restored.threshold(kernel).value == pytest.approx(null.threshold(kernel).value, rel=1e-4)

    def test_draws_weigh_less_than_a_seventh_of_what_they_do_in_memory(self):
        null = drawn("lognormal")
        in_memory = null.combined.nbytes + sum(draws.nbytes for draws in null.draws.values())

        assert len(encode_null(null)) < in_memory / 7
