"""TorchServe's inference API."""

import json
from typing import Any

import pytest

from inference.protocol.dialect import Target
from inference.protocol.torchserve import TORCHSERVE
from inference.protocol.v2.tensors import InvalidRequest
from inference.signatures import Signature
from tests.inference.protocol.signatures import BY_FEATURE, CLASSES, COINS, SUMS, TABLE, one_input, values_of

ROW = b'{"f0":1,"f1":2,"f2":3}'


def form(*fields: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\nContent-Type: text/plain\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name, content in fields
    ]
    return b"".join(parts) + end


def values(signature: Signature, body: bytes) -> dict[str, Any]:
    return values_of(signature, TORCHSERVE.compile("m", "1", signature).decode(body, {}).tensors)


def answer(signature: Signature, body: bytes, batch: Any) -> Any:
    codec = TORCHSERVE.compile("m", "1", signature)
    request = codec.decode(body, {})
    return json.loads(codec.encode(batch, 0, request.rows, request).content, parse_constant=pytest.fail)


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"[1,2,3]",
            b"[[1,2,3]]",
            b'[{"X":[1,2,3]}]',
            ROW,
            b'{"instances":[[1,2,3]]}',
            form(("data", b"[[1,2,3]]")),
            form(("rows", ROW)),
            form(("note", b"hello"), ("body", b"[1,2,3]")),
        ],
    )
    def test_hold_rows_in_json(self, body: bytes) -> None:
        assert values(TABLE, body) == {"X": [[1, 2, 3]]}

    @pytest.mark.parametrize(
        "body", ["Zürich".encode(), b'["Z\\u00fcrich"]', form(("data", "Zürich".encode()))]
    )
    def test_are_the_text_of_a_model_of_one_text(self, body: bytes) -> None:
        assert values(one_input("BYTES"), body) == {"x": [["Zürich"]]}

    def test_of_bare_values_are_rows_where_a_row_has_one(self) -> None:
        assert values(one_input("INT64"), b"[1,2]") == {"x": [[1], [2]]}

    @pytest.mark.parametrize(
        ("signature", "body", "part"),
        [
            pytest.param(TABLE, b"", "not JSON", id="nothing"),
            pytest.param(TABLE, b"\x89PNG\r\n", "not JSON", id="a picture"),
            pytest.param(TABLE, b"[]", "one item a row", id="no rows"),
            pytest.param(TABLE, b"[1,2]", "lists of 3", id="short"),
            pytest.param(TABLE, b'{"instances":7}', "'instances' is 7", id="no instances"),
            pytest.param(TABLE, b"{}", "'X' is missing", id="empty"),
            pytest.param(BY_FEATURE, b"[1,2]", "name them", id="bare for several"),
            pytest.param(one_input("BYTES"), b"\xff\xfe", "not UTF-8", id="no text"),
            pytest.param(one_input("BYTES"), b"a\x00", "NUL", id="NUL"),
            pytest.param(TABLE, b"--", "form does not end", id="only dashes"),
            pytest.param(TABLE, form(("data", ROW), end=b""), "form does not end", id="open form"),
            pytest.param(TABLE, form(), "form does not end", id="no fields"),
            pytest.param(TABLE, form(*[("f", ROW)] * 101), "more than 100 fields", id="many fields"),
            pytest.param(TABLE, form(("a", ROW), ("b", ROW)), "several fields", id="which field"),
            pytest.param(TABLE, form(("data", b"hello")), "not JSON", id="text in a form"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, signature: Signature, body: bytes, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            values(signature, body)


class TestAnswers:
    def test_have_the_form_of_the_request(self) -> None:
        assert answer(TABLE, b"[1,2,3]", SUMS) == 6
        assert answer(TABLE, ROW, SUMS) == 6
        assert answer(TABLE, b"[[1,2,3],[4,5,6]]", SUMS) == [6, None]
        assert answer(TABLE, b'{"instances":[[1,2,3]]}', SUMS) == {"predictions": [6]}

    def test_name_the_outputs_where_there_are_several(self) -> None:
        assert answer(CLASSES, b"[1,2,3]", COINS) == {"label": 1, "probabilities": [0.25, 0.75]}

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (404, "ModelNotFoundException"),
            (503, "ServiceUnavailableException"),
            (418, "InternalServerException"),
        ],
    )
    def test_write_errors_with_code_type_and_message(self, status: int, kind: str) -> None:
        error = json.loads(TORCHSERVE.write_error(status, "No.").content)

        assert error == {"code": status, "type": kind, "message": "No."}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/predictions/m", Target("m")),
        (b"/predictions/m/2", Target("m", "2")),
        (b"/predictions/", None),
        (b"/predictions/m/", None),
        (b"/predictions/m/2/3", None),
        (b"/predictions/\xff", None),
    ],
)
def test_paths_name_a_model_and_a_version(path: bytes, target: Target | None) -> None:
    assert TORCHSERVE.takes(path)
    assert TORCHSERVE.parse_path(path) == target
