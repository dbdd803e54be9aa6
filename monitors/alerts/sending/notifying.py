"""Which channels hear of an event of an incident, and why not now; their messages go into the outbox."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.database.deadline import give_up_after
from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.channels import KINDS
from monitors.alerts.hooks import describe_ongoing
from monitors.alerts.incidents.labels import has_labels, labels_of
from monitors.alerts.incidents.way_back import change_since
from monitors.alerts.joint_messages.waiting import MessageGroup, due_of_group, groups_of
from monitors.alerts.models import MUTED_UNTIL, Channel, Incident, Silence
from monitors.alerts.sending.outbox import Delay, database_time, make_event_id, write_delivery
from monitors.alerts.story import ACKNOWLEDGED, RESOLVED, gather
from monitors.alerts.wording import duration, moment
from monitors.rules.judging.current_breach import causes_of
from monitors.rules.judging.judge import MAX_CAUSES_SECONDS
from monitors.rules.models import Transition

log = logging.getLogger(__name__)


def notify(
    incident: Incident,
    transition: Transition,
    event: str,
    channels: Sequence[Channel],
    *,
    withheld: str = "",
    line: str = "",
    not_before: datetime | None = None,
) -> None:
    """Write the message about an event to each channel.

    `transition` is the window that it speaks of; `withheld` says why it is not sent, `line` why it comes now, and
    `not_before` until when it waits.
    """
    channels = [channel for channel in channels if channel.kind in KINDS]  # a kind may be removed later
    if not channels:
        return
    story = gather(
        event=event,
        event_id=make_event_id(),
        at=database_time(),
        incident=incident,
        transition=transition,
        causes=incident.causes if event in (RESOLVED, ACKNOWLEDGED) else _causes(incident, transition),
        ongoing=[*([line] if line else []), *_ongoing(incident, transition)],
    )
    groups = {} if withheld else groups_of(incident)
    for channel in channels:
        write_delivery(
            channel=channel,
            event=event,
            event_id=story.event_id,
            message=KINDS[channel.kind].compose(story, channel),
            incident=incident,
            withheld=withheld,
            delay=_delay_of(channel, groups.get(channel.pk), muted_until=not_before, at=story.at),
        )
    if not withheld:
        enqueue(Task.DELIVER)


def _delay_of(
    channel: Channel, group: MessageGroup | None, *, muted_until: datetime | None, at: datetime
) -> Delay | None:
    """Return what a message waits for: the end of muted hours, or others of its group; None where for nothing."""
    delay = Delay(muted_until, f"{MUTED_UNTIL}{moment(muted_until)}") if muted_until else None
    if group is None:
        return delay
    due = due_of_group(channel, group, at=at)
    if delay is None or due > delay.next_attempt_at:
        delay = Delay(due, f"Waits until {moment(due)} for what else happens of {group.name}")
    return replace(delay, group=group.name, group_seconds=int(group.interval.total_seconds()))


def addressed_channels(incident: Incident) -> list[Channel]:
    """List the enabled channels that some message about an incident was written to, sent or not."""
    addressed = Channel.objects.filter(enabled=True, deliveries__incident=incident).distinct()
    return list(addressed.select_related("project").order_by("pk"))


def list_unnotified(incident: Incident, channels: Sequence[Channel]) -> list[Channel]:
    """Narrow channels to those without any message about an incident, not even one that was withheld."""
    noted = set(incident.deliveries.values_list("channel_id", flat=True))
    return [channel for channel in channels if channel.pk not in noted]


def reason_to_withhold(transition: Transition) -> str:
    """Return why nobody is notified: the window is old news, or somebody silenced it. Empty when people are."""
    age = database_time() - transition.window_end
    if age > transition.rule.notify_within:
        return (
            f"The window ended {duration(age)} ago; this rule notifies within "
            f"{duration(transition.rule.notify_within)}."
        )
    return silenced(transition, transition.window_end)


def silenced(subject: Transition | Incident, at: datetime) -> str:
    """Return which silence mutes a moment of event time; empty where none does."""
    silences = Silence.objects.filter(
        Q(model=None) | Q(model=subject.model), project=subject.model.project, start__lt=at, end__gte=at
    )
    alerts = [labels_of(subject)] if isinstance(subject, Transition) else _labels_of_alerts(subject)
    silence = next((one for one in silences.order_by("-end") if _mutes(one, alerts)), None)
    return "" if silence is None else f"Silenced until {moment(silence.end)}: {silence.reason}"


def ask_for_causes(incident: Incident) -> None:
    """Ask for an incident's causes to be ranked once the caller's transaction has committed: see `late_causes.py`."""
    Incident.objects.filter(pk=incident.pk).update(causes_due_at=Now())
    enqueue(Task.RANK_CAUSES, incident_id=incident.pk)


def _labels_of_alerts(incident: Incident) -> list[dict[str, str]]:
    return [alert.labels for alert in incident.alerts.all()]


def _mutes(silence: Silence, alerts: Sequence[Mapping[str, str]]) -> bool:
    """Return whether a silence mutes all alerts, of which these are the labels."""
    return all(has_labels(labels, silence.matchers) for labels in alerts)


def _causes(incident: Incident, transition: Transition) -> list[dict[str, Any]]:
    """Rank what explains the window that a message is about; a message with older causes is better than none, and one
    without than one that comes late."""
    try:
        with give_up_after(MAX_CAUSES_SECONDS):
            return causes_of(transition)
    except TimeoutError:
        log.warning("causes not ranked in time", extra={"incident": incident.pk})
        if not incident.causes:
            ask_for_causes(incident)
        older: list[dict[str, Any]] = incident.causes
        return older
    except Exception:
        log.exception("causes not ranked", extra={"incident": incident.pk})
        known: list[dict[str, Any]] = incident.causes
        return known


def _ongoing(incident: Incident, transition: Transition) -> list[str]:
    """List what a roll-back or promotion did since, and what the function that `driftline` provides says.

    An alert without these lines is better than none.
    """
    leading = incident.lead.opened_by if incident.lead else None
    stored = transition if transition.pk else leading
    if stored is None:
        return []
    try:
        with transaction.atomic():
            change = change_since(incident)
            return [*([change.sentence] if change else []), *describe_ongoing(stored)]
    except Exception:
        log.exception("what is being done could not be described", extra={"transition": stored.pk})
        return []
