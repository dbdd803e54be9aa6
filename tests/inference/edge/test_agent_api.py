"""What an agent asks and sends: its own assignment and file, its own rows, and nothing of anybody else."""

import base64
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db.models import Sum
from django.test import Client

from driftline.base.keys.edge_keys import Purpose, newest_key
from inference.edge import reports
from inference.edge.models import Device, DeviceGroup
from inference.edge.releases import start_release
from inference.prediction_log.ingest import arrival
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries import selectors
from inference.prediction_log.retention.expiry import drop_week
from inference.prediction_log.storage.partitions import WEEKS
from inference.registry.models import Version
from tests.driftline.api.shape import assert_problem
from tests.driftline.route_matrix import ROUTES, Route
from tests.inference.edge.fleet import Agent, add_agent, add_version
from tests.inference.prediction_log.storage.aging import grow_old, pack_all


@pytest.fixture
def truck(group: DeviceGroup) -> Agent:
    """A device in a group that has version 1."""
    add_version(group.model, "1")
    start_release(group=group, version="1", actor="test", now=datetime.now(UTC))
    agent = add_agent(group, "truck")
    assert agent.assigned() == "1"
    return agent


class TestTheAssignment:
    def test_is_signed_by_the_key_that_the_enrolment_named(self, truck: Agent) -> None:
        answer = truck.get("assignment").json()

        key = newest_key(Purpose.MANIFESTS).public_key()
        key.verify(
            base64.b64decode(answer["signature"]), answer["manifest"].encode()
        )  # raises where it is not

    def test_names_the_device_the_file_and_what_the_model_takes(self, truck: Agent) -> None:
        version = Version.objects.get()

        manifest = truck.poll()

        assert manifest is not None
        assert (manifest["device"], manifest["group"], manifest["model"]) == ("truck", "trucks", "fuel")
        assert (manifest["version"], manifest["sha256"], manifest["size"]) == (
            "1",
            version.sha256,
            version.size,
        )
        assert [one["name"] for one in manifest["signature"]["inputs"]] == ["X"]

    def test_answers_304_until_it_changes(self, truck: Agent, group: DeviceGroup) -> None:
        etag = truck.get("assignment")["ETag"]
        unchanged = truck.get("assignment", **{"If-None-Match": etag})
        add_version(group.model, "2")
        start_release(group=group, version="2", actor="test", now=datetime.now(UTC))

        changed = truck.get("assignment", **{"If-None-Match": etag})

        assert (unchanged.status_code, changed.status_code) == (304, 200)

    def test_is_none_before_the_first_release(self, group: DeviceGroup) -> None:
        assert add_agent(group, "truck").get("assignment").status_code == 204


class TestTheArtifact:
    def test_is_the_file_that_the_manifest_names(
        self, truck: Agent, group: DeviceGroup, settings: Any
    ) -> None:
        version = Version.objects.get()

        answer = truck.get(f"artifacts/{version.sha256}")

        assert answer.getvalue() == (settings.HOME / version.path).read_bytes()

    def test_goes_on_at_the_byte_where_a_download_broke_off(self, truck: Agent, settings: Any) -> None:
        version = Version.objects.get()
        content = (settings.HOME / version.path).read_bytes()

        answer = truck.get(f"artifacts/{version.sha256}", Range="bytes=10-")

        assert (answer.status_code, answer.getvalue()) == (206, content[10:])
        assert answer["Content-Range"] == f"bytes 10-{len(content) - 1}/{len(content)}"
        assert answer["Content-Length"] == str(len(content) - 10)

    @pytest.mark.parametrize(
        "asked", ["bytes=999999-", "bytes=-5", "bytes=0-4", "bytes=0-", "rows=1-", "nonsense"]
    )
    def test_comes_whole_for_any_other_range(self, asked: str, truck: Agent, settings: Any) -> None:
        version = Version.objects.get()

        answer = truck.get(f"artifacts/{version.sha256}", Range=asked)

        assert (answer.status_code, answer.getvalue()) == (200, (settings.HOME / version.path).read_bytes())

    def test_comes_whole_where_it_is_to_be_the_file_of_before(self, truck: Agent, settings: Any) -> None:
        version = Version.objects.get()

        answer = truck.get(f"artifacts/{version.sha256}", Range="bytes=10-", **{"If-Range": '"old"'})

        assert (answer.status_code, answer.getvalue()) == (200, (settings.HOME / version.path).read_bytes())

    def test_of_another_version_or_project_is_not_found(self, truck: Agent, their_group: DeviceGroup) -> None:
        later = add_version(truck.device.group.model, "2")
        theirs = add_version(their_group.model, "3")

        statuses = [truck.get(f"artifacts/{version.sha256}").status_code for version in (later, theirs)]

        assert statuses == [404, 404]


