"""The routing tree over HTTP."""

from typing import Any

import pytest

from monitors.alerts.models import Channel, StoredRouting
from monitors.alerts.sending.channel_services import create_channel
from tests.driftline.api.conftest import Api

TREE = {"route": {"channels": ["mail"], "routes": [{"matchers": ["severity=critical"], "continue": True}]}}


@pytest.fixture(autouse=True)
def mail(api: Api) -> Channel:
    channel, _ = create_channel(
        project=api.project, kind="email", name="mail", target="mail@x.example", actor="ada"
    )
    return channel


class TestRouting:
    def test_is_read_replaced_and_reset(self, api: Api) -> None:
        before = api.send("GET", "/routing").json()
        saved = api.send("PUT", "/routing", TREE)
        read = api.send("GET", "/routing").json()
        reset = api.send("DELETE", "/routing")

        assert (before["is_default"], before["changed_by"]) == (True, None)
        assert saved.status_code == 200
        assert saved.json() == read
        assert (read["document"], read["is_default"]) == (TREE, False)
        assert read["yaml"].startswith("route:\n  channels:\n    - mail\n")
        assert reset.status_code == 204
        assert api.send("GET", "/routing").json() == before

    @pytest.mark.parametrize(
        ("tree", "pointer", "sentence"),
        [
            ({"route": {"channels": ["chat"]}}, "/route/channels/0", "This project has no channel 'chat'"),
            (
                {"route": {"repeat_interval": "1s"}},
                "/route/repeat_interval",
                "below the group_interval of 5m",
            ),
            ({"route": {"chanels": []}}, "/route/chanels", "chanels: there is no such field here"),
            (
                {"route": {"routes": [{"group_wait": 3}]}},
                "/route/routes/0/group_wait",
                "group_wait: use a text",
            ),
        ],
    )
    def test_that_is_wrong_is_refused_with_its_place(
        self, api: Api, tree: Any, pointer: str, sentence: str
    ) -> None:
        answer = api.send("PUT", "/routing", tree)

        [fault] = answer.json()["errors"]
        assert answer.status_code == 422
        assert fault["pointer"] == pointer
        assert sentence in fault["detail"]
        assert not StoredRouting.objects.exists()

    def test_answers_who_gets_an_incident(self, api: Api) -> None:
        api.send("PUT", "/routing", TREE)

        answer = api.send(
            "POST", "/routing/test", {"labels": {"severity": "critical", "metric": "psi"}}
        ).json()

        assert answer["labels"]["kind"] == "drift"
        [route] = answer["routes"]
        assert route["path"] == ["Default route", 'Route 1: severity="critical"']
        assert (route["channels"], route["group_wait_seconds"], route["muted_because"]) == (
            ["mail"],
            30.0,
            None,
        )

    def test_of_another_project_is_its_own(self, api: Api, stranger: Api) -> None:
        api.send("PUT", "/routing", TREE)

        assert stranger.get("/routing").json()["is_default"]
        assert stranger.send("PUT", "/routing", TREE).status_code == 422
