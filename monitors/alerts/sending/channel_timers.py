"""When each channel hears of an unresolved incident: openings wait, changes keep a distance, reminders come until
somebody acknowledges, and what is muted or inhibited is sent when it no longer is."""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache

from django.db.models import Max

from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.incidents.snoozing import reason_of_snooze
from monitors.alerts.models import Channel, ChannelTimer, Delivery, Incident
from monitors.alerts.routing.timing import ChannelState, next_due
from monitors.alerts.routing.tree import AlertRoute
from monitors.alerts.sending.notifying import addressed_channels, notify
from monitors.alerts.sending.outbox import notified_channels
from monitors.alerts.sending.recipients import Recipient, inhibitor_of, recipients_of
from monitors.alerts.story import OPENED, REMINDER, UPDATED
from monitors.alerts.wording import duration, moment
from monitors.rules.models import Transition

RECHECK = timedelta(minutes=15)
"""After which what is withheld without a known end is looked at again."""

type FindNews = Callable[[], Transition]
"""Returns the window that a message speaks of; only called where one is due."""


def is_waited_for(incident: Incident) -> bool:
    """Return whether some channel that an incident goes to was not notified, or has no timer."""
    notified = notified_channels(incident)
    timed = set(incident.timers.values_list("channel_id", flat=True))
    return any(
        one.channel.pk not in timed or (one.channel.pk not in notified and not one.escalates)
        for one in recipients_of(incident)
    )


def schedule(incident: Incident, *, is_changed: bool, at: datetime) -> None:
    """Make each channel that an incident goes to wait for its opening, and those that know of it for a change."""
    notified = set(notified_channels(incident))
    timers = {timer.channel_id: timer for timer in incident.timers.all()}
    for recipient in recipients_of(incident):
        timer = _timer_of(timers, incident, recipient.channel)
        if recipient.channel.pk not in notified:
            if timer.opening_since is None:
                timer.opening_since, timer.notified_at, timer.change_since = at, None, None
        elif timer.notified_at is None:
            timer.notified_at = _last_message(incident, recipient.channel)
    for channel in addressed_channels(incident) if is_changed else ():
        timer = _timer_of(timers, incident, channel)
        if channel.pk in notified and timer.change_since is None:
            timer.change_since = at
            timer.notified_at = timer.notified_at or _last_message(incident, channel)
    for timer in timers.values():
        timer.save()


def send_due(incident: Incident, *, at: datetime, find_news: FindNews, silenced: str = "") -> None:
    """Write the messages that are due to the channels of an incident, and note when the next ones are.

    `silenced` says why nothing is sent now; what is withheld for another reason is written down with it, once.
    """
    recipients = {one.channel.pk: one for one in recipients_of(incident)}
    timers = incident.timers.select_related("channel__project").order_by("pk")
    direct_first = sorted(timers, key=lambda timer: _escalates(recipients.get(timer.channel_id)))
    # it reads all that fires in the project
    find_reason = cache(lambda: reason_of_snooze(incident) or inhibitor_of(incident) or silenced)
    outgoing: dict[tuple[str, str, str], list[Channel]] = defaultdict(list)
    for timer in direct_first:
        recipient = recipients.get(timer.channel_id)
        if _is_needless(timer, recipient, incident):
            timer.delete()
            continue
        due = _due(timer, recipient, incident, direct_first, recipients)
        if due is not None and due <= at:
            reason, until = _reason_to_wait(recipient, find_reason(), at)
            event, line = _event(timer, recipient)
            if not reason:
                outgoing[event, line, ""].append(timer.channel)
                timer.notified_at, timer.opening_since, timer.change_since = at, None, None
                due = _due(timer, recipient, incident, direct_first, recipients)
            else:
                if reason != timer.withheld and event != REMINDER:
                    outgoing[event, line, reason].append(timer.channel)
                due = until
            timer.withheld = reason
        else:
            timer.withheld = ""
        timer.due_at = due
        timer.save(update_fields=["notified_at", "opening_since", "change_since", "withheld", "due_at"])
    news = find_news() if outgoing else None
    for (event, line, reason), channels in outgoing.items():
        assert news is not None
        notify(incident, news, event, channels, withheld=reason, line=line)


def end_timers(incident: Incident, *, at: datetime) -> None:
    """Forget when the channels of a resolved incident would hear of it, and look again at what it inhibited."""
    incident.timers.all().delete()
    waiting = ChannelTimer.objects.filter(incident__project=incident.project_id).exclude(withheld="")
    # whoever holds the others is looking at them
    free = waiting.order_by("pk").select_for_update(of=("self",), skip_locked=True)
    if ChannelTimer.objects.filter(pk__in=list(free.values_list("pk", flat=True))).update(due_at=at):
        enqueue(Task.NOTIFY)


