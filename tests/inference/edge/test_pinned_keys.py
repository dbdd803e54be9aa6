"""Devices follow a rotation of the signing key; older agents keep the key before, and are named when it is deleted."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from driftline.base.keys.edge_keys import Purpose, newest_key
from driftline.base.keys.signing import is_signed, public_text
from inference.edge.models import Device, DeviceGroup
from inference.edge.pinned_keys import devices_behind
from inference.edge.releases import start_release
from tests.inference.edge.fleet import Agent, add_agent, add_version


@pytest.fixture
def truck(group: DeviceGroup, settings: Any, tmp_path: Path) -> Agent:
    """A device in a group that has version 1, with a server of which nobody else uses the signing key."""
    settings.EDGE_KEY_FILE = tmp_path / "keys" / "edge_key"
    settings.EDGE_KEY_FILE.parent.mkdir()
    settings.EDGE_KEY_FILE.write_text("the first key")
    add_version(group.model, "1")
    start_release(group=group, version="1", actor="test", now=datetime.now(UTC))
    return add_agent(group, "truck")


def rotate() -> None:
    call_command("rotate_key", "edge_key")


def newest() -> str:
    return public_text(newest_key(Purpose.MANIFESTS))


def assignment(agent: Agent, **headers: str) -> tuple[str, str]:
    answer = agent.get("assignment", **headers).json()
    return answer["manifest"], answer["signature"]


def trusts(key: str, assigned: tuple[str, str]) -> bool:
    manifest, signature = assigned
    return is_signed(base64.b64decode(key), manifest.encode(), signature)


def report(agent: Agent, **headers: str) -> str:
    """Report that the device does well, and read what the server says of it."""
    answer = agent._send("POST", "status", {"version": "1"}, headers)
    assert answer.status_code == 200, answer.content
    return Device.objects.get().failure


class TestAnAgentThatNamesItsKey:
    def test_gets_what_the_newest_key_signed_and_how_that_succeeded_its_own(self, truck: Agent) -> None:
        enrolled_with = newest()
        rotate()

        assigned = assignment(truck, **{"Driftline-Signing-Key": enrolled_with})

        assert trusts(newest(), assigned)
        [statement] = truck.get("key-successions").json()["successions"]
        assert statement["statement"] == f"driftline key succession 1 {newest()}"
        signed = (statement["statement"], statement["signature"])
        assert trusts(enrolled_with, signed)

    def test_is_not_answered_304_after_a_rotation(self, truck: Agent) -> None:
        named = {"Driftline-Signing-Key": newest()}
        etag = truck.get("assignment", **named)["ETag"]
        assert truck.get("assignment", **named, **{"If-None-Match": etag}).status_code == 304

        rotate()

        assert truck.get("assignment", **named, **{"If-None-Match": etag}).status_code == 200

    def test_counts_as_behind_until_it_names_the_newest(self, truck: Agent) -> None:
        rotate()
        assert list(devices_behind()) == [truck.device]

        truck.get("assignment", **{"Driftline-Signing-Key": newest()})

        assert list(devices_behind()) == []

    def test_that_is_known_has_no_failure_and_another_one_says_what_to_do(self, truck: Agent) -> None:
        first, unknown = newest(), base64.b64encode(b"k" * 32).decode()
        for _ in range(3):
            rotate()

        assert report(truck, **{"Driftline-Signing-Key": first}) == ""
        assert report(truck, **{"Driftline-Signing-Key": newest()}) == ""
        assert "this installation does not have" in report(truck, **{"Driftline-Signing-Key": unknown})
        assert report(truck, **{"Driftline-Signing-Key": newest()}) == ""

    @pytest.mark.parametrize("named", ["", "x", "!" * 44, "A" * 44, "A" * 45, "a'; --"])
    def test_is_refused_where_that_is_none(self, truck: Agent, named: str) -> None:
        answer = truck.get("assignment", **{"Driftline-Signing-Key": named})

        assert answer.status_code == 422
        assert "Driftline-Signing-Key is no public key" in answer.json()["detail"]


class TestAnAgentOfAnEarlierRelease:
    def test_gets_what_the_key_of_its_enrolment_signed_while_that_is_there(self, truck: Agent) -> None:
        enrolled_with = newest()

        rotate()

        assert trusts(enrolled_with, assignment(truck))
        assert report(truck) == ""

    def test_is_said_to_be_too_old_once_that_key_is_deleted(self, truck: Agent) -> None:
        for _ in range(2):
            rotate()

        assert trusts(newest(), assignment(truck))
        assert "its agent is too old to follow" in report(truck)
        assert Device.objects.get().state(datetime.now(UTC)) == "failed"

    def test_that_enrolled_before_keys_were_noted_is_taken_to_have_the_first(self, truck: Agent) -> None:
        Device.objects.update(pinned_key="")
        first = newest()
        assert list(devices_behind()) == []

        rotate()

        assert trusts(first, assignment(truck))
        assert list(devices_behind()) == [truck.device]

    def test_that_enrols_anew_trusts_the_newest_key(self, truck: Agent, group: DeviceGroup) -> None:
        for _ in range(2):
            rotate()

        again = add_agent(group, "van")

        assert again.device.pinned_key == newest()
        assert trusts(newest(), assignment(again))
