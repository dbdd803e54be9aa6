"""The JSON of requests."""

import json
import math
from typing import Any

import pytest

from driftline.base.strict_json import MAX_DEPTH
from inference.protocol.json_forms.json_documents import read_json, read_json_with_nan
from inference.protocol.v2.tensors import InvalidRequest


@pytest.mark.parametrize("read", [read_json, read_json_with_nan])
class TestRefusing:
    @pytest.mark.parametrize(
        ("body", "part"),
        [
            pytest.param(b'{"a":1,"a":2}', "'a' comes twice", id="twice"),
            pytest.param(b'{"a":[{"b":1,"b":1}]}', "'b' comes twice", id="twice inside"),
            pytest.param(b'{"a":[1,{"b":1,"b":1}]}', "'b' comes twice", id="twice behind a number"),
            pytest.param(b'{"a":[1,"x:y",{"b":1,"b":1}]}', "'b' comes twice", id="twice behind a colon"),
            pytest.param(b'{"a":"\\u0000"}', "NUL", id="NUL"),
            pytest.param(b'["\\u0000"]', "NUL", id="NUL in a list"),
            pytest.param(b'[["\\ud800"]]', "surrogate", id="half a surrogate"),
            pytest.param(b'{"a":Infinity}', "Infinity", id="infinity"),
            pytest.param(b'{"a":-Infinity}', "-Infinity", id="minus infinity"),
            pytest.param(b'{"a":1e999}', "too large for a float", id="a number too large"),
            pytest.param(b'{"a":"\xff"}', "not UTF-8", id="not UTF-8"),
            pytest.param(b"{'a':1}", "not JSON", id="not JSON"),
            pytest.param(b"", "not JSON", id="nothing"),
            pytest.param(b'{"a":1} {}', "not JSON", id="two documents"),
            pytest.param(b"[" * 2000, "nests deeper", id="only brackets"),
            pytest.param(b"[" * 33 + b"]" * 33 + b'"\\"', "nests deeper", id="deep, and not closed"),
            pytest.param(b'{"a":NaN,"b":' + b"[" * 33 + b"1" + b"]" * 33 + b"}", "nests deeper", id="deep"),
        ],
    )
    def test_says_what_is_wrong(self, read: Any, body: bytes, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read(body)

    def test_takes_brackets_in_texts_for_text(self, read: Any) -> None:
        assert read(b'{"a":"' + b"[{" * 50 + b'"}') == {"a": "[{" * 50}
        assert read(rb'["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[[[[[[[[\\",[[1]]]')[1] == [[1]]

    @pytest.mark.parametrize("body", [b'"' + b'\\"' * 200_000, b'["' + b'\\"' * 200_000 + b"[" * 40 + b"\\"])
    def test_reads_an_endless_text_once(self, read: Any, body: bytes) -> None:
        with pytest.raises(InvalidRequest, match="not JSON"):
            read(body)


def test_takes_nan_where_it_is_told_to() -> None:
    document = read_json_with_nan(b'{"a":[1,NaN],"b":"NaN"}')

    assert document["b"] == "NaN"
    assert math.isnan(document["a"][1])
    with pytest.raises(InvalidRequest, match="NaN"):
        read_json(b"[NaN]")


@pytest.mark.parametrize("depth", [1, MAX_DEPTH])
def test_reads_what_nests_as_deep_as_may_be(depth: int) -> None:
    body = b"[" * depth + b"1" + b"]" * depth

    assert read_json(body) == read_json_with_nan(body)


@pytest.mark.parametrize(
    "document",
    [
        b'{"a:b":["c:d",{"e":[1.5,2]}],"f":null,"g":true}',
        b'{"big":18446744073709551615,"low":-9223372036854775808}',
        b'[{"a":1},{"a":2}]',
        '{"ü":"✈"}'.encode(),
    ],
)
def test_reads_quickly_what_it_would_read_carefully(document: bytes) -> None:
    assert read_json_with_nan(document) == read_json(document)


class TestLongDocuments:
    ROWS = [[place / 7, -place, 1e-9] for place in range(20_000)]

    @pytest.mark.parametrize(
        "form",
        [
            '{"instances":%s}',
            '{"signature_name":"serving_default","inputs" : %s}',
            '{"dataframe_split":{"columns":["a","b","c"],"data":%s},"params":{"a":1}}',
            '{"dataframe_split":{"data":%s}}',
            '{"other":{"data":%s}}',
            '{"instances":[],"inputs":%s}',
            '{"inputs":{"data":%s},"data":[]}',
            "%s",
        ],
    )
    def test_are_read_as_short_ones_are(self, form: str) -> None:
        body = (form % json.dumps(self.ROWS)).encode()

        assert read_json_with_nan(body) == json.loads(body)

    @pytest.mark.parametrize("size", [1_000, 40_000])
    def test_may_hold_objects(self, size: int) -> None:
        rows = [{"a": place, "b": f"x:{place}"} for place in range(size)]

        assert read_json_with_nan(json.dumps({"instances": rows}).encode()) == {"instances": rows}

    @pytest.mark.parametrize(
        ("form", "part"),
        [
            ('{"instances":%s,"instances":[]}', "comes twice"),
            ('{"instances":%s,}', "not JSON"),
            ('{"instances":%s', "not JSON"),
            ('{"a":1,"instances":%s,"a":2}', "comes twice"),
            ('{"instances":[%s[{"a":1,"a":2}]]}', "not JSON"),
            ('{"instances":[%s,[{"a":1,"a":2}]]}', "comes twice"),
        ],
    )
    def test_are_refused_as_short_ones_are(self, form: str, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read_json_with_nan((form % json.dumps(self.ROWS)).encode())
