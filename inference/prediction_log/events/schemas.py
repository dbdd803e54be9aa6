"""What the API answers to an event."""

from typing import Literal

from driftline.base.http.responses import ResponseBody


class WaitingEventOut(ResponseBody, frozen=True):
    """An event that waits for its other half."""

    id: str
    status: Literal["waiting"]


class LoggedEventOut(ResponseBody, frozen=True):
    """An event that came whole, and how many rows of it were new."""

    id: str
    status: Literal["accepted", "duplicate"]
    accepted: int
    duplicates: int
