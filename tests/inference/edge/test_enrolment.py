"""A code enrols one device once; a token opens its device's routes until the device is revoked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.errors import Problem
from inference.edge.enrolment import CODE_LASTS, create_device, enrol, renew_code, revoke_device
from inference.edge.models import Device, DeviceGroup
from monitors.deletion import effects_of_model
from tests.inference.edge.fleet import add_agent

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def enrol_over_http(code: str, body: bytes = b"{}", **others: str) -> Any:
    headers = {"Authorization": f"Bearer {code}", **others}
    return Client().generic("POST", "/api/v1/devices/enrol", body, "application/json", headers=headers)


class TestACode:
    def test_gives_a_token_that_opens_the_devices_routes(self, group: DeviceGroup) -> None:
        _, code = create_device(group=group, name="truck", actor="a@example.com", now=datetime.now(UTC))

        answer = enrol_over_http(code, b'{"agent": "0.1.0", "machine": "Linux x86_64"}')

        assert answer.status_code == 201
        headers = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert Client().get("/api/v1/devices/self/assignment", headers=headers).status_code == 204
        assert Device.objects.get().machine == "Linux x86_64"

    def test_works_once(self, group: DeviceGroup) -> None:
        _, code = create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))
        enrol_over_http(code)

        assert enrol_over_http(code).status_code == 401

    def test_gives_the_same_token_to_who_kept_a_secret_key(self, group: DeviceGroup) -> None:
        _, code = create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))

        first, again = (enrol_over_http(code, idempotency_key="a" * 32) for _ in range(2))

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert enrol_over_http(code, idempotency_key="b" * 32).status_code == 401
        assert enrol_over_http(code).status_code == 401

    def test_gives_nothing_more_once_another_code_was_used(self, group: DeviceGroup) -> None:
        device, code = create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))
        enrol_over_http(code, idempotency_key="a" * 32)
        enrol_over_http(renew_code(device=device, actor="test", now=datetime.now(UTC)))

        assert enrol_over_http(code, idempotency_key="a" * 32).status_code == 401

    def test_wants_a_key_that_nobody_guesses(self, group: DeviceGroup) -> None:
        _, code = create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))

        assert enrol_over_http(code, idempotency_key="a" * 31).status_code == 400
        assert enrol_over_http(code).status_code == 201

    def test_works_for_a_day(self, group: DeviceGroup) -> None:
        _, code = create_device(group=group, name="truck", actor="test", now=NOW)

        assert enrol(code=code, agent="", machine="", now=NOW + CODE_LASTS) is None
        assert enrol(code=code, agent="", machine="", now=NOW + CODE_LASTS - timedelta(seconds=1))

    def test_waits_while_its_project_is_archived(self, group: DeviceGroup) -> None:
        _, code = create_device(group=group, name="truck", actor="test", now=NOW)
        Project.objects.update(archived_at=NOW)
        while_archived = enrol(code=code, agent="", machine="", now=NOW)
        Project.objects.update(archived_at=None)

        assert while_archived is None
        assert enrol(code=code, agent="", machine="", now=NOW)

    @pytest.mark.parametrize("code", ["", "dl_enrol_", "dl_enrol_0", "x"])
    def test_that_nobody_made_enrols_nothing(self, code: str, group: DeviceGroup) -> None:
        create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))
        add_agent(group, "enrolled")  # which has no code any more

        assert enrol_over_http(code).status_code == 401

    def test_is_stored_as_a_digest_like_the_token(self, group: DeviceGroup) -> None:
        device, code = create_device(group=group, name="truck", actor="test", now=NOW)
        enrolled = enrol(code=code, agent="", machine="", now=NOW)
        assert enrolled is not None

        stored = " ".join(str(value) for value in Device.objects.values().get(pk=device.pk).values())

        assert code not in stored
        assert enrolled[1] not in stored

    def test_of_an_agent_that_was_installed_anew_ends_the_token_of_before(self, group: DeviceGroup) -> None:
        agent = add_agent(group, "truck")
        code = renew_code(device=agent.device, actor="test", now=datetime.now(UTC))
        assert agent.get("assignment").status_code == 204

        enrol_over_http(code)

        assert agent.get("assignment").status_code == 401


class TestRevocation:
    def test_ends_the_token_and_the_code(self, group: DeviceGroup) -> None:
        agent = add_agent(group, "truck")
        code = renew_code(device=agent.device, actor="test", now=datetime.now(UTC))

        revoke_device(device=agent.device, actor="test", now=datetime.now(UTC))

        assert agent.get("assignment").status_code == 401
        assert agent.send(1).status_code == 401
        assert enrol_over_http(code).status_code == 401

    def test_ends_an_enrolment_that_is_sent_again(self, group: DeviceGroup) -> None:
        device, code = create_device(group=group, name="truck", actor="test", now=datetime.now(UTC))
        enrol_over_http(code, idempotency_key="a" * 32)
        device.refresh_from_db()

        revoke_device(device=device, actor="test", now=datetime.now(UTC))

        assert enrol_over_http(code, idempotency_key="a" * 32).status_code == 401

    def test_happens_once(self, group: DeviceGroup) -> None:
        agent = add_agent(group, "truck")
        revoke_device(device=agent.device, actor="test", now=NOW)
        agent.device.refresh_from_db()

        with pytest.raises(Problem, match="was revoked on 5 Jan 2026"):
            revoke_device(device=agent.device, actor="test", now=NOW)

    def test_keeps_the_name_taken(self, group: DeviceGroup) -> None:
        revoke_device(device=add_agent(group, "truck").device, actor="test", now=NOW)

        with pytest.raises(Problem, match="There is or was a device truck"):
            create_device(group=group, name="truck", actor="test", now=NOW)


def test_each_step_is_audited_and_no_secret_is_in_it(group: DeviceGroup) -> None:
    device, code = create_device(group=group, name="truck", actor="a@example.com", now=NOW)
    enrol(code=code, agent="0.1.0", machine="", now=NOW)
    renewed = renew_code(device=device, actor="a@example.com", now=NOW)
    revoke_device(device=device, actor="a@example.com", now=NOW)

    entries = AuditEntry.objects.filter(subject="truck").order_by("pk")

    assert [(entry.action, entry.actor) for entry in entries] == [
        ("device.create", "a@example.com"),
        ("device.enrol", "device truck"),
        ("device.code", "a@example.com"),
        ("device.revoke", "a@example.com"),
    ]
    text = " ".join(f"{entry.before} {entry.after}" for entry in entries)
    assert code not in text
    assert renewed not in text


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a" * 61, "truck-7"])
def test_a_name_that_ids_could_not_hold_is_refused(name: str, group: DeviceGroup) -> None:
    with pytest.raises(Problem) as refused:
        create_device(group=group, name=name, actor="test", now=NOW)

    assert refused.value.errors[0].pointer == "/name"


def test_devices_are_among_what_goes_with_their_model(group: DeviceGroup) -> None:
    add_agent(group, "truck")

    assert "1 device" in effects_of_model(group.model)
