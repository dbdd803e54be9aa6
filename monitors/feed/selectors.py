"""Reads of the feed."""

from collections.abc import Collection

from driftline.base.accounts.models import Project
from monitors.feed.models import FeedEvent
from monitors.feed.services import number_events


def events_after(
    *, project: Project, number: int, limit: int, kinds: Collection[str] = ()
) -> tuple[list[FeedEvent], bool]:
    """List a project's events after a place in the feed, in their order, and whether there are more."""
    number_events()
    rows = FeedEvent.objects.filter(project=project, number__gt=number).select_related("project", "model")
    if kinds:
        rows = rows.filter(kind__in=kinds)
    found = list(rows.order_by("number")[: limit + 1])
    return found[:limit], len(found) > limit
