"""Answers what programs log in one visit to a thread, through the middlewares that matter to them.

Django's ASGI handler goes to the thread and back for each signal, keeps the body in a file and runs what only pages
need: together that costs as much as storing two hundred predictions. The views are the same, and so are the answers.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import cast

from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import ResolverMatch, resolve
from django.utils.module_loading import import_string

from driftline.api.front.body_cap import App, Message, Receive, Scope, Send
from driftline.api.front.busy import refuse_busy
from driftline.api.front.request_pools import LOG_ROUTES, RequestPools, TooBusy
from driftline.base.database.watch import WATCH

MAX_BYTES = (
    4 << 20
)  # room for all rows of 30 numbers that Arrow may bring; more goes Django's way, into a file
_FOR_PAGES = (
    "driftline.web.middleware.static_files.StaticFiles",
    "driftline.web.middleware.admin_policy.AdminPolicy",
    "driftline.web.middleware.permissions_policy.PermissionsPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "driftline.base.http.identity.NotePerson",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
)  # a program has no session, and writing needs a token that no other site can send

type _Answer = Callable[[HttpRequest], HttpResponseBase]


def answer_log_routes(application: App, pools: RequestPools) -> App:
    """Answer requests that log something; all others, and those with a long body, are the application's."""
    answer = _chain()

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_ours(scope):
            await application(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return  # the client has gone
        thread = pools.thread_of(scope)
        try:
            await thread.take()
            loop = asyncio.get_running_loop()
            response = await loop.run_in_executor(thread, _answer, answer, scope, body)
        except TooBusy:
            await refuse_busy(scope, send)
            return
        finally:
            thread.give_back()
            pools.callers.note(scope)
        await _send(response, send)

    return answered


def _is_ours(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST" or not LOG_ROUTES.fullmatch(scope["path"]):
        return False
    if not scope["query_string"].isascii():
        return False  # Django knows how to refuse it
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return len(length) < 10 and length.isdigit() and int(length) <= MAX_BYTES


async def _read(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _answer(answer: _Answer, scope: Scope, body: bytes) -> HttpResponseBase:
    """Answer one request on its thread, whose database connection the signals look after."""
    signals.request_started.send(sender=answer_log_routes, scope=scope)
    with WATCH.request():
        response = answer(ASGIRequest(scope, BytesIO(body)))
    response.close()
    return response


def _chain() -> _Answer:
    answer = _guarded(_call_view)
    for name in reversed(settings.MIDDLEWARE):
        if name not in _FOR_PAGES:
            answer = _guarded(import_string(name)(answer))
    return answer


def _guarded(answer: _Answer) -> _Answer:
    """Answer whatever is raised as Django does; all of these are synchronous."""
    return cast(_Answer, convert_exception_to_response(answer))


def _call_view(request: HttpRequest) -> HttpResponseBase:
    request.resolver_match = match = _resolve(request.path_info)
    answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
    return answer


@lru_cache(maxsize=1024)
def _resolve(path: str) -> ResolverMatch:
    return resolve(path)


async def _send(response: HttpResponseBase, send: Send) -> None:
    assert isinstance(response, HttpResponse)  # these routes stream nothing
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    start: Message = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": response.content})
