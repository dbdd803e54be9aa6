"""Predictions over the API: pages of what matches, one by its id, and the trace of each look."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.periods import rfc3339
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem

PATH = "/models/flights/predictions"
NOW = datetime.now(UTC).replace(microsecond=0)
COUNT = 25


@pytest.fixture
def ids(api: Api) -> list[str]:
    """Log some predictions, the first the newest, of which every other has a label."""
    api.post("/models", {"name": "flights", "task": "binary"})
    items = [
        {
            "id": f"p{number}",
            "timestamp": rfc3339(NOW - timedelta(minutes=number)),
            "version": "1" if number % 3 else "2",
            "features": {"age": number, "origin": "JFK" if number % 2 else "LGA"},
            "prediction": "1",
            "probabilities": number / COUNT,
        }
        for number in range(COUNT)
    ]
    assert api.post(PATH, {"predictions": items}).json()["accepted"] == COUNT
    labels = [{"id": f"p{number}", "label": str(number % 4 // 2)} for number in range(0, COUNT, 2)]
    assert api.post("/models/flights/labels", {"labels": labels}).json()["accepted"] == len(labels)
    return [item["id"] for item in items]


def walk(api: Api, **given: Any) -> list[dict[str, Any]]:
    found, cursor = [], ""
    while cursor is not None:
        answer = api.get(f"{PATH}?{urlencode({**given, 'cursor': cursor, 'limit': 4})}")
        assert answer.status_code == 200, answer.content
        assert set(answer.json()) == {"items", "next", "unreadable"}
        found += answer.json()["items"]
        cursor = answer.json()["next"]
    return found


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return [int(item["id"][1:]) for item in found]


@pytest.mark.slow
def test_pages_hold_everything_once_the_newest_first(api: Api, ids: list[str]) -> None:
    assert [item["id"] for item in walk(api)] == ids


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({"version": "2"}, lambda number: number % 3 == 0),
        ({"segment": "origin:JFK"}, lambda number: number % 2 == 1),
        ({"segment": "age:7"}, lambda number: number == 7),
        ({"labelled": "true"}, lambda number: number % 2 == 0),
        ({"correct": "true"}, lambda number: number % 4 == 2),
        ({"correct": "false"}, lambda number: number % 4 == 0),
        ({"score_min": 0.2, "score_max": 0.4}, lambda number: 5 <= number <= 10),
        ({"from": rfc3339(NOW - timedelta(minutes=9)), "to": rfc3339(NOW)}, lambda number: 1 <= number <= 9),
        ({"role": "shadow"}, lambda number: False),
        ({"labelled": "true", "segment": "origin:LGA", "version": "2"}, lambda number: number % 6 == 0),
    ],
)
def test_a_filter_leaves_exactly_what_fits(
    given: dict[str, Any], fits: Any, api: Api, ids: list[str]
) -> None:
    assert numbers(walk(api, **given)) == [number for number in range(COUNT) if fits(number)]


def test_each_page_and_each_look_leaves_a_trace(api: Api, ids: list[str]) -> None:
    api.get(f"{PATH}?limit=3&labelled=true")
    api.get(f"{PATH}/p3")

    traces = AuditEntry.objects.filter(action="predictions.view").order_by("pk")
    assert list(traces.values_list("subject", "after")) == [
        ("flights", {"filters": {"labelled": "true"}, "rows": 3}),
        ("flights", {"id": "p3"}),
    ]


@pytest.mark.parametrize(
    "query",
    ["labelled=maybe", "correct=2", "role=king", "segment=a", "score_min=x", "from=soon", "cursor=x", "limit=0",
     "limit=x", "unknown=1", "version=1&version=2", "segment=a:%00"],
)  # fmt: skip
def test_a_wrong_parameter_is_named(query: str, api: Api, ids: list[str]) -> None:
    found = assert_problem(api.get(f"{PATH}?{query}"), 400, "invalid_parameter")

    assert found["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_a_version_that_is_not_there_is_not_found(api: Api, ids: list[str]) -> None:
    assert_problem(api.get(f"{PATH}?version=9"), 404, "version_not_found")
