"""Packed columns: smaller, and the same values bit for bit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from inference.prediction_log.storage.packing import pack, shape_of, unpack


def batch_of(values: pa.Array, times: list[int] | None = None) -> pa.RecordBatch:
    moments = pa.array(times or range(len(values)), pa.timestamp("us", "UTC"))
    return pa.record_batch({"time": moments, "f:x": values})


def read(payload: bytes, name: str = "f:x") -> pa.Array:
    with pa.ipc.open_stream(payload) as reader:
        return unpack(reader.read_next_batch(), name)


def bits(values: NDArray[np.float64]) -> list[int]:
    return [int(number) for number in np.where(np.isnan(values), np.nan, values).view(np.int64)]


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(allow_nan=True, allow_infinity=True, width=64))
)
@example(np.array([-0.0, 0.025]))  # float32 does not hold 0.025, and no integer holds -0.0
def test_any_number_comes_back_bit_for_bit(values: NDArray[np.float64]) -> None:
    _, payload = pack([batch_of(pa.array(values))])

    found = read(payload).to_numpy(zero_copy_only=False).astype(np.float64)
    assert bits(found) == bits(values)


@given(st.lists(st.decimals(-2000, 2000, places=6).map(float), min_size=1, max_size=50))
def test_decimal_numbers_come_back_from_four_bytes(values: list[float]) -> None:
    _, payload = pack([batch_of(pa.array(values, pa.float64()))])

    assert read(payload).to_numpy(zero_copy_only=False).astype(np.float64).tolist() == values


def test_numbers_with_six_decimals_take_half_the_bytes() -> None:
    values = pa.array(np.random.default_rng(0).normal(size=10_000).round(6))

    _, payload = pack([batch_of(values)])

    assert len(payload) < 10_000 * 5


def test_rows_of_several_batches_are_ordered_by_time_and_missing_values_stay_missing() -> None:
    late = batch_of(pa.array([1.5, None], pa.float64()), [30, 10])
    early = batch_of(pa.array([0.25, 2.0], pa.float32()), [20, 0])

    rows, payload = pack([late, early])

    assert rows.column("time").cast(pa.int64()).to_pylist() == [0, 10, 20, 30]
    np.testing.assert_array_equal(
        read(payload).to_numpy(zero_copy_only=False).astype(np.float64), [2.0, np.nan, 0.25, 1.5]
    )


def test_what_was_packed_can_be_packed_again() -> None:
    _, once = pack([batch_of(pa.array([0.1, 0.2]))])
    with pa.ipc.open_stream(once) as reader:
        packed = reader.read_next_batch()

    _, twice = pack([packed, batch_of(pa.array([1e300, 0.3]), [5, 6])])

    assert read(twice).to_pylist() == [0.1, 0.2, 1e300, 0.3]


@pytest.mark.parametrize(
    ("other", "is_alike"),
    [(pa.array([1.0], pa.float32()), True), (pa.array([1]), True), (pa.array(["1"]), False)],
)
def test_only_numbers_are_merged_with_numbers(other: pa.Array, is_alike: bool) -> None:
    numbers = batch_of(pa.array([1.0]))

    assert (shape_of(numbers) == shape_of(batch_of(other))) is is_alike


def test_rows_without_a_feature_are_not_merged_with_rows_that_have_it() -> None:
    having = batch_of(pa.array([1.0]))

    assert shape_of(having) != shape_of(having.select(["time"]))
