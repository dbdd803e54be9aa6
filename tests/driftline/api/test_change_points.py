"""Reading where the error of a model changed."""

from typing import Any

import pytest

from inference.registry.models import Model
from monitors.metrics.store.models import ChangePoint
from tests.driftline.api.conftest import Api
from tests.worlds.every_kind import DAY, NOW

PATH = "/models/flights/change-points"


@pytest.fixture
def changes(flights: Model) -> list[ChangePoint]:
    return ChangePoint.objects.bulk_create(
        ChangePoint(
            model=flights,
            role="shadow" if age == 4 else "champion",
            version="2" if age == 2 else "1",
            span="day",
            detector="adwin",
            error="wrong_share",
            at=NOW - age * 10 * DAY,
            noticed_at=NOW - (age * 10 - 5) * DAY,
            before=0.1,
            after=0.2,
            n_before=30,
            n_after=5,
        )
        for age in (1, 2, 3, 4)
    )


def ages(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    told = [item["at"][:10] for item in answer.json()["items"]]
    return [next(age for age in range(1, 5) if f"{NOW - age * 10 * DAY:%Y-%m-%d}" == day) for day in told]


def test_those_of_the_champion_come_the_newest_first_and_page_by_page(
    api: Api, changes: list[ChangePoint]
) -> None:
    first = api.get(f"{PATH}?limit=2").json()

    second = api.get(f"{PATH}?limit=2&cursor={first['next']}")

    assert first["items"][0] == {
        "at": f"{NOW - 10 * DAY:%Y-%m-%dT%H:%M:%SZ}",
        "noticed_at": f"{NOW - 5 * DAY:%Y-%m-%dT%H:%M:%SZ}",
        "detector": "adwin",
        "error": "wrong_share",
        "span": "day",
        "segment": "",
        "role": "champion",
        "version": "1",
        "before": 0.1,
        "after": 0.2,
        "n_before": 30,
        "n_after": 5,
    }
    assert [item["version"] for item in first["items"]] == ["1", "2"]
    assert (ages(second), second.json()["next"]) == ([3], None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [("?version=1", [1, 3]), ("?role=shadow", [4]), ("?from=-25d", [1, 2]), ("?from=-35d&to=-15d", [2, 3])],
)
def test_they_are_narrowed_by_version_role_and_time(
    api: Api, changes: list[ChangePoint], query: str, expected: list[int]
) -> None:
    assert ages(api.get(PATH + query)) == expected


@pytest.mark.parametrize("query", ["role=x", "from=x", "to=x", "limit=0", "cursor=x"])
def test_a_value_that_is_none_is_refused_by_its_name(api: Api, flights: Model, query: str) -> None:
    answer = api.get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/" + query.partition("=")[0]
