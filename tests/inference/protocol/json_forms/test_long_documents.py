"""Long requests are read in short pieces, and as they are read whole."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.protocol.dialect import InferRequest
from inference.protocol.json_forms import long_documents
from inference.protocol.json_forms.long_documents import cut_data
from inference.protocol.v2 import v2_requests
from inference.protocol.v2.tensors import InvalidRequest
from inference.protocol.v2.v2_requests import RequestCodec
from inference.signatures import TensorSpec
from tests.inference.onnx_models import summing_signature

SPECS = [TensorSpec("x", "FP32", [-1, 2]), TensorSpec("t", "BYTES", [-1, 1])]
CODEC = RequestCodec(msgspec.structs.replace(summing_signature(2), inputs=SPECS, missing={"t": ""}))
# What other definitions of white space have beside the four characters of RFC 8259.
NOT_WHITE_SPACE = [
    *(bytes([code]) for code in (0x00, 0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F, 0x85, 0xA0)),
    *("\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\ufeff"[place].encode() for place in range(10)),
]
PIECE = 200
ODD_TEXTS = ["", "]", ",", "],[", "[", ":", "data", "\u00e9"]


def read(document: bytes) -> InferRequest | str:
    try:
        return CODEC.decode(document)
    except InvalidRequest as error:
        return str(error)


def read_in_pieces(document: bytes, monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> InferRequest | str:
    with monkeypatch.context() as patch:
        patch.setattr(long_documents, "PIECE_BYTES", piece_bytes)
        patch.setattr(long_documents, "PAUSE_SECONDS", 0)
        patch.setattr(v2_requests, "LONG_BYTES", 0)
        return read(document)


def is_cut(document: bytes, monkeypatch: pytest.MonkeyPatch) -> bool:
    with monkeypatch.context() as patch:
        patch.setattr(long_documents, "PIECE_BYTES", PIECE)
        return cut_data(document) is not None


def request(
    rows: list[list[Any]], texts: list[str | None], *, nested: bool = True, indent: int | None = None
) -> bytes:
    numbers = rows if nested else [value for row in rows for value in row]
    tensors = [
        {"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "data": numbers},
        {"name": "t", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts},
    ]
    return json.dumps({"id": "a:b", "inputs": tensors}, indent=indent, ensure_ascii=False).encode()


rows_and_texts = st.lists(
    st.tuples(
        st.lists(st.one_of(st.none(), st.integers(-9, 9), st.floats(-1e3, 1e3)), min_size=2, max_size=2),
        st.one_of(st.none(), st.sampled_from(ODD_TEXTS)),
    ),
    min_size=1,
    max_size=60,
)


class TestPieces:
    @pytest.mark.parametrize("nested", [True, False])
    def test_are_never_longer_than_their_bound_nor_is_what_is_left(self, nested: bool) -> None:
        rows = [[place + 0.125, -place] for place in range(20_000)]

        cut = cut_data(request(rows, [f"text {place}" for place in range(20_000)], nested=nested))

        assert cut is not None
        short, arrays = cut
        pieces = [piece for array in arrays for piece in array.pieces]
        assert len(short) < 300
        assert len(pieces) > 30
        assert max(map(len, pieces)) <= long_documents.PIECE_BYTES
        assert [array.nested for array in arrays] == [nested, False]

    def test_of_texts_with_a_backslash_are_none(self) -> None:
        assert cut_data(rb'{"inputs":[{"data":["\""]}]}') is None

    def test_are_given_up_where_arrays_are_many(self) -> None:
        most = b",".join([b'{"data":[1]}'] * long_documents.MAX_ARRAYS)

        assert cut_data(b'{"inputs":[%b]}' % most) is not None
        assert cut_data(b'{"inputs":[%b,{"data":[1]}]}' % most) is None


class TestReading:
    @settings(max_examples=60, deadline=None)
    @given(
        drawn=rows_and_texts,
        nested=st.booleans(),
        indent=st.sampled_from([None, 1]),
        piece=st.integers(200, 300),
    )
    def test_in_pieces_gives_what_reading_at_once_gives(
        self, drawn: list[Any], nested: bool, indent: int | None, piece: int
    ) -> None:
        document = request(
            [row for row, _ in drawn], [text for _, text in drawn], nested=nested, indent=indent
        )

        with pytest.MonkeyPatch.context() as monkeypatch:
            found = read_in_pieces(document, monkeypatch, piece)
            monkeypatch.setattr(long_documents, "PIECE_BYTES", piece)
            assert cut_data(document) is not None
        assert found == read(document)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data(), piece=st.integers(200, 300))
    def test_refuses_in_pieces_what_it_refuses_at_once(self, data: st.DataObject, piece: int) -> None:
        document = request([[place, 0.5] for place in range(30)], ["a]", "b,", ""] * 10)
        place = data.draw(st.integers(0, len(document) - 1))
        change = data.draw(
            st.sampled_from(
                [
                    b"",
                    b",",
                    b"]",
                    b"[",
                    b'"',
                    b"1",
                    b" ",
                    b"\t",
                    b"\r\n",
                    b'"data":[',
                    b"\\",
                    *NOT_WHITE_SPACE,
                ]
            )
        )
        length = data.draw(st.integers(0, 3))
        changed = document[:place] + change + document[place + length :]

        with pytest.MonkeyPatch.context() as monkeypatch:
            assert read_in_pieces(changed, monkeypatch, piece) == read(changed)

    @pytest.mark.parametrize("character", NOT_WHITE_SPACE, ids=ascii)
    @pytest.mark.parametrize("nested", [True, False])
    def test_takes_nothing_but_white_space_between_values(
        self, character: bytes, nested: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = request([[place, 0.5] for place in range(20)], [""] * 20, nested=nested)
        outside = [place for place in range(len(document) + 1) if document.count(b'"', 0, place) % 2 == 0]

        answers = [
            read_in_pieces(document[:place] + character + document[place:], monkeypatch, PIECE)
            for place in outside
        ]

        assert is_cut(document, monkeypatch)
        assert all("The body is not" in str(answer) for answer in answers)

    @pytest.mark.parametrize("space", [b" ", b"\t", b"\n", b"\r", b"\r\n\t "], ids=ascii)
    def test_takes_white_space_between_values(self, space: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        document = request([[place, 0.5] for place in range(20)], [""] * 20)
        spaced = document.replace(b" ", space).replace(b"]", space + b"]" + space).replace(b",", space + b",")

        assert is_cut(spaced, monkeypatch)
        assert read_in_pieces(spaced, monkeypatch, PIECE) == read(document)
