"""Writes of the feed: events, and their places in it.

Keys are given when a row is written, and transactions commit in another order: a reader who has seen event 7 would
never see 6, if that one commits later. So the place of an event in the feed is a number of its own, given after its
commit. Whoever reads the feed gives numbers to all events that can be seen and have none, alone, under a lock that is
held until this is committed. So numbers appear in order: once a reader has seen one, no smaller one can appear. They
come from a sequence, so none is given twice, also where events were deleted; a gap means nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from driftline.base.accounts.models import Project
from driftline.base.ids import new_id
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from inference.registry.models import Model
from monitors.feed.models import TEXT_LENGTH, FeedEvent
from monitors.feed.signals import event_recorded

KEPT = timedelta(days=90)
_NUMBER = """
UPDATE monitors_feedevent e SET number = numbered.number
FROM (
    SELECT id, nextval('monitors_feed_number') AS number
    FROM (SELECT id FROM monitors_feedevent WHERE number IS NULL ORDER BY id) waiting
) numbered
WHERE e.id = numbered.id
"""


def record_event(
    *,
    project: Project,
    kind: str,
    subject: str,
    text: str,
    model: Model | None = None,
    actor: str = "",
    path: str = "",
    facts: Sequence[tuple[str, str]] = (),
    data: dict[str, Any] | None = None,
) -> FeedEvent:
    """Add an event in the caller's transaction, with the messages about it."""
    event = FeedEvent.objects.create(
        project=project,
        model=model,
        kind=kind,
        event_id=f"evt_{new_id().replace('-', '')}",
        subject=subject,
        actor=actor[:200],
        text=_one_line(text)[:TEXT_LENGTH],
        path=path[:300],
        facts=[[name, _one_line(value)] for name, value in facts],
        data=data or {},
    )
    event_recorded.send(sender=FeedEvent, event=event)
    return event


def number_events() -> None:
    """Assign the next place in the feed to each event that is committed and has none."""
    if not FeedEvent.objects.filter(number=None).exists():
        return
    with transaction.atomic():
        lock(AdvisoryLock.FEED)
        with connection.cursor() as cursor:
            cursor.execute(_NUMBER)


def forget_old_events(now: datetime) -> None:
    """Delete events that are older than `KEPT`; a cursor that is older goes on with the oldest one left."""
    FeedEvent.objects.filter(at__lt=now - KEPT).delete()


def _one_line(text: str) -> str:
    """Fold line breaks and other control characters, which headers must not hold, into spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