class TestRows:
    def test_are_logged_by_device_and_sequence(self, truck: Agent) -> None:
        answer = truck.send(1, 2)

        assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
        found = selectors.prediction(model=truck.device.group.model, prediction_id="truck-2")
        assert found is not None
        assert found["features"] == {"x": 1.0}

    def test_that_come_twice_are_acknowledged_and_counted_once(self, truck: Agent) -> None:
        truck.send(1, 2)

        again = truck.send(1, 2, 3).json()

        assert (again["accepted"], again["duplicates"], again["rejected"]) == (1, 2, 0)

    def test_that_come_again_when_their_ids_are_forgotten_count_once(
        self, truck: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            arrival, "_closed", set()
        )  # as in a process that begins: no week is known to be there
        truck.send(1, 2)
        grow_old()
        pack_all()
        for week in WEEKS.starts():
            drop_week(week)

        again = truck.send(1, 2, 3).json()

        assert [one["status"] for one in again["results"]] == ["duplicate", "duplicate", "accepted"]
        assert PredictionChunk.objects.aggregate(rows=Sum("rows"))["rows"] == 3

    def test_that_come_again_soon_are_not_searched_among_all_that_came_ever(
        self, truck: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        searched: list[str] = []
        monkeypatch.setattr(reports, "find_packed", lambda _, ids, __: searched.extend(ids) or [])
        monkeypatch.setattr(reports, "oldest_week", lambda: date(2026, 2, 2))
        rows = [truck.row(1), truck.row(2, timestamp="2026-02-04T10:00:00Z")]
        truck.post("rows", {"predictions": rows})

        again = truck.post("rows", {"predictions": rows}).json()

        assert searched == ["truck-1"]
        assert again["duplicates"] == 2

    @pytest.mark.parametrize(
        "change",
        [
            {"id": "van-1"},
            {"id": "truck-0"},
            {"id": "truck-x"},
            {"id": "truck"},
            {"id": "truck-1-1"},
            {"tags": {}},
            {"tags": {"device": "van", "device_group": "trucks"}},
            {"tags": {"device": "truck", "device_group": "vans"}},
        ],
    )
    def test_of_another_device_are_refused(self, truck: Agent, change: dict[str, Any]) -> None:
        answer = truck.send(1, **change)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("/predictions/0/")

    def test_of_a_version_that_is_not_there_make_none_and_hold_no_others_up(self, truck: Agent) -> None:
        rows = [truck.row(1), truck.row(2, version="9"), truck.row(3)]

        answer = truck.post("rows", {"predictions": rows})

        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [one["status"] for one in results] == ["accepted", "rejected", "accepted"]
        assert (results[1]["error"]["code"], results[1]["error"]["pointer"]) == (
            "version_not_found",
            "/predictions/1/version",
        )
        assert Version.objects.count() == 1

    def test_move_the_number_from_which_an_agent_without_its_rows_goes_on(self, truck: Agent) -> None:
        truck.send(7, 5)

        answer = truck.post("status", {"version": "1"})

        assert answer.json() == {"next_sequence": 8}

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'{"predictions": 1}', b'{"predictions": []}', b"\xff"]
    )
    def test_that_cannot_be_read_are_refused(self, truck: Agent, body: bytes) -> None:
        headers = {"Authorization": f"Bearer {truck.token}"}

        answer = Client(raise_request_exception=False).generic(
            "POST", "/api/v1/devices/self/rows", body, "application/json", headers=headers
        )

        assert 400 <= answer.status_code < 500
        assert answer.json()["code"]

    def test_have_the_body_in_the_api_document_that_logged_predictions_have(self) -> None:
        paths = Client().get("/api/v1/openapi.json").json()["paths"]

        bodies = [
            paths[f"/api/v1/{path}"]["post"]["requestBody"]["content"]
            for path in ("devices/self/rows", "models/{name}/predictions")
        ]

        assert set(bodies[0]) == {"application/json"}
        assert bodies[0]["application/json"] == bodies[1]["application/json"]


class TestTheStatus:
    def test_is_what_people_read_of_the_device(self, truck: Agent) -> None:
        truck.post(
            "status",
            {
                "version": "1",
                "runs_on": "cuda, all nodes",
                "skew_ms": -1500,
                "unsent_rows": 3,
                "dropped_rows": 2,
            },
        )

        device = Device.objects.get()

        assert (device.version, device.skew_ms, device.unsent_rows, device.dropped_rows) == ("1", -1500, 3, 2)
        assert device.runs_on == "cuda, all nodes"
        assert device.state(datetime.now(UTC)) == "active"

    def test_without_where_the_version_runs_forgets_where_one_of_before_ran(self, truck: Agent) -> None:
        truck.post("status", {"version": "1", "runs_on": "cuda, all nodes"})
        truck.post("status", {"version": "2"})

        assert Device.objects.get().runs_on == ""

    @pytest.mark.parametrize(
        "status",
        [
            {"version": 1},
            {"unsent_rows": -1},
            {"skew_ms": 1.5},
            {"release": 0},
            {"failure": "x" * 301},
            {"unknown": 1},
        ],
    )
    def test_with_a_field_that_is_wrong_is_refused(self, truck: Agent, status: dict[str, Any]) -> None:
        answer = truck.post("status", status)

        assert answer.status_code == 422
        assert next(iter(status)) in json.dumps(answer.json()["errors"])

    def test_of_a_release_of_another_group_changes_nothing_of_it(
        self, truck: Agent, their_group: DeviceGroup
    ) -> None:
        add_agent(their_group, "van")
        add_version(their_group.model, "2")
        theirs = start_release(group=their_group, version="2", actor="test", now=datetime.now(UTC))

        truck.post("status", {"release": theirs.pk, "failure": "sabotage"})

        theirs.refresh_from_db()
        assert (theirs.state, theirs.targets.filter(state="failed").count()) == ("running", 0)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.takes == "device"], ids=lambda r: r.path)
def test_a_token_that_no_device_has_is_refused_in_the_one_shape(route: Route, truck: Agent) -> None:
    answer = Client(raise_request_exception=False).generic(
        route.method,
        f"/{route.path}",
        b"{}",
        "application/json",
        headers={"Authorization": "Bearer dl_device_0"},
    )

    assert_problem(answer, 401, "invalid_token")


def test_a_device_opens_no_other_route(truck: Agent) -> None:
    headers = {"Authorization": f"Bearer {truck.token}"}

    statuses = {
        path: Client().get(f"/api/v1/{path}", headers=headers).status_code
        for path in ("models", "devices", "models/fuel/versions/1/artifact", "audit")
    }

    assert statuses == dict.fromkeys(statuses, 401)
