"""Whatever bytes are sent, the logging routes answer without a fault of the server."""

import json
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.registry.models import Model
from tests.driftline.api.bad_input import GOOD, JSON, LABELS, LINES, PREDICTIONS
from tests.driftline.api.conftest import Api

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | finite | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
mutated = st.dictionaries(
    st.sampled_from([*GOOD, "role", "tags", "subject", "latency_ms", "x"]), values, max_size=3
)


@pytest.fixture(params=[PREDICTIONS, LABELS])
def path(request: pytest.FixtureRequest, flights: Model) -> str:
    return str(request.param)


@FEW
@given(
    body=st.binary(max_size=200),
    kind=st.sampled_from([JSON, LINES]),
    encoding=st.sampled_from(["", "gzip", "zstd"]),
)
def test_any_bytes_are_answered(body: bytes, kind: str, encoding: str, path: str, api: Api) -> None:
    answer = api.post(path, body, content_type=kind, content_encoding=encoding or "identity")

    assert answer.status_code in (200, 400, 413, 415, 422)


@FEW
@given(changes=st.lists(mutated, min_size=1, max_size=4))
def test_any_items_are_counted(changes: list[dict[str, Any]], api: Api, flights: Model) -> None:
    items = [GOOD | {"id": f"p{number}"} | change for number, change in enumerate(changes)]
    try:
        body = orjson.dumps({"predictions": items})
    except TypeError:  # an integer beyond 64 bits or a lone surrogate, which orjson does not write
        body = json.dumps({"predictions": items}, allow_nan=False).encode()

    answer = api.post(PREDICTIONS, body)

    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        told = answer.json()
        assert told["accepted"] + told["duplicates"] + told["rejected"] == len(items)
        assert [result["index"] for result in told["results"]] == list(range(len(items)))


@FEW
@given(name=st.text(max_size=20), query=st.text(max_size=20))
def test_any_name_and_query_are_answered(name: str, query: str, api: Api) -> None:
    quoted = quote(name.encode("utf-8", "surrogatepass"), safe="")
    answers = [
        api.get(f"/models/{quoted or 'x'}"),
        api.get(f"/rules?model={quote(query.encode('utf-8', 'surrogatepass'))}"),
        api.get(f"/models?cursor={quote(query.encode('utf-8', 'surrogatepass'))}"),
    ]

    assert all(answer.status_code < 500 for answer in answers)
