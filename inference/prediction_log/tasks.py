"""Celery's entry to the upkeep of the log."""

import logging
from collections.abc import Callable
from functools import partial

from celery import shared_task
from django.db import OperationalError

from driftline.base.clock import now
from driftline.base.work.task_queue import Task
from inference.prediction_log.encryption.sealed_chunks import forget_unused_keys
from inference.prediction_log.events.joining import delete_orphans
from inference.prediction_log.labels.folding import fold_labels
from inference.prediction_log.retention.expiry import (
    delete_expired_day,
    drop_week,
    find_expired,
    find_expired_weeks,
    forget_summed_days,
)
from inference.prediction_log.storage import partitions
from inference.prediction_log.storage.compaction import find_unpacked, pack_next

log = logging.getLogger(__name__)


@shared_task(name=Task.PACK_LOG)
def pack() -> None:
    """Pack fresh chunks until nothing is due; workers share the days."""
    find_unpacked()
    while pack_next():
        pass


@shared_task(name=Task.EXPIRE_LOG)
def expire() -> None:
    """Drop what nobody keeps or joins any more, fold labels, and make the partitions that are needed next."""
    moment = now()
    partitions.make_ahead(moment)
    for week in find_expired_weeks(moment):
        _try(partial(drop_week, week))
    for expired in find_expired(moment):
        _try(partial(delete_expired_day, expired))
    forget_summed_days(moment)
    fold_labels()
    delete_orphans(moment)
    forget_unused_keys()


def _try(delete: Callable[[], object]) -> None:
    try:
        delete()
    except OperationalError:
        log.info("a partition of the log is in use and goes later")
