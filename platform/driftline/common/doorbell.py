"""Rings a worker for work that a row in PostgreSQL already holds: a ring that is lost costs time, never work.

One thread of the process rings, so that no request waits for the broker. While the broker does not answer, rings are
dropped: a sweeper finds the rows.
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
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError

from driftline.common.broker import QUICK_SECONDS, transport_options

LONG_WORK = "driftline.long_work"

log = logging.getLogger(__name__)

MAX_WAITING = 1000
AWAY_SECONDS = 5.0  # for which nothing is sent to a broker that did not answer; the sweeper comes as often

_rung: dict[
    tuple[Any, ...], float
] = {}  # what was rung or is about to be, and when; only what is rung with a pause
_lock = threading.Lock()


def ring(task: str, *, pause: float = 0.0, **arguments: Any) -> None:
    """Send `task` once the caller's transaction has committed; a broker that is away is left to the sweeper.

    With a `pause` in seconds, rings that follow one within it become one at its end: a ring costs a millisecond, and a
    busy log commits more often than anybody needs to hear of it.
    """
    transaction.on_commit(lambda: _send_in_turn(task, arguments, pause) if pause else _send(task, arguments))


def ring_for_long_work() -> None:
    """Have a worker look which long work is next: projects take turns, so it need not be the caller's."""
    ring(LONG_WORK)


def _send_in_turn(task: str, arguments: dict[str, Any], pause: float) -> None:
    key, moment = (task, *sorted(arguments.items())), time.monotonic()
    with _lock:
        wait = max(_rung.get(key, 0.0) + pause - moment, 0.0)
        if wait > pause:
            return  # the ring at the end of the pause is still to come
        if len(_rung) > 1000:
            _rung.clear()
        _rung[key] = moment + wait
    if not wait:
        _send(task, arguments)
        return
    timer = threading.Timer(wait, _send, (task, arguments))
    timer.daemon = True
    timer.start()


def _send(task: str, arguments: dict[str, Any]) -> None:
    context = contextvars.copy_context()  # it holds the trace that the task belongs to
    _ringer.put(lambda connection: context.run(_publish, connection, task, arguments))


def _publish(connection: Connection, task: str, arguments: dict[str, Any]) -> None:
    current_app.send_task(task, kwargs=arguments, retry=False, connection=connection)


class Ringer:
    """The thread that rings, and what it is still to ring."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: queue.Queue[Callable[[Connection], None]] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._away_until = float("-inf")

    def put(self, send: Callable[[Connection], None]) -> None:
        """Have something sent soon; it is dropped while the broker does not answer."""
        if self._clock() < self._away_until:
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(send)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                    self._thread.start()

    def wait_until_rung(self, seconds: float) -> bool:
        """Wait until nothing is left to ring; False where that takes too long."""
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
                    if self._clock() >= self._away_until:
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
            log.warning("the broker does not answer; rings are left to the sweeper")
            self._away_until = self._clock() + AWAY_SECONDS
            connection.collect()  # the next ring connects anew
        except Exception:
            log.exception("a ring could not be sent")


_ringer = Ringer()


def _start_anew() -> None:
    """Begin without what the parent process still had to ring: its thread is not in this one."""
    global _ringer
    _ringer = Ringer()


os.register_at_fork(after_in_child=_start_anew)
atexit.register(lambda: _ringer.wait_until_rung(QUICK_SECONDS))  # a command may end right after its ring
