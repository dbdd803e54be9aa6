"""Writes of channels: make, change, delete, rotate the secret, test, and send a delivery again."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from driftline.base.keys.secrets_at_rest import encrypt
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.plan.publishing import publish_on_commit
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.channels.masking import mask_target
from monitors.alerts.channels.webhook.formats import OWN, TEMPLATE, check_format
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.outbox import (
    database_time,
    make_event_id,
    report_disabled,
    requeue,
    withhold_pending,
    write_delivery,
)
from monitors.alerts.stored_routing import refuse_while_routed, rename_in_routing
from monitors.alerts.story import TEST
from monitors.feed.kinds import DEFAULT_OF_CHANNELS, INCIDENTS
from monitors.feed.kinds import KINDS as EVENTS
from monitors.rules.models import Severity

SECRET_OVERLAP = timedelta(hours=24)
"""How long messages are signed with the secret before too, after it was rotated."""
NEEDS_TARGET = "It needs its target, which was not given"
"""Why a channel is off that was made without a target, as configurations hold none; with one it is turned on."""
CHANGEABLE = ("name", "target", "payload_format", "template", "min_severity", "events", "enabled")


def create_channel(
    *,
    project: Project,
    kind: str,
    name: str,
    target: str | None,
    actor: str,
    min_severity: str = Severity.WARNING,
    events: Sequence[str] = DEFAULT_OF_CHANNELS,
    payload_format: str = OWN,
    template: Any = None,
) -> tuple[Channel, str | None]:
    """Make a channel and give it with its signing secret, shown once; None where the kind has none.

    Without a target it is off until it gets one.
    """
    if kind not in KINDS:
        raise invalid("/kind", f"{kind[:64]!r} is not a kind of channel; use one of {', '.join(KINDS)}.")
    _check_name(name)
    _check_severity(min_severity)
    _check_events(events)
    _check_payload(kind, payload_format, template)
    if target is not None:
        KINDS[kind].check_target(target)
    secret = KINDS[kind].new_secret()
    channel = Channel(
        project=project,
        kind=kind,
        name=name,
        target=target or "",
        enabled=target is not None,
        disabled_reason="" if target is not None else NEEDS_TARGET,
        payload_format=payload_format,
        template=template,
        min_severity=min_severity,
        events=list(events),
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
    if "events" in changes:
        _check_events(changes["events"])
        changes["events"] = list(changes["events"])
    if {"payload_format", "template"} & set(changes):
        payload_format = changes.get("payload_format", channel.payload_format)
        kept = channel.template if payload_format == TEMPLATE else None
        changes = {"template": kept} | changes
        _check_payload(channel.kind, payload_format, changes["template"])
    if "target" in changes:
        KINDS[channel.kind].check_target(changes["target"])
    elif changes.get("enabled") and not channel.target:
        raise invalid("/target", f"The channel {channel.name} has no target yet; give it one.")
    if "target" in changes and channel.disabled_reason == NEEDS_TARGET:
        changes = {"enabled": True} | changes
    before = _described(channel)
    for name, value in changes.items():
        setattr(channel, name, value)
    if "enabled" in changes:
        channel.disabled_reason = "" if channel.enabled else f"Disabled by {actor}"[:200]
    with transaction.atomic():
        _save(channel, actor=actor, action="channel.update", before=before)
        if before["enabled"] and not channel.enabled:
            report_disabled(channel, actor=actor)
    return channel


def rotate_secret(*, channel: Channel, actor: str, now: datetime) -> tuple[Channel, str]:
    """Make a new signing secret and return it, shown once; the one before signs messages too for `SECRET_OVERLAP`.

    Raises a 409 `Problem` where the kind has no secret.
    """
    secret = KINDS[channel.kind].new_secret() if channel.kind in KINDS else None
    if secret is None:
        raise Problem(409, "no_secret", f"The channel {channel.name} has no signing secret.")
    with transaction.atomic():
        channel = Channel.objects.select_for_update(of=("self",)).select_related("project").get(pk=channel.pk)
        channel.previous_secret, channel.previous_secret_until = channel.secret, now + SECRET_OVERLAP
        channel.secret = encrypt(secret)
        channel.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
        record_audit(
            project=channel.project, actor=actor, action="channel.rotate_secret", subject=channel.name
        )
    return channel, secret


def delete_channel(*, channel: Channel, actor: str) -> None:
    """Delete a channel with its target and its secrets; it is not listed any more, and its deliveries stay.

    Raises a 409 `Problem` where the routing tree names it.
    """
    refuse_while_routed(channel)
    with transaction.atomic():
        before = _described(channel)
        channel.target, channel.secret, channel.previous_secret = "", b"", b""
        channel.enabled, channel.disabled_reason = False, f"Deleted by {actor}"[:200]
        channel.deleted_at = database_time()
        channel.save()
        withhold_pending(channel, reason="The channel was deleted.")
        record_audit(
            project=channel.project, actor=actor, action="channel.delete", subject=channel.name, before=before
        )
        _publish(channel)


def send_test(*, channel: Channel, actor: str) -> Delivery:
    """Write a test message, which is tried once; its attempt holds what the receiver answered."""
    _check_enabled(channel)
    event_id = make_event_id()
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
            if before is None:
                channel.save()
            else:  # and nothing else: somebody may rotate the secret at the same time
                channel.save(update_fields=[*CHANGEABLE, "disabled_reason"])
                rename_in_routing(project=channel.project, old=before["name"], new=channel.name, actor=actor)
            if not channel.enabled:
                withhold_pending(channel, reason="The channel was disabled.")
            elif INCIDENTS in channel.events and (before is None or _takes_more(before, channel)):
                enqueue(Task.CATCH_UP, channel_id=channel.pk)
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


def _takes_more(before: dict[str, Any], channel: Channel) -> bool:
    """Return whether a change may have a channel take incidents that it did not take before."""
    now = _described(channel)
    return any(before[name] != now[name] for name in ("enabled", "events", "min_severity"))


def _publish(channel: Channel) -> None:
    """Publish to the serving processes which callbacks there are."""
    if channel.kind == CALLBACK:
        publish_on_commit()


def _described(channel: Channel) -> dict[str, Any]:
    """Describe a channel for the audit trail, which more people read than may see its target and its template."""
    fields = {name: getattr(channel, name) for name in CHANGEABLE}
    secrets = {"target": mask_target(channel.target), "template": _digest_of(channel.template)}
    return {"kind": channel.kind, **fields, **secrets}


def _digest_of(template: Any) -> str | None:
    """Return a short digest of a template, which differs where the template does; None where there is none."""
    if template is None:
        return None
    written = json.dumps(template, sort_keys=True).encode()
    return f"sha256:{hashlib.sha256(written).hexdigest()[:12]}"


def _check_name(name: str) -> None:
    if not 0 < len(name.strip()) <= 100 or not name.isprintable():
        raise invalid("/name", "A channel's name has 1 to 100 printable characters in one line.")


def _check_severity(severity: str) -> None:
    if severity not in Severity.values:
        raise invalid("/min_severity", f"{severity[:64]!r} is not one of {', '.join(Severity.values)}.")


def _check_events(events: Sequence[str]) -> None:
    known = (INCIDENTS, *EVENTS)
    if unknown := [event for event in events if event not in known]:
        raise invalid("/events", f"{unknown[0][:64]!r} is no event; use some of {', '.join(known)}.")
    if len(set(events)) != len(events):
        raise invalid("/events", "An event is named twice; name each once.")


def _check_payload(kind: str, payload_format: str, template: Any) -> None:
    """Refuse a payload that a webhook cannot have, and any of another kind."""
    if kind != "webhook" and (payload_format != OWN or template is not None):
        raise invalid(
            "/payload_format", "Only a webhook has a payload format and a template; leave them out."
        )
    check_format(payload_format, template)


def _check_enabled(channel: Channel) -> None:
    if channel.deleted_at is not None:
        raise Problem(
            409, "channel_deleted", f"The channel {channel.name} was deleted; nothing is sent to it."
        )
    if not channel.enabled:
        raise Problem(
            409,
            "channel_disabled",
            f"The channel {channel.name} is disabled ({channel.disabled_reason}); enable it first.",
        )
