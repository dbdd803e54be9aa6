import struct

import numpy as np
import pytest

from inference.protocol.v2.raw_tensors import read_raw, write_raw
from inference.protocol.v2.tensors import NUMPY_TYPES, InvalidRequest, TensorCodec
from inference.signatures import TensorSpec


def codec(datatype: str, width: int = 2) -> TensorCodec:
    return TensorCodec(TensorSpec("X", datatype, [-1, width]), None)


class TestReading:
    @pytest.mark.parametrize("datatype", sorted(NUMPY_TYPES))
    def test_takes_the_bytes_of_each_datatype_as_they_are(self, datatype: str) -> None:
        values = np.array([[0, 1], [1, 0], [1, 1]]).astype(NUMPY_TYPES[datatype])

        buffer = read_raw(codec(datatype), values.tobytes(), 3)

        assert codec(datatype).join([buffer]).tolist() == values.tolist()

    def test_reads_texts_by_their_lengths(self) -> None:
        elements = ["", "north", "Zürich", " "]
        raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in elements)

        assert read_raw(codec("BYTES"), raw, 2) == elements

    @pytest.mark.parametrize("size", [0, 15, 17, 32])
    def test_refuses_more_or_fewer_bytes_than_the_values_take(self, size: int) -> None:
        with pytest.raises(InvalidRequest, match=f"has {size} bytes; 4 values of FP32 take 16"):
            read_raw(codec("FP32"), bytes(size), 2)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\1\0\0",  # a length cut short
            b"\5\0\0\0abc",  # a text cut short
            b"\xff\xff\xff\xffabc",  # a length of four gigabytes
            b"\1\0\0\0a",  # one text too few
            b"\1\0\0\0a\1\0\0\0b\1\0\0\0c",  # one too many
            b"\1\0\0\0a\1\0\0\0b\0",  # a byte too many
        ],
    )
    def test_refuses_texts_that_do_not_fill_their_bytes(self, raw: bytes) -> None:
        with pytest.raises(InvalidRequest, match="does not hold 2 elements of BYTES"):
            read_raw(codec("BYTES"), raw, 1)

    def test_refuses_bytes_that_are_not_text(self) -> None:
        with pytest.raises(InvalidRequest, match="at place 1 that are not UTF-8"):
            read_raw(codec("BYTES"), b"\1\0\0\0a\1\0\0\0\xff", 1)

    def test_refuses_a_text_that_no_database_keeps(self) -> None:
        with pytest.raises(InvalidRequest, match="NUL"):
            read_raw(codec("BYTES"), b"\1\0\0\0a\1\0\0\0\0", 1)

    @pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
    def test_takes_nan_as_missing_and_refuses_infinity(self, datatype: str) -> None:
        missing, infinite = (
            np.array([1, value], NUMPY_TYPES[datatype]).tobytes() for value in (np.nan, -np.inf)
        )

        assert read_raw(codec(datatype), missing, 1) == missing
        with pytest.raises(InvalidRequest, match="infinity at place 1"):
            read_raw(codec(datatype), infinite, 1)

    def test_refuses_a_truth_value_that_is_neither(self) -> None:
        with pytest.raises(InvalidRequest, match="neither 0 nor 1"):
            read_raw(codec("BOOL"), b"\0\2", 1)


class TestWriting:
    @pytest.mark.parametrize("datatype", [*sorted(NUMPY_TYPES), "BYTES"])
    def test_writes_what_reading_gives_back(self, datatype: str) -> None:
        kind = object if datatype == "BYTES" else NUMPY_TYPES[datatype]
        values = np.array([["0", "1"], ["1", "1"]] if datatype == "BYTES" else [[0, 1], [1, 1]]).astype(kind)

        raw = write_raw(values, datatype)

        assert codec(datatype).join([read_raw(codec(datatype), raw, 2)]).tolist() == values.tolist()

    def test_writes_numbers_that_are_not_finite(self) -> None:
        raw = write_raw(np.array([np.nan, -np.inf], dtype=np.float32), "FP32")

        assert str(np.frombuffer(raw, "<f4").tolist()) == "[nan, -inf]"
