"""The list of incidents and its filters, and what callers do about an incident."""

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Membership, User
from driftline.base.clock import now
from monitors.alerts.models import Incident
from tests.driftline.api.conftest import Api
from tests.driftline.api.listed_objects import add_incident
from tests.worlds.every_kind import World, furnish

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stored_world(shared_api: Api) -> World:
    return furnish(shared_api.project)


@pytest.fixture
def world(stored_world: World, db: None) -> World:
    return deepcopy(stored_world)


@pytest.fixture
def api(shared_api: Api, db: None) -> Api:
    return shared_api


def test_are_listed_by_severity(api: Api, world: World) -> None:
    critical = add_incident(world, 1)  # beside one that only warns
    Incident.objects.filter(pk=critical.pk).update(severity="critical")

    found = api.get("/incidents?severity=critical").json()["items"]

    assert [one["id"] for one in found] == [critical.pk]
    assert len(api.get("/incidents").json()["items"]) == 2


class TestActing:
    def test_assigns_and_lists_by_assignee(self, api: Api, world: World) -> None:
        path = f"/incidents/{world.incident.pk}"
        member = User.objects.create_user("ada@bank.example")
        Membership.objects.create(project=api.project, user=member, role="editor")

        answer = api.post(f"{path}/assign", {"assignee": "ada@bank.example"})

        assert answer.json()["assignee"] == "ada@bank.example"
        assert len(api.get("/incidents?assignee=ada@bank.example").json()["items"]) == 1
        assert api.post(f"{path}/assign", {"assignee": None}).json()["assignee"] is None
        assert api.get("/incidents?assignee=ada@bank.example").json()["items"] == []

    def test_comments_in_the_timeline(self, api: Api, world: World) -> None:
        path = f"/incidents/{world.incident.pk}"

        assert api.post(f"{path}/comments", {"text": "looking\nat it"}).status_code == 201

        assert api.get(path).json()["timeline"][-1]["text"] == "looking\nat it"

    def test_snoozes_until_a_time(self, api: Api, world: World) -> None:
        until = (now() + timedelta(hours=5)).isoformat()

        answer = api.post(f"/incidents/{world.incident.pk}/snooze", {"until": until})

        assert answer.status_code == 200
        assert answer.json()["snoozed_until"] is not None

    def test_judges(self, api: Api, world: World) -> None:
        path = f"/incidents/{world.incident.pk}/judge"

        answer = api.post(path, {"judgement": "false_alarm"}).json()

        assert (answer["judgement"], answer["status"]) == ("false_alarm", "resolved")
        precision = api.get(f"/rules/{world.rule.pk}/precision").json()
        assert (precision["alerts"], precision["false_alarms"], precision["precision"]) == (1, 1, 0.0)

    @pytest.mark.parametrize(
        ("verb", "body", "pointer"),
        [
            ("assign", {"assignee": "eve@theirs.example"}, "/assignee"),
            ("assign", {"assignee": None, "who": "me"}, "/who"),
            ("comments", {"text": "x" * 2_001}, "/text"),
            ("comments", {"text": "\x00"}, "/text"),
            ("snooze", {}, "/until"),
            ("snooze", {"until": "2020-01-01T00:00:00Z"}, "/until"),
            ("snooze", {"until": "9999-12-31T23:59:59Z"}, "/until"),
            ("snooze", {"until": "soon"}, "/until"),
            ("judge", {"judgement": "perhaps"}, "/judgement"),
            ("judge", {"judgement": "expected"}, "/reason"),
        ],
    )
    def test_refuses_what_makes_no_sense(
        self, api: Api, world: World, verb: str, body: Any, pointer: str
    ) -> None:
        answer = api.post(f"/incidents/{world.incident.pk}/{verb}", body)

        assert answer.status_code == 422
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


class TestRules:
    def test_have_a_runbook_owner_and_description(self, api: Api, world: World) -> None:
        fields = {"runbook": "https://wiki.example/x", "owner": "ops", "description": "what it means"}

        answer = api.send("PATCH", f"/rules/{world.rule.pk}", fields).json()

        assert {name: answer[name] for name in fields} == fields

    @pytest.mark.parametrize("address", ["javascript:alert(1)", "//a.example", "https://[", "wiki"])
    def test_refuse_a_runbook_that_is_no_page(self, api: Api, world: World, address: str) -> None:
        answer = api.send("PATCH", f"/rules/{world.rule.pk}", {"runbook": address})

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/runbook"


class TestSilences:
    def test_mute_alerts_with_labels(self, api: Api, world: World) -> None:
        times = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
        body = {"model": world.model.name, "reason": "known", "matchers": {"feature": "a"}, **times}

        assert api.post("/silences", body).json()["matchers"] == {"feature": "a"}
        assert api.post("/silences", body | {"matchers": {"colour": "red"}}).status_code == 422
