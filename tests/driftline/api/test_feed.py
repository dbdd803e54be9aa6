"""`GET /api/v1/events`: what programs follow."""

import pytest

from inference.registry.models import Model
from inference.registry.versions import external_version
from monitors.alerts.sending.channel_services import create_channel, update_channel
from monitors.feed.services import record_event
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem
from tests.worlds.every_kind import furnish


def kinds(api: Api, query: str = "") -> list[str]:
    return [item["event"] for item in api.get(f"/events?limit=1000{query}").json()["items"]]


class TestEvents:
    def test_tell_of_versions_deployments_and_channels(self, api: Api, flights: Model) -> None:
        channel, _ = create_channel(
            project=api.project,
            kind="email",
            name="mail",
            target="inbox@example.com",
            actor="ada@example.com",
        )
        external_version(model=flights, version="7")

        update_channel(channel=channel, actor="ada@example.com", enabled=False)

        items = api.get("/events").json()["items"]
        assert [item["event"] for item in items] == [
            "version.created",
            "deployment.changed",
            "channel.disabled",
        ]
        created, deployed, disabled = items
        assert created["data"]["version"]["name"] == "7"
        assert deployed["text"] == "flights: version 7 answers from now on"
        assert deployed["data"]["deployment"]["after"]["champion"] == "7"
        assert disabled["data"]["channel"]["reason"] == "Disabled by ada@example.com"
        assert disabled["url"].endswith("/p/ours/settings/channels")
        assert "inbox@example.com" not in str(disabled["data"])

    @pytest.mark.slow
    def test_tell_of_an_incidents_timeline(self, api: Api) -> None:
        incident = furnish(api.project).incident
        after = api.get("/events?limit=1000").json()["next"]

        api.post(f"/incidents/{incident.pk}/acknowledge")
        api.post(f"/incidents/{incident.pk}/resolve")

        items = api.get(f"/events?after={after}").json()["items"]
        assert [item["event"] for item in items] == ["incident.acknowledged", "incident.resolved"]
        assert items[1]["data"]["incident"]["id"] == incident.pk
        assert items[1]["model"] == "flights"

    def test_are_followed_by_the_next_cursor(self, api: Api) -> None:
        texts = [f"event {number}" for number in range(7)]
        for text in texts:
            record_event(project=api.project, kind="run.failed", subject="run-1", text=text)

        found, after, more = [], "", True
        while more:
            answer = api.get(f"/events?limit=3&after={after}").json()
            found += [item["text"] for item in answer["items"]]
            after, more = answer["next"], answer["more"]

        assert found == texts
        assert api.get(f"/events?after={after}").json() == {"items": [], "next": after, "more": False}

    def test_are_chosen_by_kind(self, api: Api, flights: Model) -> None:
        external_version(model=flights, version="7")

        assert kinds(api, "&kind=version.created") == ["version.created"]
        assert kinds(api, "&kind=run.failed,deployment.changed") == ["deployment.changed"]

    def test_of_another_project_do_not_exist(self, api: Api, stranger: Api, flights: Model) -> None:
        external_version(model=flights, version="7")

        assert kinds(stranger) == []

    @pytest.mark.parametrize(
        "query",
        ["after=x", "after=-1", "after=%D9%A1", "after=1e3", f"after={2**63}", "limit=0", "limit=1001"],
    )
    def test_refuse_what_is_no_cursor(self, api: Api, query: str) -> None:
        assert_problem(api.get(f"/events?{query}"), 400, "invalid_parameter")


class TestGrafana:
    def test_shows_incidents_deployments_runs_and_notes(self, api: Api) -> None:
        world = furnish(api.project)
        external_version(model=world.model, version="8")

        shown = api.get("/grafana/annotations?from=-30d&to=now").json()

        assert {item["tags"][0] for item in shown} >= {"incident", "deployment"}
        assert [item["time"] for item in shown] == sorted(item["time"] for item in shown)
        incident = next(item for item in shown if item["tags"][0] == "incident")
        assert incident["tags"] == ["incident", "warning", "flights"]
        assert incident["time"] < incident["timeEnd"]

    def test_takes_the_milliseconds_of_grafana(self, api: Api) -> None:
        world = furnish(api.project)
        at = int(world.incident.opened_at.timestamp() * 1000)

        assert api.get(f"/grafana/annotations?from={at - 60_000}&to={at + 60_000}").json() != []
        assert api.get("/grafana/annotations?from=1000&to=2000").json() == []

    def test_narrows_to_a_model(self, api: Api, flights: Model) -> None:
        furnish(api.project, "trains")

        shown = api.get("/grafana/annotations?from=-30d&to=now&model=flights").json()

        assert shown == []
        assert_problem(api.get("/grafana/annotations?from=-30d&to=now&model=none"), 404, "model_not_found")

    @pytest.mark.parametrize("query", ["from=now&to=-1d", "from=soon", f"to={10**30}"])
    def test_refuses_what_is_no_time(self, api: Api, query: str) -> None:
        assert_problem(api.get(f"/grafana/annotations?{query}"), 400, "invalid_parameter")
