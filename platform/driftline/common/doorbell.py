"""Rings a worker for work that a row in PostgreSQL already holds: a ring that is lost costs time, never work."""

import logging
import threading
import time
from typing import Any

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)

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
    try:
        current_app.send_task(task, kwargs=arguments, retry=False)
    except (OperationalError, OSError):
        log.warning("doorbell not heard", extra={"task": task})