def describe_waits(incident: Incident) -> list[str]:
    """Return what channels are still to hear of an incident by themselves, and when, a sentence each."""
    timers = incident.timers.exclude(due_at=None).select_related("channel").order_by("due_at", "pk")
    return [_described(timer) for timer in timers]


def _described(timer: ChannelTimer) -> str:
    assert timer.due_at is not None
    if timer.opening_since is not None:
        what = "the first message"
    else:
        what = "a change" if timer.change_since is not None else "a reminder"
    if timer.withheld:
        return f"{timer.channel.name}: {what} is withheld. {timer.withheld}."
    unless = "" if timer.opening_since or timer.change_since else ", unless somebody acknowledges"
    return f"{timer.channel.name}: {what} is sent at {moment(timer.due_at)}{unless}."


def _timer_of(timers: dict[int, ChannelTimer], incident: Incident, channel: Channel) -> ChannelTimer:
    return timers.setdefault(channel.pk, ChannelTimer(incident=incident, channel=channel))


def _last_message(incident: Incident, channel: Channel) -> datetime | None:
    sent = incident.deliveries.filter(channel=channel).exclude(state=Delivery.State.SUPPRESSED)
    last: datetime | None = sent.aggregate(last=Max("created_at"))["last"]
    return last


def _is_needless(timer: ChannelTimer, recipient: Recipient | None, incident: Incident) -> bool:
    """Return whether an opening waits for a channel that the incident no longer goes to."""
    if timer.opening_since is None:
        return False
    return recipient is None or (recipient.escalates and incident.status != Incident.Status.OPEN)


def _due(
    timer: ChannelTimer,
    recipient: Recipient | None,
    incident: Incident,
    timers: list[ChannelTimer],
    recipients: dict[int, Recipient],
) -> datetime | None:
    """Return when the next message to a channel is due; a change to one that no route names any more is at once."""
    if recipient is None:
        return timer.change_since if timer.channel.enabled else None
    route = recipient.route
    if recipient.escalates and timer.opening_since is not None:
        since = _escalation_since(timer.opening_since, route, timers, recipients)
        return None if since is None or route.escalate_after is None else since + route.escalate_after
    state = ChannelState(timer.notified_at, timer.opening_since, timer.change_since)
    return next_due(state, route, is_acknowledged=incident.status != Incident.Status.OPEN)


def _escalation_since(
    opening_since: datetime,
    route: AlertRoute,
    timers: list[ChannelTimer],
    recipients: dict[int, Recipient],
) -> datetime | None:
    """Return when the first channel of a route was notified, None where none was yet; where no channel of it takes the
    incident, since when the opening waits."""
    direct = [
        timer
        for timer in timers
        if (one := recipients.get(timer.channel_id))
        and not one.escalates
        and (route.channels is None or one.channel.name in route.channels)
    ]
    notified = [timer.notified_at for timer in direct if timer.notified_at is not None]
    if notified:
        return min(notified)
    return None if direct else opening_since


def _event(timer: ChannelTimer, recipient: Recipient | None) -> tuple[str, str]:
    """Name the message that is due, and the line that says why it comes."""
    if timer.opening_since is not None:
        after = recipient.route.escalate_after if recipient and recipient.escalates else None
        if after is None:
            return OPENED, ""
        return OPENED, f"Escalated: nobody acknowledged this within {duration(after)} of the first message."
    if timer.change_since is not None:
        return UPDATED, ""
    assert recipient is not None
    wait = duration(recipient.route.repeat_interval or timedelta())
    return REMINDER, f"Nobody has acknowledged this; the next reminder comes in {wait}."


def _reason_to_wait(recipient: Recipient | None, withheld: str, at: datetime) -> tuple[str, datetime | None]:
    """Return why what is due is not sent, and when to look again; empty where nothing keeps it back."""
    if withheld:
        return withheld, at + RECHECK
    mute = recipient.route.describe_mute(at) if recipient else ""
    if not mute or recipient is None:
        return "", None
    opens_at = recipient.route.next_open(at)
    return f"{mute} {f'until {moment(opens_at)}' if opens_at else 'for a year or longer'}", opens_at


def _escalates(recipient: Recipient | None) -> bool:
    return recipient is not None and recipient.escalates
