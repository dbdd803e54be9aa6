"""Rings a worker for work that a row in PostgreSQL already holds: a ring that is lost costs time, never work."""

import logging
from typing import Any

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)


def ring(task: str, **arguments: Any) -> None:
    """Send `task` once the caller's transaction has committed; a broker that is away is left to the sweeper."""
    transaction.on_commit(lambda: _send(task, arguments))


def _send(task: str, arguments: dict[str, Any]) -> None:
    try:
        current_app.send_task(task, kwargs=arguments, retry=False)
    except (OperationalError, OSError):
        log.warning("doorbell not heard", extra={"task": task})
