"""Lists in pages."""

from typing import Any

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.http.paging import page
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem


@pytest.fixture
def rules(api: Api) -> list[str]:
    api.post("/models", {"name": "flights", "task": "binary"})
    names = [f"rule {number}" for number in range(7)]
    for name in names:
        api.post("/rules", {"model": "flights", "name": name, "metric": "f1", "threshold": 1})
    return names


def walk(api: Api, path: str) -> list[dict[str, Any]]:
    found, cursor = [], ""
    while True:
        answer = api.get(f"{path}&cursor={cursor}").json()
        found += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return found


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3, 7, 1_000_000_000])
def test_every_row_is_on_exactly_one_page(limit: int, api: Api, rules: list[str]) -> None:
    assert [rule["name"] for rule in walk(api, f"/rules?limit={limit}")] == rules


@pytest.mark.slow
def test_rows_added_meanwhile_do_not_shift_the_pages(api: Api, rules: list[str]) -> None:
    first = api.get("/rules?limit=4").json()
    api.post("/rules", {"model": "flights", "name": "added", "metric": "f1", "threshold": 1})

    rest = api.get(f"/rules?limit=100&cursor={first['next']}").json()

    assert [rule["name"] for rule in rest["items"]] == [*rules[4:], "added"]


def test_a_cursor_of_another_list_is_refused(api: Api, rules: list[str]) -> None:
    cursor = api.get("/rules?limit=1").json()["next"]

    assert_problem(api.get(f"/deliveries?cursor={cursor}"), 400, "invalid_parameter")


def test_mixed_directions_keep_their_order(api: Api) -> None:
    for action, subject in [("b", "1"), ("a", "1"), ("a", "2"), ("b", "2"), ("a", "3")]:
        AuditEntry.objects.create(project=api.project, actor="test", action=action, subject=subject)
    rows = AuditEntry.objects.filter(actor="test", project=api.project, action__in="ab")

    found, cursor = [], None
    for _ in range(5):
        answer = page(
            rows, lambda row: row.action + row.subject, by=("action", "-subject"), cursor=cursor, limit=1
        )
        found, cursor = found + answer.items, answer.next

    assert found == ["a3", "a2", "a1", "b2", "b1"]
    assert cursor is None
