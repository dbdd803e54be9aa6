"""Whatever bytes are sent, the logging routes answer without a fault of the server."""

import gzip
import json
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.prediction_log.models import Label, PredictionRow
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
ids = st.sampled_from(["p1", "p2", "p3", "p4"]) | st.text(max_size=5)
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


@pytest.mark.slow
@FEW
@given(changes=st.lists(mutated, min_size=1, max_size=4))
def test_any_items_are_counted(changes: list[dict[str, Any]], api: Api, flights: Model) -> None:
    items = [GOOD | {"id": f"p{number}"} | change for number, change in enumerate(changes)]

    answer = api.post(PREDICTIONS, as_json({"predictions": items}))

    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        told = answer.json()
        assert told["accepted"] + told["duplicates"] + told["rejected"] == len(items)
        assert [result["index"] for result in told["results"]] == list(range(len(items)))


good_labels = st.builds(
    lambda key, value: {"id": key, "label": value}, ids, st.sampled_from(["0", "1", 1, True])
)
good_predictions = st.builds(
    lambda key, features: GOOD | {"id": key, "features": features},
    ids,
    st.dictionaries(st.sampled_from("abc"), st.none() | finite | st.text("xy", max_size=3), max_size=3),
)
bad_items = values | st.builds(lambda change: GOOD | change, mutated)


@pytest.mark.slow
@FEW
@given(
    batch=st.lists(good_labels | good_predictions | bad_items, min_size=1, max_size=8),
    kind=st.sampled_from([JSON, LINES]),
    encoding=st.sampled_from(["identity", "gzip", "zstd"]),
    atomic=st.booleans(),
    cut=st.integers(0, 30),
)
def test_any_mix_is_kept_whole_or_item_by_item(
    batch: list[Any], kind: str, encoding: str, atomic: bool, cut: int, path: str, api: Api
) -> None:
    before = stored()
    body = written(batch, kind, path.rsplit("/", 1)[1])
    packed = {"gzip": gzip.compress, "zstd": zstandard.compress}.get(encoding, bytes)(body)
    sent = packed[: len(packed) - cut] if cut < 4 else packed  # some are cut short

    answer = api.post(
        f"{path}?atomic={str(atomic).lower()}", sent, content_type=kind, content_encoding=encoding
    )

    assert answer.status_code in (200, 400, 413, 415, 422), answer.content
    new = stored() - before
    if answer.status_code != 200:
        assert new == 0, "a refused request left something behind"
        return
    told = answer.json()
    statuses = [result["status"] for result in told["results"]]
    assert told["accepted"] + told["duplicates"] + told["rejected"] == len(told["results"])
    assert new == sum(
        status not in ("duplicate", "rejected", "conflict", "ambiguous_id") for status in statuses
    )
    assert not (atomic and "rejected" in statuses)


def stored() -> int:
    """Count predictions and all that was ever said of them."""
    return PredictionRow.objects.count() + Label.objects.count()


def written(batch: list[Any], kind: str, key: str) -> bytes:
    if kind == LINES:
        return b"\n".join(as_json(item) for item in batch)
    return as_json({key: batch})


def as_json(value: Any) -> bytes:
    """Write what orjson refuses, such as half a surrogate pair, as the standard library does."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, allow_nan=False).encode()


@pytest.mark.slow
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
