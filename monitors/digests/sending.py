"""Sends the digests that are due."""

import logging
import smtplib
from datetime import datetime

from django.db import transaction

from driftline.base.periods import Period
from monitors.digests.content import sections_of
from monitors.digests.letter import compose
from monitors.digests.models import Digest
from monitors.digests.schedule import last_due

log = logging.getLogger(__name__)


def send_due_digests(now: datetime) -> int:
    """Send each digest that is due, and return how many were sent; what fails is tried at the next tick.

    A worker holds a digest's row while it sends, so no other sends it. Where one dies between sending and noting, it is
    sent again, under the same Message-ID.
    """
    sent = 0
    for pk in Digest.objects.filter(user__is_active=True).order_by("pk").values_list("pk", flat=True):
        try:
            sent += _send_if_due(pk, now)
        except (smtplib.SMTPException, OSError):
            log.warning("a digest could not be sent", extra={"digest": pk}, exc_info=True)
    return sent


@transaction.atomic
def _send_if_due(pk: int, now: datetime) -> bool:
    """Send a digest that is due and has something to say; what it covers is not said again either way."""
    digests = Digest.objects.select_for_update(of=("self",), skip_locked=True).select_related("user")
    digest = digests.filter(pk=pk).first()
    if digest is None:
        return False  # another worker sends it, or it was ended
    due = last_due(
        now,
        is_weekly=digest.every == Digest.Every.WEEK,
        weekday=digest.weekday,
        hour=digest.hour,
        zone=digest.zone,
    )
    if due <= digest.covered_until:
        return False
    period = Period(digest.covered_until, due)
    projects = digest.user.projects.filter(archived_at=None).order_by("name", "pk")
    found = [(project, sections) for project in projects if (sections := sections_of(project, period))]
    if found:
        compose(digest, found, period).send()
    digest.covered_until = due
    digest.save(update_fields=["covered_until"])
    return bool(found)
