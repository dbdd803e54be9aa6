"""How incidents end: with their last alert, by a person, or with the rule that was deleted."""

from collections import defaultdict
from datetime import datetime

from monitors.alerts.incidents.timeline import note
from monitors.alerts.models import Alert, Channel, Incident
from monitors.alerts.sending.channel_timers import end_timers
from monitors.alerts.sending.notifying import addressed_channels, notify, silenced
from monitors.alerts.sending.outbox import database_time, notified_channels
from monitors.alerts.sending.recipients import Recipient, recipients_of
from monitors.alerts.story import RESOLVED
from monitors.alerts.wording import sentence_of_run
from monitors.rules.judging.judge import judged_since
from monitors.rules.models import Transition


def end_alert(alert: Alert, *, at: datetime) -> None:
    """Resolve an alert at a moment of event time."""
    alert.state, alert.resolved_at = Alert.State.RESOLVED, at
    alert.last_window_end = max(alert.last_window_end, at)
    alert.save(update_fields=["state", "resolved_at", "last_window_end"])


def close(incident: Incident, transition: Transition, *, at: datetime, text: str) -> None:
    """Resolve an incident with no alert left, at a moment of event time, and notify those who know of it."""
    incident.status, incident.resolved_at = Incident.Status.RESOLVED, at
    incident.save(update_fields=["status", "resolved_at"])
    note(incident, "resolved", text, event_time=at)
    _notify(incident, transition)


def close_by_hand(incident: Incident, *, at: datetime, now: datetime, actor: str, reason: str) -> None:
    """Resolve an incident with its alerts because a person says so: `at` in event time, `now` by the wall clock."""
    transition = incident.opening
    for alert in incident.alerts.filter(state=Alert.State.FIRING):
        end_alert(alert, at=at)
    incident.status, incident.resolved_at = Incident.Status.RESOLVED, at
    incident.closed_at, incident.closed_by, incident.close_reason = now, actor[:200], reason[:500]
    incident.save(update_fields=["status", "resolved_at", "closed_at", "closed_by", "close_reason"])
    note(incident, "resolved", reason, actor=actor)
    _notify(incident, transition)


def reason_of_closing(incident: Incident, actor: str) -> str:
    """Return who closes an incident, and whether it is over: `Closed by ada@example.com, still above its limit`."""
    opening = incident.opening
    if sentence_of_run(opening):
        return f"Closed by {actor}"
    newest = next(judged_since(opening.since, opening), None)
    value = opening.value if newest is None else newest.value
    still = value is not None and opening.deciding.is_breached_by(value)
    return f"Closed by {actor}" + (f", still {opening.deciding.operator} its limit" if still else "")


def _notify(incident: Incident, transition: Transition) -> None:
    """Notify the channels that know of an incident of its end, when their routes next send; of others it is kept that
    they were not."""
    notified, addressed = notified_channels(incident), addressed_channels(incident)
    assert incident.resolved_at is not None
    withheld, at = silenced(incident, incident.resolved_at), database_time()
    recipients = {one.channel.pk: one for one in recipients_of(incident)}
    knowing: dict[datetime | None, list[Channel]] = defaultdict(list)
    for channel in addressed:
        if channel.pk in notified:
            knowing[_not_before(recipients.get(channel.pk), at)].append(channel)
    for not_before, channels in knowing.items():
        notify(incident, transition, RESOLVED, channels, withheld=withheld, not_before=not_before)
    waiting = incident.timers.exclude(opening_since=None).values_list("channel_id", flat=True)
    late = [recipients[pk].channel for pk in waiting if pk in recipients and not recipients[pk].escalates]
    others = {channel.pk: channel for channel in (*addressed, *late) if channel.pk not in notified}
    notify(
        incident,
        transition,
        RESOLVED,
        list(others.values()),
        withheld=withheld or "This channel was not notified of the opening either.",
    )
    end_timers(incident, at=at)


def _not_before(recipient: Recipient | None, at: datetime) -> datetime | None:
    """Return when the route to a channel sends again, where it does not now."""
    if recipient is None or recipient.route.is_open(at):
        return None
    return recipient.route.next_open(at)
