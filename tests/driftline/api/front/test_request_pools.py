"""Requests of Django run on a bounded number of threads, which callers share fairly."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async

from driftline.api.front.body_cap import App, Message, Receive, Scope, Send
from driftline.api.front.request_pools import (
    CALLER_SECONDS,
    KnownCallers,
    PoolLimits,
    RequestCaller,
    RequestPool,
    RequestPools,
    TooBusy,
    limit_requests,
)
from driftline.base.http.identity import IDENTITY

ADA, BOB = RequestCaller("person 1", is_known=True), RequestCaller("person 2", is_known=True)
STRANGER, OTHER_STRANGER = RequestCaller("address 1", is_known=False), RequestCaller("address 2", False)


def scope_of(path: str = "/models", method: str = "GET", **headers: str) -> Scope:
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "method": method, "headers": named, "client": ("127.0.0.1", 1)}


async def whole_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture
def pools() -> Iterator[RequestPools]:
    made = RequestPools(web_threads=2, log_threads=2)
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[RequestPool]:
    made = RequestPool(
        PoolLimits(
            threads=3,
            threads_of_one=2,
            threads_of_unknown=1,
            max_waiting=4,
            max_waiting_of_one=3,
            wait_seconds=60.0,
        )
    )
    yield made
    made.close()


async def ask(application: App, scope: Scope, receive: Receive = whole_body) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent


async def settle() -> None:
    """Let what can run in the event loop run."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestLimitRequests:
    def test_runs_one_request_after_another_on_the_same_thread(self, pools: RequestPools) -> None:
        seen: list[int] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            seen.append(await sync_to_async(threading.get_ident)())

        async def ask_thrice() -> None:
            for _ in range(3):
                await ask(limit_requests(application, pools), scope_of())

        asyncio.run(ask_thrice())

        assert len(set(seen)) == 1
        assert seen[0] != threading.get_ident()

    def test_never_runs_more_at_once_than_there_are_threads(self, pools: RequestPools) -> None:
        lock, running, most = threading.Lock(), 0, 0
        pair = threading.Barrier(2, timeout=60)  # passes when two run at once

        def run() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            pair.wait()
            with lock:
                running -= 1

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await sync_to_async(run)()

        async def ask_at_once() -> None:
            limited = limit_requests(application, pools)
            scopes = [scope_of(authorization=f"{place}") for place in range(20)]
            for place, scope in enumerate(scopes):
                pools.callers.note(scope | {IDENTITY: f"token {place}"})
            await asyncio.gather(*(ask(limited, scope) for scope in scopes))

        asyncio.run(ask_at_once())

        assert most == 2

    def test_gives_the_thread_of_a_request_that_fails_back(self, pools: RequestPools) -> None:
        seen: list[int] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            seen.append(await sync_to_async(threading.get_ident)())
            raise RuntimeError("broken")

        async def ask_twice() -> None:
            for _ in range(2):
                with pytest.raises(RuntimeError, match="broken"):
                    await ask(limit_requests(application, pools), scope_of())

        asyncio.run(ask_twice())

        assert seen[0] == seen[1]

    def test_lets_a_slow_sender_occupy_no_thread(self, pools: RequestPools) -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass
            await sync_to_async(answered.append)(scope["path"])

        answered: list[str] = []

        async def ask_behind_slow_ones() -> None:
            rest = asyncio.Event()

            async def slowly() -> Message:
                if not rest.is_set():
                    await rest.wait()
                return await whole_body()

            limited = limit_requests(application, pools)
            slow = [asyncio.ensure_future(ask(limited, scope_of("/slow"), slowly)) for _ in range(10)]
            await settle()
            await ask(limited, scope_of("/quick"))
            rest.set()
            await asyncio.gather(*slow)

        asyncio.run(ask_behind_slow_ones())

        assert answered[0] == "/quick"
        assert len(answered) == 11

    @pytest.mark.parametrize(
        ("path", "kind"), [("/api/v1/models", "application/problem+json"), ("/models", "text/html")]
    )
    def test_says_when_to_come_again_to_those_that_it_has_no_room_for(
        self, pools: RequestPools, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
    ) -> None:
        async def busy(*_: Any) -> None:
            raise TooBusy

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()

        monkeypatch.setattr(RequestPool, "acquire", busy)

        start, end = asyncio.run(ask(limit_requests(application, pools), scope_of(path)))

        told = {name.decode(): value.decode() for name, value in start["headers"]}
        assert (start["status"], told["retry-after"]) == (503, "2")
        assert told["content-type"].startswith(kind)
        if kind.endswith("json"):
            assert orjson.loads(end["body"])["code"] == "too_busy"
        else:
            assert b"<h1>The server is busy</h1>" in end["body"]

    def test_leaves_logging_its_threads_while_pages_take_all_of_theirs(self, pools: RequestPools) -> None:
        started, end = threading.Semaphore(0), threading.Event()

        def run(path: str) -> str:
            if path == "/models":
                started.release()
                end.wait(60)
            return path

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            answered.append(await sync_to_async(run)(scope["path"]))

        answered: list[str] = []

        async def log_beside_pages() -> None:
            limited = limit_requests(application, pools)
            pages = [asyncio.ensure_future(ask(limited, scope_of("/models"))) for _ in range(8)]
            await asyncio.to_thread(started.acquire)
            await ask(limited, scope_of("/api/v1/models/m/predictions", "POST"))
            end.set()
            await asyncio.gather(*pages)

        asyncio.run(log_beside_pages())

        assert answered[0] == "/api/v1/models/m/predictions"


