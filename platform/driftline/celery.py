"""The Celery application: messages wake workers for work rows, and a clock sends a few tasks at fixed intervals."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")

from celery import Celery
from celery.signals import celeryd_after_setup
from django.conf import settings
from kombu import Queue

from driftline.base.accounts.audit import task_origins  # noqa: F401  hears of tasks
from driftline.base.work.broker import PATIENT_SECONDS, transport_options
from driftline.base.work.task_queue import Task, TaskQueue
from driftline.operations.long_slots import open_slots
from driftline.operations.observability.trace_settings import trace_options


def _every(seconds: int, task: Task) -> dict[str, Any]:
    """Describe a task of the clock; a message that no worker took until the next one is sent expires."""
    return {"task": task.value, "schedule": float(seconds), "options": {"expires": seconds}}


def _beat_file() -> str:
    """Return the file in which the clock keeps its times. Without `up`, nothing else makes the folder."""
    folder = settings.HOME / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder / "beat-schedule")


app = Celery("driftline")
app.set_default()  # in every thread: web requests and the drain enqueue tasks too
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_transport_options=transport_options(settings.CELERY_BROKER_URL, seconds=PATIENT_SECONDS),
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_consumer="driftline.operations.consumer:Consumer",
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_time_limit=840,
    task_soft_time_limit=780,
    task_default_queue=TaskQueue.ROWS.value,
    task_queues=[Queue(queue.value, routing_key=queue.value) for queue in TaskQueue],
    task_routes={task.value: {"queue": task.queue.value} for task in Task},
    task_create_missing_queues=True,
    worker_hijack_root_logger=False,
    beat_schedule_filename=_beat_file(),
    beat_schedule={
        "sweep": _every(5, Task.SWEEP),
        "close windows": _every(15, Task.CLOSE_WINDOWS),
        "heartbeat": _every(15, Task.HEARTBEAT),
        "tidy": _every(3600, Task.TIDY),
        "measure projects": _every(600, Task.MEASURE_PROJECTS),
        "measure ended": _every(300, Task.MEASURE_ENDED),
        "digests": _every(300, Task.SEND_DIGESTS),
        "due runs": _every(30, Task.START_DUE_RUNS),
        "pack": _every(30, Task.PACK_LOG),
        "expire": _every(3600, Task.EXPIRE_LOG),
        "expire summaries": _every(3600, Task.EXPIRE_SUMMARIES),
    },
    timezone="UTC",
)
app.autodiscover_tasks(
    [
        "driftline",
        "driftline.sign_in",
        "inference.prediction_log",
        "monitors.summaries",
        "monitors.metrics",
        "monitors.rules",
        "monitors.alerts",
        "monitors.digests",
        "monitors.workflows",
        *settings.FEATURES,
    ],
)


@celeryd_after_setup.connect
def keep_a_process_for_short_work(instance: Any, **_: Any) -> None:
    """Share out a worker's processes before it starts them."""
    open_slots(instance.concurrency)


if (_options := trace_options()) is not None:
    from driftline.operations.observability.task_traces import TaskTraces  # it loads OpenTelemetry

    _task_traces = TaskTraces(_options)  # kept here: signals hold their receivers weakly
    _task_traces.connect()
