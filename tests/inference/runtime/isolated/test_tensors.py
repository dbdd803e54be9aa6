"""Arrays in shared memory: what is written is read again, and what a hostile process writes is refused."""

from contextlib import suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from inference.protocol.v2.tensors import NUMPY_TYPES
from inference.runtime.isolated.tensors import AreaLayout, BadTensors, TensorHeader, read_array, read_arrays
from inference.runtime.session import Array

SIZE = 4096
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NUMBERS = st.sampled_from(list(NUMPY_TYPES.values())).flatmap(lambda dtype: arrays_of.arrays(dtype, SHAPES))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TEXTS = SHAPES.flatmap(lambda shape: arrays_of.arrays(object, shape, elements=TEXT))


def write(arrays: list[Array]) -> tuple[bytearray, bytes]:
    layout = AreaLayout(arrays)
    memory = bytearray(layout.end)
    layout.write(memory)
    return memory, layout.encode_headers()


class TestRoundTrip:
    @pytest.mark.slow
    @given(st.lists(NUMBERS | TEXTS, max_size=5), st.booleans())
    def test_gives_back_every_array_as_it_was(self, arrays: list[Array], trusted: bool) -> None:
        memory, headers = write(arrays)

        found = read_arrays(memory, headers, trusted=trusted)

        assert [array.dtype for array in found] == [array.dtype for array in arrays]
        for mine, expected in zip(found, arrays, strict=True):
            np.testing.assert_array_equal(mine, expected)

    def test_gives_copies_of_what_another_process_could_change(self) -> None:
        memory, headers = write([np.array([1.0, 2.0])])

        [found] = read_arrays(memory, headers)
        memory[:] = bytes(len(memory))

        assert found.tolist() == [1.0, 2.0]

    def test_writes_an_array_that_is_no_single_stretch_of_memory(self) -> None:
        memory, headers = write([np.arange(12).reshape(3, 4)[:, ::2].T])

        assert read_arrays(memory, headers)[0].tolist() == [[0, 4, 8], [2, 6, 10]]

    def test_refuses_a_type_that_has_no_name(self) -> None:
        with pytest.raises(ValueError, match="complex"):
            AreaLayout([np.array([1j])])


class TestHostileHeaders:
    """A process that was taken over by its model describes arrays as it likes."""

    @pytest.mark.parametrize(
        "header",
        [
            TensorHeader("FP32", [2], SIZE - 4, 8),  # beyond the end
            TensorHeader("FP32", [2], -8, 8),
            TensorHeader("FP32", [2], 0, -8),
            TensorHeader("FP32", [1 << 62], 0, 16),
            TensorHeader("FP32", [-1, -4], 0, 16),
            TensorHeader("FP32", [2**40, 2**40], 0, 16),  # wraps around in 64 bits
            TensorHeader("FP32", [0, 1 << 31, 1 << 31, 4], 0, 0),
            TensorHeader("FP32", [1] * 33, 0, 4),
            TensorHeader("FP32", [4], 0, 8),
            TensorHeader("object", [1], 0, 8),  # a pointer
            TensorHeader("O", [1], 0, 8),
            TensorHeader("BYTES", [SIZE], 0, SIZE),
            TensorHeader("BYTES", [1], 0, 2),
            TensorHeader("BYTES", [1], 8, 16),  # one text of 0xFFFFFFFF bytes
            TensorHeader("BYTES", [1], 24, 8),  # one text, which is no UTF-8
        ],
    )
    @pytest.mark.parametrize("trusted", [False, True])
    def test_are_refused(self, header: TensorHeader, trusted: bool) -> None:
        memory = bytearray(SIZE)
        memory[8:12] = b"\xff" * 4
        memory[24:32] = b"\x04\0\0\0\xff\xfe\xfd\xfc"

        with pytest.raises(BadTensors):
            read_array(memory, header, trusted=trusted)

    @given(st.binary(max_size=200), st.binary(min_size=64, max_size=64))
    def test_raise_nothing_else_whatever_their_bytes_are(self, headers: bytes, memory: bytes) -> None:
        with suppress(BadTensors):
            read_arrays(bytearray(memory), headers)

    @given(
        st.sampled_from([*NUMPY_TYPES, "BYTES", "odd"]),
        st.lists(st.integers(-1, 2**63), max_size=4),
        st.integers(-1, 2**63),
        st.integers(-1, 2**63),
    )
    def test_raise_nothing_else_whatever_their_numbers_are(
        self, datatype: str, shape: list[int], offset: int, size: int
    ) -> None:
        headers = msgspec.msgpack.encode([TensorHeader(datatype, shape, offset, size)])
        with suppress(BadTensors):
            read_arrays(bytearray(64), headers)

    def test_cannot_make_a_truth_value_that_is_neither(self) -> None:
        [found] = read_arrays(
            bytearray(b"\x00\x01\x02\xff"), msgspec.msgpack.encode([TensorHeader("BOOL", [4], 0, 4)])
        )

        assert found.view(np.uint8).tolist() == [0, 1, 1, 1]
