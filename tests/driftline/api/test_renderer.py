"""What the API writes when numbers are larger than an integer of JSON readers may be."""

import orjson
from django.test import RequestFactory

from driftline.api.strictness import JsonRenderer


def rendered(data: object) -> object:
    request = RequestFactory().get("/")
    return orjson.loads(JsonRenderer().render(request, data, response_status=200))


def test_writes_integers_of_many_digits_that_readers_take_for_floats() -> None:
    evidence = {"looks": [{"e_value": 10**300, "n": 7}], "verdict": (-(10**30), 2**64 - 1)}

    assert rendered(evidence) == {
        "looks": [{"e_value": 1e300, "n": 7}],
        "verdict": [-1e30, 2**64 - 1],
    }


def test_writes_a_number_that_is_none_as_null() -> None:
    assert rendered({"value": float("nan")}) == {"value": None}
