"""Sends what the timers of channels say is due: openings that waited, changes, reminders and escalations."""

import logging
from datetime import datetime

from django.db import transaction

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.attempts import DATABASE_FAULTS
from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.incidents.handling import get_incident
from monitors.alerts.models import ChannelTimer, Incident
from monitors.alerts.sending.channel_timers import RECHECK, schedule, send_due
from monitors.alerts.sending.news import latest_news
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.silences import active_silences
from monitors.alerts.wording import moment

log = logging.getLogger(__name__)

MAX_BATCH_INCIDENTS = 50


def send_due_notifications(*, at: datetime | None = None, limit: int = MAX_BATCH_INCIDENTS) -> int:
    """Write the messages of up to `limit` incidents that are due by a moment of the database's clock, the longest wait
    first, and return how many incidents were looked at. One that cannot be handled is tried again later."""
    at = at or database_time()
    due = ChannelTimer.objects.filter(due_at__lte=at, incident__project__archived_at=None).order_by(
        "due_at", "pk"
    )
    waiting = dict(due.values_list("incident_id", "incident__model_id")[: limit * 4])
    for incident_id, model_id in list(waiting.items())[:limit]:
        try:
            with transaction.atomic():
                _look_at(incident_id, model_id, at)
        except DATABASE_FAULTS:
            raise
        except Exception:
            log.exception("notifications of an incident not sent", extra={"incident": incident_id})
            ChannelTimer.objects.filter(incident=incident_id, due_at__lte=at).update(due_at=at + RECHECK)
    if len(waiting) > limit:
        enqueue(Task.NOTIFY)
    return min(len(waiting), limit)


def _look_at(incident_id: int, model_id: int, at: datetime) -> None:
    lock(AdvisoryLock.ALERTS, model_id)
    timers = ChannelTimer.objects.filter(incident=incident_id)
    if not timers.filter(due_at__lte=at).exists():
        return  # another worker was here first
    incident = get_incident(incident_id)
    if incident.status == Incident.Status.RESOLVED:
        timers.delete()
        return
    schedule(incident, is_changed=False, at=at)  # the tree may name other channels by now
    send_due(incident, at=at, find_news=lambda: latest_news(incident)[0], silenced=_silenced(incident, at))


def _silenced(incident: Incident, at: datetime) -> str:
    """Return which silence mutes the incident's model now; empty where none does."""
    silences = active_silences(incident.model, now=at)
    return f"Silenced until {moment(silences[0].end)}: {silences[0].reason}" if silences else ""
