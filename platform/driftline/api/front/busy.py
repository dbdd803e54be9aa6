"""Refuses requests that there is no room for: problem details for programs, a page for people."""

from functools import cache

from django.template.loader import render_to_string

from driftline.api.front.body_cap import Scope, Send
from driftline.base.errors import Problem
from driftline.base.http.problems import CONTENT_TYPE, is_path_for_programs, problem_body
from driftline.base.ids import new_id

RETRY_SECONDS = 2


async def refuse_busy(scope: Scope, send: Send) -> None:
    """Answer 503 with Retry-After; neither Django nor the database takes part."""
    if is_path_for_programs(scope["path"]):
        detail = "Too many requests are under way here; nothing was stored. Send it again in a moment."
        problem = Problem(503, "too_busy", detail, retry_after=RETRY_SECONDS)
        body, kind = problem_body(problem, instance=new_id()), CONTENT_TYPE
    else:
        body, kind = _page(), "text/html; charset=utf-8"
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(RETRY_SECONDS).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


@cache
def _page() -> bytes:
    return render_to_string("503.html").encode()
