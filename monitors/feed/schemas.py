"""What the API answers about events."""

from typing import Any, Self

from driftline.base.http.responses import ResponseBody, Time
from monitors.feed.models import FeedEvent


class FeedEventOut(ResponseBody, frozen=True):
    """One event. `event_id` is also that of the messages about it; `data` has the fields of its webhook's payload."""

    cursor: str
    event_id: str
    event: str
    at: Time
    model: str | None
    actor: str | None
    text: str
    url: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: FeedEvent) -> Self:
        return cls(
            cursor=str(event.number),
            event_id=event.event_id,
            event=event.kind,
            at=event.at,
            model=event.model.name if event.model else None,
            actor=event.actor or None,
            text=event.text,
            url=event.url,
            data=event.data,
        )


class FeedOut(ResponseBody, frozen=True):
    """Events in their order. `next` is what to send as `after` the next time, also where nothing is new; `more` says
    that there are more now."""

    items: list[FeedEventOut]
    next: str
    more: bool
