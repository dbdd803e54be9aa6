"""Sends Celery tasks for work that a row in PostgreSQL already holds: a lost message costs time, never work.

`Task` names every task, and the queue in which it waits. One thread of the process sends the messages, so that no
request waits for the broker. While the broker does not answer, messages are dropped: the sweep finds the rows.
"""

import atexit
import contextlib
import contextvars
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError

from driftline.base.work.broker import QUICK_SECONDS, transport_options

log = logging.getLogger(__name__)

MAX_WAITING = 1000
RETRY_SECONDS = 5.0  # nothing is sent for so long to a broker that did not answer; the sweep comes as often


class TaskQueue(StrEnum):
    """The queues of the workers: short work is taken first, and the other two take turns."""

    SHORT = "driftline-short"  # few, of milliseconds each: the clock's ticks, and what follows a verdict
    ASKED = "driftline-asked"  # what somebody waits for, and whatever talks to other servers
    ROWS = "driftline"  # what follows rows, as many as come


class Task(StrEnum):
    """Every Celery task, by its name on the wire; the folders are those of the modules `tasks.py` that define them.

    Messages with these names may wait in a broker during an upgrade, so a name that is changed is lost work until the
    next sweep.
    """

    # driftline/accounts
    SEND_RESET_MAIL = "accounts.send_reset_mail"  # email
    SEND_INVITATION = "accounts.send_invitation"  # invitation_id
    # driftline: the clock sends all but LONG_WORK and SEAL_AUDIT
    SWEEP = "driftline.sweep"
    LONG_WORK = "driftline.long_work"  # projects take turns, so the work need not be the sender's
    CLOSE_WINDOWS = "driftline.close_windows"
    SEAL_AUDIT = "driftline.seal_audit"  # the sweep sends it where entries wait
    HEARTBEAT = "driftline.heartbeat"
    TIDY = "driftline.tidy"
    MEASURE_PROJECTS = "driftline.measure_projects"
    # inference/prediction_log: the clock sends both
    PACK_LOG = "inference.pack"
    EXPIRE_LOG = "inference.expire"
    # monitors/summaries, metrics, rules, alerts and workflows, in the order in which a window passes them
    SUMMARISE = "monitors.summarise"  # model_id
    MEASURE = "monitors.measure"  # model_id
    MEASURE_ENDED = "monitors.measure_ended"  # the clock sends it
    EXPIRE_SUMMARIES = "monitors.expire"  # the clock sends it
    JUDGE = "monitors.judge"  # model_id
    ALERT = "monitors.alert"  # transition_id
    NOTIFY = "monitors.notify"
    CATCH_UP = "monitors.catch_up"  # channel_id
    DELIVER = "monitors.deliver"
    SEND_DIGESTS = "monitors.send_digests"  # the clock sends it
    RANK_CAUSES = "monitors.rank_causes"  # incident_id
    START_WORKFLOW = "monitors.workflow"  # transition_id
    ADVANCE_RUN = "monitors.advance"  # run_id
    STOP_PIPELINE = "monitors.stop_pipeline"  # training_id
    POLL_MLFLOW = "monitors.poll_mlflow"  # connection_id
    REMOVE_PARTS = "monitors.remove_parts"  # training_id
    START_DUE_RUNS = "monitors.start_due_runs"  # the clock sends it

    @property
    def queue(self) -> TaskQueue:
        """Return the queue in which its messages wait."""
        return _QUEUES.get(self, TaskQueue.ASKED)


_QUEUES: dict[Task, TaskQueue] = dict.fromkeys(
    (Task.SWEEP, Task.HEARTBEAT, Task.CLOSE_WINDOWS, Task.SEAL_AUDIT, Task.ALERT, Task.NOTIFY, Task.START_WORKFLOW,
     Task.START_DUE_RUNS),
    TaskQueue.SHORT,
) | dict.fromkeys(
    (Task.SUMMARISE, Task.MEASURE, Task.MEASURE_ENDED, Task.JUDGE, Task.PACK_LOG, Task.EXPIRE_LOG,
     Task.EXPIRE_SUMMARIES, Task.MEASURE_PROJECTS, Task.TIDY),
    TaskQueue.ROWS,
)  # fmt: skip


