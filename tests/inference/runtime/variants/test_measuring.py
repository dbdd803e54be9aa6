"""Two models side by side: what they answer and how long they take."""

import numpy as np
import pytest

from inference.runtime.session import ModelRefused, OnnxSession
from inference.runtime.variants.measuring import BATCH_SIZES, MIN_TURNS, answer, time_in_turns
from tests.inference.onnx_models import constant_number, summing_model

pytestmark = pytest.mark.slow


def test_answers_come_in_the_order_of_the_rows_whatever_the_batches() -> None:
    rows = np.arange(300, dtype=np.float32).reshape(150, 2)

    [sums] = answer(OnnxSession(summing_model(2)), {"X": rows}, ["sum"])

    assert np.array_equal(sums[:, 0], rows.sum(axis=1))


def test_an_output_without_a_row_each_is_refused() -> None:
    with pytest.raises(ModelRefused, match="has not one row for each of 3 rows"):
        answer(_Halved(summing_model(2)), {"X": np.ones((3, 2), np.float32)}, ["sum"])


class _Halved(OnnxSession):
    """A session that gives half of the rows, as a model may that mixes them up."""

    def run(self, inputs: object, outputs: object, options: object = None) -> list[np.ndarray]:
        return [super().run(inputs, outputs)[0][::2]]  # type: ignore[arg-type]


def test_both_are_timed_on_one_row_and_on_a_batch() -> None:
    original, variant = OnnxSession(summing_model(2)), OnnxSession(constant_number(1, 2))

    timings = time_in_turns(original, variant, {"X": np.ones((3, 2), np.float32)}, ["sum"])

    assert [timing.rows for timing in timings] == list(BATCH_SIZES)
    for timing in timings:
        assert timing.turns >= MIN_TURNS
        assert 0 < timing.ratio_lower <= timing.ratio <= timing.ratio_upper
        assert (
            timing.original_us[0] <= timing.original_us[1] <= timing.original_us[2] <= timing.original_p99_us
        )
