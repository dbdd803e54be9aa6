"""Rows and labels that arrive late, and beside others."""

from collections.abc import Callable
from datetime import UTC, datetime

from django.db import connection

from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.services import log_labels
from inference.registry.models import Model


def label_late(model: Model, id_: str, value: str) -> str:
    item = LabelItem(id=id_, label=value, timestamp=None)
    return log_labels(model=model, items=[item], source="test", now=datetime.now(UTC)).results[0].status


def in_thread[Result](work: Callable[[], Result]) -> Result:
    try:
        return work()
    finally:
        connection.close()
