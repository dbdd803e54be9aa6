"""The feed over HTTP."""

from django.http import HttpRequest
from ninja.params.functions import Query

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import Scope
from driftline.base.http.paging import MAX_PAGE_SIZE, PAGE_SIZE
from driftline.base.http.request_values import refuse_parameter
from driftline.base.strict_json import printable
from inference.prediction_log.events.api import (
    router as router,  # halves of events are posted to the same path
)
from monitors.feed.schemas import FeedEventOut, FeedOut
from monitors.feed.selectors import events_after

MAX_NUMBER = 2**63 - 1


@router.get("/events", auth=Scoped(Scope.READ), response=FeedOut, tags=["alerts"])
def read_events(
    request: HttpRequest,
    after: str = Query("", max_length=40, description="the cursor of an event, or `next` of an answer"),
    kind: str = Query("", max_length=400, description="kinds with commas between them; empty: all"),
    limit: int = PAGE_SIZE,
) -> FeedOut:
    """Read what happened in the project, oldest first: incidents, runs, deployments, versions, references, channels.

    Send `next` as `after` to go on; nothing is skipped, whichever order transactions commit in. Events are kept for 90
    days.
    """
    if after and not (after.isascii() and after.isdecimal() and int(after) <= MAX_NUMBER):
        raise refuse_parameter(
            "after", f"after is '{printable(after)}'; send a cursor as it came, or leave it out."
        )
    if not 1 <= limit <= MAX_PAGE_SIZE:
        raise refuse_parameter("limit", f"limit is {limit}; use a whole number from 1 to {MAX_PAGE_SIZE:,}.")
    found, more = events_after(
        project=caller_of(request).project,
        number=int(after or 0),
        limit=limit,
        kinds=[one.strip() for one in kind.split(",") if one.strip()],
    )
    items = [FeedEventOut.of(event) for event in found]
    return FeedOut(items=items, next=items[-1].cursor if items else after, more=more)
