"""A device adds hours to its own model under its own name alone, and each batch once."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from inference.edge.models import DeviceGroup
from monitors.definitions.models import FeatureProfile, SegmentFeature
from monitors.stats.mergeable.window_summary import summarise_window
from monitors.summaries.models import Summary
from tests.inference.edge.fleet import Agent, add_agent, add_version, make_group

HOUR = "2026-01-05T10:00:00Z"


@pytest.fixture
def group(db: None, settings: Any, tmp_path: Any) -> DeviceGroup:
    settings.HOME = tmp_path
    group = make_group(Project.objects.create(slug="ours", name="Ours"))
    add_version(group.model, "1")
    for name in ("x", "prediction"):
        FeatureProfile.objects.create(model=group.model, feature=name, centre=0.0)
    return group


@pytest.fixture
def truck(group: DeviceGroup) -> Agent:
    return add_agent(group, "truck")


def add(agent: Agent, batch: str, windows: Sequence[dict[str, str]] | None = None, **changes: Any) -> Any:
    """Send windows, else an hour of three rows."""
    summary = summarise_window(
        rows=3,
        features={"x": [1.0, 2.0, 3.0]},
        centres={"x": 0.0, "prediction": 0.0},
        prediction=[2.0, 4.0, 6.0],
    ).encode()
    window = {
        "version": "1",
        "role": "champion",
        "hour": HOUR,
        "summary": base64.b64encode(summary).decode(),
    } | changes
    headers = {"Authorization": f"Bearer {agent.token}"}
    return Client(raise_request_exception=False).put(
        "/api/v1/devices/self/summaries",
        {"batch": batch, "windows": windows or [window]},
        "application/json",
        headers=headers,
    )


def test_a_batch_counts_once(truck: Agent, group: DeviceGroup) -> None:
    answers = [add(truck, "truck:2026-01-05T10:1-3").json() for _ in range(2)]

    assert [one["is_new"] for one in answers] == [True, False]
    hours = Summary.objects.filter(model=group.model, span="hour").values_list("segment", "rows")
    assert list(hours) == [("", 3)]


def window(x: float, segment: str = "") -> dict[str, str]:
    """Write an hour of a row."""
    centres = {"x": 0.0, "prediction": 0.0}
    summary = summarise_window(rows=1, features={"x": [x]}, centres=centres, prediction=[x])
    return {
        "version": "1",
        "role": "champion",
        "hour": HOUR,
        "segment": segment,
        "summary": base64.b64encode(summary.encode()).decode(),
    }


def segment_rows(group: DeviceGroup) -> dict[str, int]:
    hours = Summary.objects.filter(model=group.model, span="hour").exclude(segment="")
    return dict(hours.order_by("segment").values_list("segment", "rows"))


def test_a_value_of_a_device_that_sends_later_is_a_segment_as_that_of_the_first(group: DeviceGroup) -> None:
    SegmentFeature.objects.create(model=group.model, feature="x")
    truck, van = add_agent(group, "truck"), add_agent(group, "van")

    add(truck, "truck:1", [window(1.0), window(1.0, "x:1")])
    add(van, "van:1", [window(2.0), window(2.0, "x:2")])
    add(van, "van:2", [window(2.0), window(2.0, "x:2")])

    assert segment_rows(group) == {"x:1": 1, "x:2": 2}


def test_a_value_is_no_segment_where_another_device_may_have_rows_of_it_without_one(
    group: DeviceGroup,
) -> None:
    SegmentFeature.objects.create(model=group.model, feature="x")
    truck, van = add_agent(group, "truck"), add_agent(group, "van")

    add(truck, "truck:1", [window(1.0), window(1.0, "x:1")])
    add(truck, "truck:2", [window(2.0)])  # it had too many values
    add(van, "van:1", [window(2.0), window(2.0, "x:2")])

    assert segment_rows(group) == {"x:1": 1}


@pytest.mark.parametrize("name", ["van:2026-01-05T10:1-3", "truck-a:1", "truck"])
def test_a_batch_of_another_device_is_refused(name: str, truck: Agent) -> None:
    answer = add(truck, name)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/batch"
    assert not Summary.objects.exists()


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "shadow"}, "/windows/0/role"),
        ({"version": "9"}, "/windows/0/version"),
        ({"summary": "!"}, "/windows/0/summary"),
        ({"summary": "AAAA"}, "/windows/0/summary"),
        ({"hour": "2026-01-05T10:30:00Z"}, "/windows/0/hour"),
    ],
)
def test_a_window_that_no_row_of_a_device_could_be_in_is_refused(
    change: dict[str, str], pointer: str, truck: Agent
) -> None:
    answer = add(truck, "truck:1", **change)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_the_layout_is_that_of_the_devices_model(truck: Agent) -> None:
    answer = truck.post("summaries/layout", {"version": "1"}).json()

    assert (answer["model"], answer["missing"]) == ("fuel", [])
    assert [(one["name"], one["centre"]) for one in answer["features"]] == [("x", 0.0)]


def test_an_agent_that_measures_no_images_adds_to_those_of_agents_that_do(
    truck: Agent, group: DeviceGroup
) -> None:
    version = group.model.versions.get()
    version.signature["image"] = {"layout": "NHW", "low": 0.0, "high": 1.0}
    version.save()
    layout = truck.post("summaries/layout", {"version": "1"}).json()
    assert [one["name"] for one in layout["measured"]] == ["X.brightness", "X.contrast", "X.sharpness"]
    assert layout["missing"] == []

    assert add(truck, "truck:2026-01-05T10:1-3").status_code == 200


def test_the_layout_of_a_version_that_was_deleted_is_refused_so_that_its_rows_wait_no_more(
    truck: Agent,
) -> None:
    assert truck.post("summaries/layout", {"version": "9"}).status_code == 422