_sent_at: dict[tuple[Any, ...], float] = {}  # when a message with a pause was sent last, or will be
_lock = threading.Lock()


def enqueue(task: Task, *, pause_seconds: float = 0.0, **arguments: Any) -> None:
    """Send `task` once the caller's transaction has committed; a broker that is away is left to the sweep.

    With a pause, messages that follow one within it become one message at its end: to send one costs a millisecond, and
    a busy log commits more often than a worker needs to know.
    """
    transaction.on_commit(
        lambda: _send_with_pause(task, arguments, pause_seconds) if pause_seconds else _send(task, arguments)
    )


def _send_with_pause(task: Task, arguments: dict[str, Any], pause: float) -> None:
    key, moment = (task, *sorted(arguments.items())), time.monotonic()
    with _lock:
        wait = max(_sent_at.get(key, 0.0) + pause - moment, 0.0)
        if wait > pause:
            return  # the message at the end of the pause is still to come
        if len(_sent_at) > 1000:
            _sent_at.clear()
        _sent_at[key] = moment + wait
    if not wait:
        _send(task, arguments)
        return
    timer = threading.Timer(wait, _send, (task, arguments))
    timer.daemon = True
    timer.start()


def _send(task: Task, arguments: dict[str, Any]) -> None:
    context = contextvars.copy_context()  # it holds the trace that the task belongs to
    _thread.put(lambda connection: context.run(_publish, connection, task, arguments))


def _publish(connection: Connection, task: Task, arguments: dict[str, Any]) -> None:
    current_app.send_task(task.value, kwargs=arguments, retry=False, connection=connection)


class SendingThread:
    """The thread that sends messages, and those that it has still to send."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: queue.Queue[Callable[[Connection], None]] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._retry_at = float("-inf")

    def put(self, send: Callable[[Connection], None]) -> None:
        """Queue something to be sent soon; it is dropped while the broker does not answer."""
        if self._clock() < self._retry_at:
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(send)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="task queue", daemon=True)
                    self._thread.start()

    def wait_until_sent(self, seconds: float) -> bool:
        """Wait until no message waits; False where that takes too long."""
        until = time.monotonic() + seconds
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                if not self._waiting.all_tasks_done.wait(until - time.monotonic()):
                    return False
        return True

    def _run(self) -> None:
        url = settings.CELERY_BROKER_URL
        options = transport_options(url, seconds=QUICK_SECONDS)
        with Connection(url, connect_timeout=QUICK_SECONDS, transport_options=options) as connection:
            while True:
                send = self._waiting.get()
                try:
                    if self._clock() >= self._retry_at:
                        self._try(send, connection)
                finally:
                    self._waiting.task_done()

    def _failures(self, connection: Connection) -> tuple[type[BaseException], ...]:
        """Name what a broker raises that cannot be reached; each transport has its own kinds."""
        return OperationalError, OSError, *connection.connection_errors, *connection.channel_errors

    def _try(self, send: Callable[[Connection], None], connection: Connection) -> None:
        try:
            send(connection)
        except self._failures(connection):
            log.warning("the broker does not answer; tasks are left to the sweep")
            self._retry_at = self._clock() + RETRY_SECONDS
            connection.collect()  # the next message connects anew
        except Exception:
            log.exception("a task could not be sent")


_thread = SendingThread()


def _start_anew() -> None:
    """Begin without the messages that the parent process had still to send: its thread is not in this process."""
    global _thread
    _thread = SendingThread()


os.register_at_fork(after_in_child=_start_anew)
atexit.register(
    lambda: _thread.wait_until_sent(QUICK_SECONDS)
)  # a command may end right after it sent a task
