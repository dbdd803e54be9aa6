"""Models over HTTP: who answers for them, by which words they are found, and until when their task can change."""

import pytest

from driftline.base.accounts.models import AuditEntry
from inference.registry.models import Version
from tests.driftline.api.conftest import Api

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def names(api: Api, query: str = "") -> list[str]:
    return [one["name"] for one in api.get(f"/models{query}").json()["items"]]


@pytest.fixture
def fleet(api: Api) -> Api:
    api.post("/models", {"name": "churn", "task": "binary", "owner": "growth", "tags": ["crm", "eu"]})
    api.post("/models", {"name": "prices", "task": "regression", "description": "What is a flat worth?"})
    return api


def test_an_owner_and_tags_are_kept_sorted_and_replaced_whole(fleet: Api) -> None:
    made = fleet.get("/models/churn").json()

    changed = fleet.send("PATCH", "/models/churn", {"owner": "risk", "tags": ["us", "crm", "us"]}).json()

    assert (made["owner"], made["tags"]) == ("growth", ["crm", "eu"])
    assert (changed["owner"], changed["tags"]) == ("risk", ["crm", "us"])
    assert AuditEntry.objects.get(action="model.update").before == {"owner": "growth", "tags": ["crm", "eu"]}


@pytest.mark.parametrize("tag", ["two words", "a,b", "<b>", "é\u0000", "-first"])
def test_what_is_no_tag_is_refused(fleet: Api, tag: str) -> None:
    answer = fleet.send("PATCH", "/models/churn", {"tags": [tag]})

    assert answer.status_code in (400, 422)
    assert fleet.get("/models/churn").json()["tags"] == ["crm", "eu"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?search=flat+worth", ["prices"]),
        ("?search=CRM", ["churn"]),
        ("?tag=eu", ["churn"]),
        ("?owner=growth&task=binary", ["churn"]),
        ("?task=regression", ["prices"]),
        ("?tag=eu&task=regression", []),
    ],
)
def test_the_list_leaves_what_all_filters_leave(fleet: Api, query: str, found: list[str]) -> None:
    assert names(fleet, query) == found


def test_the_task_changes_until_the_first_version_is_there(fleet: Api) -> None:
    changed = fleet.send("PATCH", "/models/churn", {"task": "multiclass"})
    unknown = fleet.send("PATCH", "/models/churn", {"task": "guessing"})
    Version.objects.create(model_id=changed.json()["id"], version="1")
    late = fleet.send("PATCH", "/models/churn", {"task": "binary"})
    same = fleet.send("PATCH", "/models/churn", {"task": "multiclass"})

    assert (changed.status_code, changed.json()["task"]) == (200, "multiclass")
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/task")
    assert (late.status_code, late.json()["code"]) == (409, "model_has_versions")
    assert same.status_code == 200
