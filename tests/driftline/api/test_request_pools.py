"""Requests run on threads that are kept, each alone on its own."""

import asyncio
import threading
from typing import Any

from asgiref.sync import sync_to_async

from driftline.api.body_cap import Receive, Scope, Send
from driftline.api.kept_threads import KEPT_THREADS, KeptThreads, keep_threads

SCOPE: Scope = {"type": "http", "path": "/"}


async def _nothing(*_: Any) -> Any:
    return {}


def test_one_request_after_another_runs_on_the_same_thread() -> None:
    seen: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await sync_to_async(threading.get_ident)())

    async def ask_thrice() -> None:
        kept = keep_threads(application, KeptThreads())
        for _ in range(3):
            await kept(SCOPE, _nothing, _nothing)

    asyncio.run(ask_thrice())

    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()


def test_requests_at_the_same_time_never_share_a_thread_however_many_they_are() -> None:
    many = 2 * KEPT_THREADS
    barrier = threading.Barrier(many, timeout=30)  # passes only when all requests are under way at once
    seen: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await sync_to_async(barrier.wait)()
        seen.append(await sync_to_async(threading.get_ident)())

    async def ask_at_once() -> None:
        kept = keep_threads(application, KeptThreads())
        await asyncio.gather(*(kept(SCOPE, _nothing, _nothing) for _ in range(many)))

    asyncio.run(ask_at_once())

    assert len(set(seen)) == many


def test_a_request_that_fails_gives_its_thread_back() -> None:
    seen: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await sync_to_async(threading.get_ident)())
        raise RuntimeError("broken")

    async def ask_twice() -> None:
        kept = keep_threads(application, KeptThreads())
        for _ in range(2):
            await asyncio.gather(kept(SCOPE, _nothing, _nothing), return_exceptions=True)

    asyncio.run(ask_twice())

    assert seen[0] == seen[1]
