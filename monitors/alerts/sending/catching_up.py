"""What goes on already when a channel begins to take incidents: it hears of that too, not only of what comes next."""

import logging

from django.db import transaction

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.attempts import DATABASE_FAULTS
from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.incidents.handling import get_incident
from monitors.alerts.models import Alert, Channel, Delivery, Incident
from monitors.alerts.sending.channel_timers import schedule
from monitors.alerts.sending.news import latest_news
from monitors.alerts.sending.outbox import database_time

log = logging.getLogger(__name__)

MAX_INCIDENTS = 100
"""How many of the newest incidents that are not resolved are looked at."""


def catch_up(channel_id: int) -> int:
    """Notify a channel of the incidents that still fire in a window which is news; returns of how many."""
    channel = Channel.objects.filter(pk=channel_id, enabled=True).first()
    if channel is None:
        return 0
    heard = Delivery.objects.filter(channel=channel).exclude(state=Delivery.State.SUPPRESSED)
    going_on = Incident.objects.filter(project=channel.project_id).exclude(status=Incident.Status.RESOLVED)
    found = going_on.exclude(pk__in=heard.filter(incident__isnull=False).values("incident")).order_by("-pk")
    return sum(
        _wait_for_opening(channel, pk, model_id)
        for pk, model_id in found.values_list("pk", "model_id")[:MAX_INCIDENTS]
    )


def _wait_for_opening(channel: Channel, incident_id: int, model_id: int) -> bool:
    """Schedule what is not heard of an incident for its time; one that cannot be read holds up no other."""
    try:
        with transaction.atomic():
            lock(AdvisoryLock.ALERTS, model_id)
            return _is_scheduled(channel, get_incident(incident_id))
    except DATABASE_FAULTS:
        raise
    except Exception:
        log.exception("a channel does not catch up", extra={"incident": incident_id})
        return False


def _is_scheduled(channel: Channel, incident: Incident) -> bool:
    still_fires = incident.alerts.filter(state=Alert.State.FIRING).exists()
    if incident.status == Incident.Status.RESOLVED or not still_fires or latest_news(incident)[1]:
        return False
    at = database_time()
    schedule(incident, is_changed=False, at=at)
    is_due = bool(incident.timers.filter(channel=channel, opening_since__isnull=False).update(due_at=at))
    if is_due:
        enqueue(Task.NOTIFY)
    return is_due
