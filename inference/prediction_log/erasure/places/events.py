"""Erases a subject from the halves of events that wait: they are not logged yet, so a half goes as a whole."""

import orjson

from inference.prediction_log.erasure.work import Work
from inference.prediction_log.events.models import EventHalf


def erase_halves(work: Work) -> None:
    """Delete the waiting halves of the project that name the key; they are never joined then."""
    halves = EventHalf.objects.filter(model__project=work.project).order_by("pk")
    for half in halves.filter(pk__gt=work.progress.get("half", 0)).iterator(chunk_size=50):
        work.check_deadline()
        if half.event_id == work.subject.key or _names(work, bytes(half.payload)):
            halves.filter(pk=half.pk).delete()
            work.count(event_halves=1)
        work.progress["half"] = half.pk


def _names(work: Work, payload: bytes) -> bool:
    """Return whether a payload, which is written by orjson, has the key as a value or in a text."""
    return orjson.dumps(work.subject.key) in payload or work.subject.is_in_bytes(payload)
