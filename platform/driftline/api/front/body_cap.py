"""Ends a request whose body is too large before Django has stored it: Django itself keeps any body on disk first."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from driftline.base.errors import Problem
from driftline.base.http.problems import CONTENT_TYPE, problem_body
from driftline.base.http.uploads import MAX_BODY_BYTES, MAX_UPLOAD_BYTES
from driftline.base.ids import new_id

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SPARE_BYTES = 1 << 20  # for a form around a file, and for whoever reads a body to say so itself
PLAIN_CAP = MAX_BODY_BYTES + _SPARE_BYTES
UPLOAD_CAP = MAX_UPLOAD_BYTES + _SPARE_BYTES
UPLOADS = re.compile(
    r"(/api/v1|/p/[^/]+)?/models/[^/]+/(versions|reference|import|imports/(predictions|labels))"
    r"|/api/v1/runs/\d+/artifact"
)


class _BodyTooLarge(Exception):
    pass


def cap_bodies(application: App) -> App:
    """Answer 413 once a body, announced or streamed, is larger than its address takes."""

    async def capped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        cap = UPLOAD_CAP if UPLOADS.fullmatch(scope["path"]) else PLAIN_CAP
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > cap:
                raise _BodyTooLarge
            return message

        try:
            if _announced(scope) > cap:
                raise _BodyTooLarge
            await application(scope, counted, send)
        except _BodyTooLarge:
            await _refuse(send, cap)

    return capped


def _announced(scope: Scope) -> int:
    text: bytes = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(text[:18]) if text.isdigit() else 0


async def _refuse(send: Send, cap: int) -> None:
    problem = Problem(413, "body_too_large", f"The body is larger than {cap >> 20:,} MiB; send it in parts.")
    body = problem_body(problem, instance=new_id())
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
