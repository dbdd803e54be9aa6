"""Summaries that were made elsewhere, over HTTP."""

import base64
import binascii
from typing import Annotated

from django.http import HttpRequest
from ninja import Router
from pydantic import Field, FiniteFloat

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import Scope
from driftline.base.clock import now
from driftline.base.errors import invalid
from driftline.base.http.bodies import Body, Moment
from inference.registry.selectors import get_model, get_version
from monitors.summaries.uploads.layout import fix_centres
from monitors.summaries.uploads.schemas import LayoutOut, SummaryBatchOut
from monitors.summaries.uploads.services import MAX_WINDOWS, SentWindow, add_batch

router = Router(tags=["predictions"])


class LayoutAsked(Body):
    version: str = Field(max_length=200)
    centres: dict[str, FiniteFloat] = Field(
        {}, max_length=10_000, description="of numbers that have none yet: any value of the column will do"
    )


class SentWindowBody(Body):
    version: str = Field(max_length=200)
    role: str = Field(max_length=20)
    hour: Moment = Field(description="the start of an hour in UTC")
    segment: str = Field("", max_length=200, description="feature:value; empty for all rows")
    summary: str = Field(description="an encoded WindowSummary, in base64")


class SummaryBatchBody(Body):
    batch: str = Field(
        min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", description="the id of the batch"
    )
    windows: Annotated[list[SentWindowBody], Field(min_length=1, max_length=MAX_WINDOWS)]


@router.post("/models/{name}/summaries/layout", auth=Scoped(Scope.LOG), response=LayoutOut)
def ask_for_layout(request: HttpRequest, name: str, body: LayoutAsked) -> LayoutOut:
    """Return how rows of a version are summarised, and fix the centres that no number of the model has had yet."""
    model = get_model(project=caller_of(request).project, name=name)
    version = get_version(model=model, version=body.version)
    return LayoutOut.of(fix_centres(model, version, body.centres))


@router.put("/models/{name}/summaries", auth=Scoped(Scope.LOG), response=SummaryBatchOut)
def add_summaries(request: HttpRequest, name: str, body: SummaryBatchBody) -> SummaryBatchOut:
    """Add windows that were summarised elsewhere as if their rows were logged; the same batch again adds nothing."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    batch, is_new = add_batch(
        model=model, name=body.batch, windows=sent_windows(body), actor=caller.actor, now=now()
    )
    return SummaryBatchOut.of(batch, is_new=is_new)


def sent_windows(body: SummaryBatchBody) -> list[SentWindow]:
    """Read the windows of a batch; raises Problem 422 for what is not base64."""
    return [_sent(place, window) for place, window in enumerate(body.windows)]


def _sent(place: int, window: SentWindowBody) -> SentWindow:
    try:
        summary = base64.b64decode(window.summary, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"/windows/{place}/summary", "This is not base64.", "invalid_encoding") from error
    return SentWindow(window.version, window.role, window.hour, window.segment, summary)
