"""Rows that came with one request."""

import numpy as np
import pytest

from inference.prediction_log.queries.requests import requests_of

UUID = "0190f0c4-7b5a-7cc1-8000-00000000000"


@pytest.mark.parametrize(
    ("ids", "latency_us", "expected"),
    [
        ([f"{UUID}1:0", f"{UUID}1:1", f"{UUID}2:0"], [5.0, 5.0, 5.0], [0, 0, 1]),
        (["mine:0", "mine:1", "other:0"], [5.0, 5.0, 5.0], [0, 0, 1]),
        (["customer:7", "customer:8"], [5.0, 6.0], [0, 1]),
        (["a", "b"], [5.0, 5.0], [0, 1]),
        (["a:x", "a:y"], [5.0, 5.0], [0, 1]),
        (["a:0", "a:1"], [np.nan, np.nan], [0, 0]),
        ([], [], []),
    ],
)
def test_have_one_number(ids: list[str], latency_us: list[float], expected: list[int]) -> None:
    found = requests_of(np.array(ids, object), np.array(latency_us, np.float64))

    assert found.tolist() == expected
