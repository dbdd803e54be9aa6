"""A group that lets its devices ask the server: its settings, and the tokens that serving processes then know."""

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import AuditEntry, Project, digest_of
from driftline.base.errors import Problem
from inference.edge.enrolment import revoke_device
from inference.edge.groups import change_group, create_group
from inference.edge.models import Device, DeviceGroup
from inference.registry.models import UnpublishedChange
from inference.registry.plan.publishing import publish
from inference.registry.services import create_model
from inference.serving.plan import INFER_MODEL, load_plan
from tests.inference.edge.fleet import add_agent, release
from tests.waiting import wait_until


@pytest.fixture
def sure(group: DeviceGroup) -> DeviceGroup:
    """A group of a model with classes, in the same project."""
    model = create_model(project=group.project, name="faults", task="binary", actor="test")
    return create_group(model=model, name="cranes", actor="test")


def tokens() -> dict[str, Any]:
    """The tokens of devices in the plan file, by their digest."""
    publish()
    plan = json.loads((settings.HOME / "plan.json").read_bytes())
    return {one["digest"]: one for one in plan["tokens"] if one["prefix"].startswith("device ")}


def test_the_manifest_says_when_to_ask(group: DeviceGroup) -> None:
    release(group, "1")
    agent = add_agent(group, "truck")

    change_group(group=group, ask_after_days=30, actor="test")

    manifest = agent.poll()
    assert manifest is not None
    assert (manifest["ask_after_days"], manifest["ask_below"]) == (30, None)
    released = datetime.fromisoformat(manifest["released_at"])
    assert abs((datetime.now(UTC) - released).total_seconds()) < 60


def test_a_change_is_audited_with_what_was_before(sure: DeviceGroup) -> None:
    change_group(group=sure, ask_below=0.7, actor="ada@example.com")
    change_group(group=sure, ask_below=None, ask_after_days=9, actor="ada@example.com")

    entry = AuditEntry.objects.filter(action="device_group.update").latest("pk")
    assert entry.before == {"ask_below": 0.7, "ask_after_days": None}
    assert entry.after == {"ask_below": None, "ask_after_days": 9}


def test_what_changes_nothing_is_not_audited(sure: DeviceGroup) -> None:
    change_group(group=sure, ask_below=0.7, actor="ada@example.com")

    change_group(group=sure, actor="ada@example.com")
    change_group(group=sure, ask_below=0.7, ask_after_days=None, actor="ada@example.com")

    assert AuditEntry.objects.filter(action="device_group.update").count() == 1


def test_only_devices_of_groups_that_ask_are_known_to_serving(group: DeviceGroup, sure: DeviceGroup) -> None:
    add_agent(group, "truck")
    crane = add_agent(sure, "crane")
    assert tokens() == {}

    change_group(group=sure, ask_below=0.7, actor="test")

    [(digest, token)] = tokens().items()
    assert digest == digest_of(crane.token)
    assert (token["scopes"], token["model_id"]) == ([INFER_MODEL], sure.model_id)
    assert INFER_MODEL not in list(Scope)  # nobody can give it, and no process of before takes it
    assert token["project_id"] == sure.project_id


def test_a_revoked_device_is_no_longer_known(sure: DeviceGroup) -> None:
    change_group(group=sure, ask_below=0.7, actor="test")
    crane = add_agent(sure, "crane")
    assert tokens()

    revoke_device(device=crane.device, actor="test", now=datetime.now(UTC))

    assert tokens() == {}


@pytest.fixture
def meeting(sure: DeviceGroup) -> Device:
    """A device as somebody read it who does not know that its group asks since."""
    device = add_agent(sure, "crane").device
    device = Device.objects.select_related("group__model", "project").get(pk=device.pk)
    assert not device.group.asks_server
    change_group(group=DeviceGroup.objects.get(pk=sure.pk), ask_below=0.7, actor="test")
    UnpublishedChange.objects.all().delete()
    return device


def test_a_device_that_is_revoked_while_its_group_begins_to_ask_is_published(meeting: Device) -> None:
    revoke_device(device=meeting, actor="test", now=datetime.now(UTC))

    assert UnpublishedChange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_device_is_revoked_under_the_lock_of_its_group(group: DeviceGroup) -> None:
    """Else a change that was not committed yet would not be seen, and its plan could still have the token."""
    device = add_agent(group, "crane").device
    revoked = threading.Thread(target=revoke_elsewhere, args=[device])
    with transaction.atomic():
        change_group(group=group, ask_after_days=3, actor="test")
        revoked.start()
        wait_until(waits_for_a_lock, what="the revocation waits for the group")
    revoked.join(30)

    assert device_tokens_published() == set()


def revoke_elsewhere(device: Device) -> None:
    try:
        revoke_device(device=Device.objects.get(pk=device.pk), actor="test", now=datetime.now(UTC))
    finally:
        connection.close()


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
        return bool(cursor.fetchone()[0])


def device_tokens_published() -> set[str]:
    plan = load_plan(settings.HOME / "plan.json")
    return {one.digest for one in plan.tokens if one.prefix.startswith("device ")}


def test_devices_of_an_archived_project_are_not_known(sure: DeviceGroup) -> None:
    change_group(group=sure, ask_below=0.7, actor="test")
    add_agent(sure, "crane")

    Project.objects.filter(pk=sure.project_id).update(archived_at=datetime.now(UTC))

    assert tokens() == {}


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_that_is_none_is_refused(sure: DeviceGroup, confidence: float) -> None:
    with pytest.raises(Problem) as refused:
        change_group(group=sure, ask_below=confidence, actor="test")

    assert refused.value.errors[0].pointer == "/ask_below"


def test_a_regression_has_no_confidence_to_ask_by(group: DeviceGroup) -> None:
    with pytest.raises(Problem, match="by days alone"):
        change_group(group=group, ask_below=0.5, actor="test")


@pytest.mark.parametrize("days", [-1, 3_651])
def test_a_number_of_days_out_of_range_is_refused(sure: DeviceGroup, days: int) -> None:
    with pytest.raises(Problem) as refused:
        change_group(group=sure, ask_after_days=days, actor="test")

    assert refused.value.errors[0].pointer == "/ask_after_days"
