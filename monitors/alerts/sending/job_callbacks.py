"""Callbacks of asynchronous inference: what ended jobs left in files becomes deliveries, which the outbox sends.

A serving process has no database, so it leaves a file. The file goes once its delivery is committed; a repetition
finds the delivery by its event id, so each job tells its callback once, however often somebody dies in between.
"""

import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import IntegrityError, InterfaceError, OperationalError, close_old_connections, transaction
from django.db.models.functions import Now

from driftline.base.work.task_queue import Task, enqueue
from inference.serving.jobs.store import Callback, waiting_callbacks
from inference.serving.plan import PlanCallback
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.channels.callback.payload import compose
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.outbox import make_event_id, write_delivery

LOOK_SECONDS = 0.5
KEPT = timedelta(days=7)
log = logging.getLogger(__name__)


def plan_callbacks() -> list[PlanCallback]:
    """List the callbacks that requests may name."""
    channels = Channel.objects.filter(kind=CALLBACK, enabled=True).order_by("pk")
    return [PlanCallback(channel.pk, channel.project_id, channel.name) for channel in channels]


def hand_over_until(home: Path, stop: threading.Event) -> None:
    """Hand over again and again until `stop` is set; while the database is away the files wait."""
    while not stop.wait(LOOK_SECONDS):
        try:
            hand_over(home)
        except (OperationalError, InterfaceError):
            close_old_connections()
        except Exception:
            log.exception("callbacks could not be handed over")


def hand_over(home: Path) -> int:
    """Make a delivery of each callback that waits, and tell how many there were."""
    return sum(_hand_over_one(path, callback) for path, callback in waiting_callbacks(home))


def _hand_over_one(path: Path, callback: Callback) -> bool:
    try:
        _write(callback)
        path.unlink(missing_ok=True)
    except (OperationalError, InterfaceError):  # the database is away, for the others too
        raise
    except Exception:  # what is wrong with this one is no reason to keep other projects' back
        log.exception("a callback could not be handed over", extra={"job": callback.job.id})
        return False
    return True


def _write(callback: Callback) -> None:
    job, named = callback.job, callback.job.callback
    channels = Channel.objects.filter(deleted_at=None, project_id=job.project_id, pk=named.id if named else 0)
    channel = channels.select_related("project").first()
    if channel is None:
        log.warning("the callback of a job is gone", extra={"job": job.id})
        return
    event_id = make_event_id(job.id)
    at = datetime.fromtimestamp(callback.ended.ended_at, UTC)
    try:
        with transaction.atomic():
            write_delivery(
                channel=channel,
                event=f"job.{callback.ended.state}",
                event_id=event_id,
                message=compose(callback, channel, event_id=event_id, at=at),
                incident=None,
                withheld="" if channel.enabled else "The callback was disabled when the job ended.",
            )
            enqueue(Task.DELIVER, pause_seconds=0.1)
    except IntegrityError:
        log.info("a callback was handed over before", extra={"job": job.id})


def forget_old_callbacks() -> int:
    """Delete the callbacks that were settled long ago: there may be as many as jobs."""
    settled = Delivery.objects.filter(channel__kind=CALLBACK, created_at__lt=Now() - KEPT).exclude(
        state=Delivery.State.PENDING
    )
    return settled.delete()[0]
