"""How a device comes in and goes out: a code that works once becomes a token, until a person revokes it."""

import hmac
import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from driftline.base.accounts.models import digest_of
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.keys.edge_keys import Purpose, newest_key
from driftline.base.keys.signing import public_text
from inference.edge.groups import check_name
from inference.edge.models import Device, DeviceGroup
from inference.edge.releases import judge_group
from inference.registry.plan.publishing import publish_on_commit

CODE_PREFIX = "dl_enrol_"
TOKEN_PREFIX = "dl_device_"
CODE_LASTS = timedelta(hours=24)


def create_device(*, group: DeviceGroup, name: str, actor: str, now: datetime) -> tuple[Device, str]:
    """Make a device that is waited for, and return it with its code, which is shown once and never stored.

    Raises Problem 422, or 409 for a name that is taken, also by a device that was revoked.
    """
    check_name(name, what="device")
    try:
        with transaction.atomic():
            device = Device.objects.create(project=group.project, group=group, name=name, created_by=actor)
            record_audit(
                project=group.project, actor=actor, action="device.create", subject=name,
                after={"group": group.name},
            )  # fmt: skip
            code = _set_code(device, now)
    except IntegrityError as error:
        raise Problem(
            409, "device_exists", f"There is or was a device {name} already; choose another name."
        ) from error
    return device, code


def renew_code(*, device: Device, actor: str, now: datetime) -> str:
    """Make another code for a device with an agent that was installed anew; its token works until the code is used."""
    with transaction.atomic():
        refuse_revoked(device)
        record_audit(project=device.project, actor=actor, action="device.code", subject=device.name)
        return _set_code(device, now)


def enrol(*, code: str, agent: str, machine: str, now: datetime, key: str = "") -> tuple[Device, str] | None:
    """Change a code for a token, once; None for a code that is unknown, used, too old or of an archived project.

    Whoever chose a secret `key` may ask again: it gives the same token, also after an answer that was lost on its way.
    """
    token = TOKEN_PREFIX + (
        hmac.new(key.encode(), code.encode(), "sha256").hexdigest() if key else secrets.token_hex(32)
    )
    with transaction.atomic():
        device = (
            # by no key: releases, which hold the lock of their group, refer to devices
            Device.objects.select_for_update(of=["self"], no_key=True)
            .select_related("group__model", "project")
            .filter(
                code_digest=digest_of(code),
                code_expires_at__gt=now,
                revoked_at=None,
                project__archived_at=None,
            )
            .first()
        )
        if device is None or not code.startswith(CODE_PREFIX):
            return _find_enrolled(token) if key else None
        device.code_digest, device.code_expires_at = "", None
        device.token_digest = digest_of(token)
        device.agent, device.machine = agent, machine
        device.enrolled_at = device.last_seen_at = now
        device.pinned_key = public_text(newest_key(Purpose.MANIFESTS))
        device.version, device.failure = "", ""
        device.save()
        record_audit(
            project=device.project, actor=f"device {device.name}", action="device.enrol", subject=device.name,
            after={"agent": agent, "machine": machine},
        )  # fmt: skip
        _publish_token(device)
    return device, token


def _find_enrolled(token: str) -> tuple[Device, str] | None:
    """Return the device that has a token already, with it."""
    enrolled = Device.objects.active().filter(token_digest=digest_of(token), project__archived_at=None)
    device = enrolled.select_related("group", "project").first()
    return None if device is None else (device, token)


def revoke_device(*, device: Device, actor: str, now: datetime) -> None:
    """Refuse a device from now on, its code as well as its token. Raises Problem 409 where it is revoked already."""
    with transaction.atomic():
        refuse_revoked(device)
        if (
            Device.objects.active()
            .filter(pk=device.pk)
            .update(revoked_at=now, code_digest="", code_expires_at=None, token_digest="")
        ):
            record_audit(project=device.project, actor=actor, action="device.revoke", subject=device.name)
            _publish_token(device)
        judge_group(device.group, now=now)


def _publish_token(device: Device) -> None:
    """Publish a token that came or went to serving processes, where the group has them know it.

    Under the group's lock: a change of what the group asks publishes before this one, or sees the token as it is now.
    """
    if DeviceGroup.objects.select_for_update().get(pk=device.group_id).asks_server:
        publish_on_commit()


def _set_code(device: Device, now: datetime) -> str:
    code = CODE_PREFIX + secrets.token_hex(16)
    device.code_digest, device.code_expires_at = digest_of(code), now + CODE_LASTS
    device.save(update_fields=["code_digest", "code_expires_at"])
    return code


def refuse_revoked(device: Device) -> None:
    """Raise Problem 409 for a device that was revoked."""
    if device.revoked_at is not None:
        raise Problem(409, "device_revoked", f"{device.name} was revoked on {device.revoked_at:%-d %b %Y}.")
