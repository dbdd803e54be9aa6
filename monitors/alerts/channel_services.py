"""Writes of channels: make, change, delete, test, and send a delivery again."""

from typing import Any

from django.db import IntegrityError, transaction

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.common.errors import Problem, invalid
from driftline.common.ids import new_id
from driftline.common.secrets_at_rest import encrypt
from driftline.common.task_queue import Task, enqueue
from inference.registry.publishing import publish_on_commit
from monitors.alerts.channels import KINDS
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.outbox import database_time, requeue, withhold_pending, write_delivery
from monitors.alerts.story import TEST
from monitors.rules.models import Severity

CHANGEABLE = ("name", "target", "min_severity", "enabled")


def create_channel(
    *, project: Project, kind: str, name: str, target: str, actor: str, min_severity: str = Severity.WARNING
) -> tuple[Channel, str | None]:
    """Make a channel and give it with its signing secret, shown once; None where the kind has none."""
    if kind not in KINDS:
        raise invalid("/kind", f"{kind[:64]!r} is not a kind of channel; use one of {', '.join(KINDS)}.")
    _check_name(name)
    _check_severity(min_severity)
    KINDS[kind].check_target(target)
    secret = KINDS[kind].new_secret()
    channel = Channel(
        project=project,
        kind=kind,
        name=name,
        target=target,
        min_severity=min_severity,
        secret=encrypt(secret) if secret else b"",
    )
    _save(channel, actor=actor, action="channel.create", before=None)
    return channel, secret


def update_channel(*, channel: Channel, actor: str, **changes: Any) -> Channel:
    """Change what `CHANGEABLE` lists; enabling a channel clears the reason for which it was disabled."""
    if unknown := sorted(set(changes) - set(CHANGEABLE)):
        raise invalid(
            f"/{unknown[0]}", f"{unknown[0][:64]!r} cannot be changed; change {', '.join(CHANGEABLE)}."
        )
    if "name" in changes:
        _check_name(changes["name"])
    if "min_severity" in changes:
        _check_severity(changes["min_severity"])
    if "target" in changes:
        KINDS[channel.kind].check_target(changes["target"])
    before = _described(channel)
    for name, value in changes.items():
        setattr(channel, name, value)
    if "enabled" in changes:
        channel.disabled_reason = "" if channel.enabled else f"Disabled by {actor}"[:200]
    _save(channel, actor=actor, action="channel.update", before=before)
    return channel


def delete_channel(*, channel: Channel, actor: str) -> None:
    """Delete a channel with its deliveries."""
    with transaction.atomic():
        record_audit(
            project=channel.project,
            actor=actor,
            action="channel.delete",
            subject=channel.name,
            before=_described(channel),
        )
        channel.delete()
        _publish(channel)


def send_test(*, channel: Channel, actor: str) -> Delivery:
    """Write a test message, which is tried once; its attempt holds what the receiver answered."""
    _check_enabled(channel)
    event_id = f"evt_{new_id().replace('-', '')}"
    with transaction.atomic():
        message = KINDS[channel.kind].compose_test(channel, event_id=event_id, at=database_time())
        record_audit(project=channel.project, actor=actor, action="channel.test", subject=channel.name)
        delivery = write_delivery(
            channel=channel, event=TEST, event_id=event_id, message=message, incident=None
        )
        enqueue(Task.DELIVER)
    return delivery


def replay(*, delivery: Delivery, actor: str) -> Delivery:
    """Send a delivery again, whatever became of it, under the event id and with the body that it had."""
    _check_enabled(delivery.channel)
    with transaction.atomic():
        record_audit(
            project=delivery.channel.project,
            actor=actor,
            action="delivery.replay",
            subject=f"{delivery.event_id} to {delivery.channel.name}"[:200],
        )
        requeue(delivery)
    return delivery


def _save(channel: Channel, *, actor: str, action: str, before: dict[str, Any] | None) -> None:
    try:
        with transaction.atomic():
            channel.save()
            if not channel.enabled:
                withhold_pending(channel, reason="The channel was disabled.")
            _publish(channel)
            record_audit(
                project=channel.project,
                actor=actor,
                action=action,
                subject=channel.name,
                before=before,
                after=_described(channel),
            )
    except IntegrityError as error:
        detail = f"This project already has a channel {channel.name!r}; choose another name."
        raise Problem(409, "channel_exists", detail) from error


def _publish(channel: Channel) -> None:
    """Tell the serving processes which callbacks there are."""
    if channel.kind == Channel.Kind.CALLBACK:
        publish_on_commit()


def _described(channel: Channel) -> dict[str, Any]:
    return {"kind": channel.kind, **{name: getattr(channel, name) for name in CHANGEABLE}}


def _check_name(name: str) -> None:
    if not 0 < len(name.strip()) <= 100 or not name.isprintable():
        raise invalid("/name", "A channel's name has 1 to 100 printable characters in one line.")


def _check_severity(severity: str) -> None:
    if severity not in Severity.values:
        raise invalid("/min_severity", f"{severity[:64]!r} is not one of {', '.join(Severity.values)}.")


def _check_enabled(channel: Channel) -> None:
    if not channel.enabled:
        raise Problem(
            409,
            "channel_disabled",
            f"The channel {channel.name} is disabled ({channel.disabled_reason}); enable it first.",
        )