def in_loop(story: Callable[[], Awaitable[None]]) -> None:
    async def told() -> None:
        await story()

    asyncio.run(told())


class TestRequestPool:
    def test_keeps_a_share_for_others_than_the_busiest_caller(self, pool: RequestPool) -> None:
        async def story() -> None:
            first, second = await pool.acquire(ADA), await pool.acquire(ADA)
            third = asyncio.ensure_future(pool.acquire(ADA))
            await settle()
            assert not third.done()

            bobs = await asyncio.wait_for(pool.acquire(BOB), 60)

            pool.release(ADA, first)
            for thread in (second, await third):
                pool.release(ADA, thread)
            pool.release(BOB, bobs)

        in_loop(story)

    def test_counts_all_strangers_together(self, pool: RequestPool) -> None:
        async def story() -> None:
            strangers = await pool.acquire(STRANGER)
            other = asyncio.ensure_future(pool.acquire(OTHER_STRANGER))
            await settle()
            assert not other.done()

            known = await asyncio.wait_for(pool.acquire(ADA), 60)
            pool.release(STRANGER, strangers)

            pool.release(OTHER_STRANGER, await other)
            pool.release(ADA, known)

        in_loop(story)

    def test_takes_callers_in_turn(self, pool: RequestPool) -> None:
        async def story() -> None:
            held = [(ADA, await pool.acquire(ADA)), (ADA, await pool.acquire(ADA))]
            held.append((BOB, await pool.acquire(BOB)))
            order: list[str] = []

            async def wait(caller: RequestCaller) -> None:
                thread = await pool.acquire(caller)
                order.append(caller.name)
                pool.release(caller, thread)

            waiting = [asyncio.ensure_future(wait(caller)) for caller in (ADA, ADA, ADA, BOB)]
            await settle()
            for caller, thread in held:
                pool.release(caller, thread)
            await asyncio.gather(*waiting)

            assert order.index(BOB.name) < 3

        in_loop(story)

    def test_refuses_more_who_wait_than_it_may_hold(self, pool: RequestPool) -> None:
        async def story() -> None:
            held = [await pool.acquire(ADA), await pool.acquire(ADA)]
            waiting = [asyncio.ensure_future(pool.acquire(ADA)) for _ in range(3)]
            await settle()

            with pytest.raises(TooBusy):
                await pool.acquire(ADA)

            for thread in held:
                pool.release(ADA, thread)
            for waiter in waiting:
                pool.release(ADA, await waiter)

        in_loop(story)

    def test_refuses_who_waited_too_long(self) -> None:
        limits = PoolLimits(1, 1, 1, max_waiting=9, max_waiting_of_one=9, wait_seconds=0.01)
        pool = RequestPool(limits)

        async def story() -> None:
            held = await pool.acquire(ADA)
            with pytest.raises(TooBusy):
                await pool.acquire(BOB)
            assert pool.waiting == 0
            pool.release(ADA, held)

        in_loop(story)
        pool.close()

    def test_forgets_who_gave_up(self, pool: RequestPool) -> None:
        async def story() -> None:
            held = [await pool.acquire(ADA), await pool.acquire(ADA)]
            given_up = asyncio.ensure_future(pool.acquire(ADA))
            await settle()
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)

            assert pool.waiting == 0

            for thread in held:
                pool.release(ADA, thread)

        in_loop(story)


class TestKnownCallers:
    def test_believes_who_was_authenticated_only(self) -> None:
        moment = 0.0
        callers = KnownCallers(lambda: moment)
        scope = scope_of(authorization="Bearer dl_a")
        claimed = callers.find(scope)

        callers.note(scope)  # nobody found out who it was
        still_claimed = callers.find(scope)
        scope[IDENTITY] = "token dl_a"
        callers.note(scope)
        found = callers.find(scope_of(authorization="Bearer dl_a"))
        moment = CALLER_SECONDS + 1
        forgotten = callers.find(scope)

        assert claimed == still_claimed == forgotten == RequestCaller("address 127.0.0.1", is_known=False)
        assert found == RequestCaller("token dl_a", is_known=True)

    def test_counts_the_sessions_of_one_person_together(self) -> None:
        callers = KnownCallers()
        for cookie in ("sessionid=a", "sessionid=b"):
            callers.note(scope_of(cookie=cookie) | {IDENTITY: "person 1"})

        found = {callers.find(scope_of(cookie=cookie)) for cookie in ("sessionid=a", "sessionid=b")}

        assert found == {ADA}
