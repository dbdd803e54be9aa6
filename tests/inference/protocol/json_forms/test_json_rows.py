"""Rows and columns of JSON values."""

import math
from typing import Any

import pytest

from inference.protocol.json_forms.json_rows import RowReader
from inference.protocol.matching import MAX_ROWS
from inference.protocol.v2.tensors import InvalidRequest, TooManyRows
from inference.signatures import Signature
from tests.inference.protocol.signatures import BY_FEATURE, IMAGES, TABLE, one_input, values_of


def rows(signature: Signature, given: Any) -> tuple[int, dict[str, Any]]:
    count, tensors = RowReader(signature).read_rows(given, "instances")
    return count, values_of(signature, tensors)


def columns(signature: Signature, given: Any) -> tuple[int, dict[str, Any]]:
    count, tensors = RowReader(signature).read_columns(given, "inputs")
    return count, values_of(signature, tensors)


def table(signature: Signature, names: Any, given: Any) -> tuple[int, dict[str, Any]]:
    count, tensors = RowReader(signature).read_table(names, given, "data")
    return count, values_of(signature, tensors)


class TestRows:
    def test_are_bare_for_the_only_input(self) -> None:
        assert rows(TABLE, [[1, 2, 3], [4, 5, 6]]) == (2, {"X": [[1, 2, 3], [4, 5, 6]]})

    def test_are_nested_as_the_input_s_shape_says(self) -> None:
        assert rows(IMAGES, [[[1, 2], [3, 4]]]) == (1, {"X": [[[1, 2], [3, 4]]]})

    @pytest.mark.parametrize("given", [[1, 2], [[1], [2]], [1, [2]]])
    def test_of_one_value_may_stand_without_a_list(self, given: Any) -> None:
        assert rows(one_input("INT64"), given) == (2, {"x": [[1], [2]]})

    def test_are_objects_by_input(self) -> None:
        given = [{"amount": 1.5, "carrier": "AA"}, {"carrier": ["UA"], "amount": [2]}]

        assert rows(BY_FEATURE, given) == (2, {"amount": [[1.5], [2]], "carrier": [["AA"], ["UA"]]})

    def test_are_objects_by_feature_in_any_order(self) -> None:
        assert rows(TABLE, [{"f2": 3, "f0": 1, "f1": [2]}]) == (1, {"X": [[1, 2, 3]]})

    def test_hold_null_and_nan_for_missing_numbers(self) -> None:
        _, values = rows(TABLE, [[None, math.nan, 3]])

        assert [math.isnan(value) for value in values["X"][0]] == [True, True, False]

    def test_hold_null_for_a_missing_text_where_the_model_has_a_token(self) -> None:
        assert rows(BY_FEATURE, [{"amount": 1, "carrier": None}])[1]["carrier"] == [[""]]

    def test_hold_bytes_in_base64(self) -> None:
        given = [{"amount": 1, "carrier": {"b64": "WsO8cmljaA=="}}]

        assert rows(BY_FEATURE, given)[1]["carrier"] == [["Zürich"]]
        assert rows(one_input("BYTES"), [{"b64": "QUE="}, "AA"])[1] == {"x": [["AA"], ["AA"]]}

    @pytest.mark.parametrize(
        ("signature", "given", "part"),
        [
            pytest.param(TABLE, None, "'instances' is null", id="no list"),
            pytest.param(TABLE, [], "a list with one item a row", id="no rows"),
            pytest.param(TABLE, [[1, 2]], "takes lists of 3", id="short"),
            pytest.param(TABLE, [[1, 2, 3], 4], "holds 4 at place 1", id="a number for a row"),
            pytest.param(TABLE, [[[1, 2, 3]]], "takes lists of 3", id="too deep"),
            pytest.param(TABLE, [[1, 2, [3]]], "not a value of FP32", id="too deep in one place"),
            pytest.param(TABLE, [[1, 2, "3"]], "holds '3' at place 2", id="text for a number"),
            pytest.param(TABLE, [[1, 2, True]], "holds true at place 2", id="truth for a number"),
            pytest.param(TABLE, [[1, 2, 1e39]], "not a value of FP32", id="too large"),
            pytest.param(TABLE, [[1, 2, {"b64": "AA=="}]], "not a value of FP32", id="bytes for a number"),
            pytest.param(TABLE, [{"f0": 1, "f1": 2}], "'f2' is missing", id="feature missing"),
            pytest.param(TABLE, [{"f0": 1, "f9": 2}], "no feature 'f9'", id="feature unknown"),
            pytest.param(TABLE, [{"Y": [1, 2, 3]}], "no input 'Y'", id="input unknown"),
            pytest.param(TABLE, [{"X": [1, 2, 3]}, {}], "names are not those of the first", id="empty row"),
            pytest.param(TABLE, [{"X": [1, 2, 3]}, [1, 2, 3]], "names are not those", id="mixed"),
            pytest.param(TABLE, [{}], "'X' is missing", id="no names"),
            pytest.param(BY_FEATURE, [[1, "AA"]], "name them: 'amount', 'carrier'", id="bare for several"),
            pytest.param(BY_FEATURE, [{"amount": 1}], "'carrier' is missing", id="input missing"),
            pytest.param(
                BY_FEATURE, [{"amount": 1, "carrier": 7}], "not a value of BYTES", id="number for text"
            ),
            pytest.param(one_input("INT64"), [1.0], "not a value of INT64", id="float for whole"),
            pytest.param(one_input("INT64"), [math.nan], "not a value of INT64", id="NaN for whole"),
            pytest.param(one_input("INT64"), [None], "no value for 'missing'", id="null for whole"),
            pytest.param(one_input("UINT8"), [256], "not a value of UINT8", id="too large for whole"),
            pytest.param(one_input("BOOL"), [1], "not a value of BOOL", id="number for truth"),
            pytest.param(one_input("BYTES"), [{"b64": "%"}], "base64", id="no base64"),
            pytest.param(one_input("BYTES"), [{"b64": 7}], "base64", id="number for base64"),
            pytest.param(one_input("BYTES"), [{"b64": "/w=="}], "not UTF-8", id="bytes that are no text"),
            pytest.param(one_input("BYTES"), [{"b64": "AA=="}], "NUL", id="NUL in base64"),
            pytest.param(one_input("BYTES"), [None], "names no token", id="null for text"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, signature: Signature, given: Any, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            rows(signature, given)

    def test_of_many_are_read_alike_and_say_where_one_does_not_fit(self) -> None:
        many = [[place, 0.5, None] for place in range(MAX_ROWS)]
        wrong = [*many[:-1], [1, 2, "x"]]

        _, values = rows(TABLE, many)
        with pytest.raises(InvalidRequest, match=r"Of the rows from [1-9][0-9]+ on: Input 'X' holds 'x'"):
            rows(TABLE, wrong)

        assert [row[0] for row in values["X"]] == list(range(MAX_ROWS))
        assert rows(one_input("BYTES"), ["a", "b"] * 5000)[1]["x"][-1] == ["b"]

    def test_are_not_too_many(self) -> None:
        with pytest.raises(TooManyRows, match="at most 10000"):
            rows(one_input("INT64"), [1] * (MAX_ROWS + 1))


class TestColumns:
    def test_are_bare_for_the_only_input(self) -> None:
        assert columns(TABLE, [[1, 2, 3]]) == rows(TABLE, [[1, 2, 3]])

    def test_are_lists_by_input_or_by_feature(self) -> None:
        by_input = columns(BY_FEATURE, {"carrier": ["AA", "UA"], "amount": [[1], [2]]})

        assert by_input == (2, {"amount": [[1], [2]], "carrier": [["AA"], ["UA"]]})
        assert columns(TABLE, {"f1": [2, 5], "f0": [1, 4], "f2": [3, 6]})[1] == {"X": [[1, 2, 3], [4, 5, 6]]}

    @pytest.mark.parametrize(
        ("signature", "given", "part"),
        [
            (TABLE, {"X": 7}, "'X' is 7; send a list"),
            (TABLE, {"X": []}, "send a list with one value a row"),
            (TABLE, {"f0": [1], "f1": [2], "f2": [3, 4]}, "'f2' has 2 rows and others have 1"),
            (TABLE, {"X": [[1, 2, 3]], "f0": [1]}, "no input 'f0'"),
            (BY_FEATURE, {"amount": [1], "carrier": ["AA", "UA"]}, "has 2 rows and others have 1"),
            (BY_FEATURE, {}, "'amount' is missing"),
            (BY_FEATURE, 7, "send a list"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, signature: Signature, given: Any, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            columns(signature, given)

    @pytest.mark.parametrize("names", [["f0", "f1", "f2"], ["X"]])
    def test_are_not_too_long(self, names: list[str]) -> None:
        with pytest.raises(TooManyRows):
            columns(TABLE, {name: [1] * (MAX_ROWS + 1) for name in names})


class TestTables:
    @pytest.mark.parametrize(
        ("names", "row"),
        [(["f0", "f1", "f2"], [1, 2, 3]), (["f2", "f0", "f1"], [3, 1, 2]), ([0, 1, 2], [1, 2, 3])],
    )
    def test_may_have_their_columns_in_any_order(self, names: Any, row: Any) -> None:
        assert table(TABLE, names, [row]) == (1, {"X": [[1, 2, 3]]})

    def test_are_split_where_each_feature_is_an_input(self) -> None:
        read = table(BY_FEATURE, ["carrier", "amount"], [["AA", 1.5], [None, None]])

        assert read[1]["carrier"] == [["AA"], [""]]
        assert read[1]["amount"][0] == [1.5]

    @pytest.mark.parametrize(
        ("names", "given", "part"),
        [
            (["f0", "f1"], [[1, 2]], "'f2' is missing"),
            (["f0", "f1", "f1"], [[1, 2, 3]], "'f1' comes twice"),
            (["f0", "f1", "f2", "f2"], [[1, 2, 3, 4]], "'f2' comes twice"),
            (["f0", "f1", "f2", "f3"], [[1, 2, 3, 4]], "no feature 'f3'"),
            (["f0", "f1", ["f2"]], [[1, 2, 3]], "no feature"),
            ([0, 1], [[1, 2]], "no feature 0"),
            (["f0", "f1", "f2"], [[1, 2]], "send lists of 3 values"),
            (["f0", "f1", "f2"], [7], "holds 7 at place 0"),
            (["f0", "f1", "f2"], [], "one list a row"),
            (["f0", "f1", "f2"], {"f0": [1]}, "one list a row"),
            ([], [[]], "'f0' is missing"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, names: Any, given: Any, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            table(TABLE, names, given)
