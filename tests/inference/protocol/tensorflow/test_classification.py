"""The classification extension."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.protocol.tensorflow.classification import class_labels, top_classes
from tests.inference.onnx_models import classifier_signature


class TestTopClasses:
    def test_come_highest_first_with_value_index_and_label(self) -> None:
        values = np.array([[1.5, 5, 10, 4]], np.float32)

        assert top_classes(values, 2, ["a", "b", "c", "d"]).tolist() == [["10.000000:2:c", "5.000000:1:b"]]

    @pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "u8", "?"])
    def test_compare_whole_numbers_as_they_are(self, dtype: str) -> None:
        values = np.array([[0, 1, 0]], dtype)

        assert top_classes(values, 3, []).tolist() == [["1:1", "0:0", "0:2"]]

    def test_do_not_stumble_over_the_least_whole_number(self) -> None:
        assert top_classes(np.array([[-128, 127]], np.int8), 1, []).tolist() == [["127:1"]]

    def test_put_nan_last(self) -> None:
        values = np.array([[np.nan, -np.inf, 1]], np.float32)

        assert top_classes(values, 3, []).tolist() == [["1.000000:2", "-inf:1", "nan:0"]]

    def test_are_no_more_than_there_are(self) -> None:
        assert top_classes(np.zeros((2, 3)), 99, []).shape == (2, 3)

    def test_go_without_labels_where_their_number_differs(self) -> None:
        assert top_classes(np.array([[0.5]]), 1, ["no", "yes"]).tolist() == [["0.500000:0"]]

    @given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9), st.integers(1, 9))
    def test_agree_with_a_plain_sort(self, row: list[int], count: int) -> None:
        expected = sorted(range(len(row)), key=lambda place: -row[place])[:count]

        [names] = top_classes(np.array([row]), count, []).tolist()
        assert names == [f"{row[place]}:{place}" for place in expected]


class TestClassLabels:
    def test_belong_to_the_probabilities_alone(self) -> None:
        signature = classifier_signature(3)

        label, probabilities = signature.outputs
        assert class_labels(signature, probabilities) == ["0", "1"]
        assert class_labels(signature, label) == []
