"""Bounds how many requests Django runs at once in this process, by kind and by caller.

Each thread keeps a database connection, so the bound is also one of connections: without it a few hundred requests for
pages would take every connection that the database has. A request takes a thread when its body is there, and gives
it back when its answer is made, so that neither a slow sender nor a slow reader occupies one.
"""

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from asgiref.sync import ThreadSensitiveContext

from driftline.api.front.body_cap import UPLOADS, App, Message, Receive, Scope, Send
from driftline.api.front.busy import refuse_busy
from driftline.base.http.identity import IDENTITY

LOG_ROUTES = re.compile(r"/api/v1/models/[^/]+/(predictions|labels)")
THREAD = "driftline.thread"  # key of the scope: the thread of its request
UPLOAD_THREADS = 3
METRICS_THREADS = 1
THREADS_BESIDE = UPLOAD_THREADS + METRICS_THREADS + 2  # and those that look whether the database answers
MAX_CALLERS = 4096
CALLER_SECONDS = 600.0  # for which a caller stays known after its last authenticated request


class TooBusy(Exception):
    """No thread became free in time, or too many requests wait for one."""


@dataclass(frozen=True)
class PoolLimits:
    """How many requests of one kind run and wait; `threads_of_one` may be one caller's.

    `threads_of_unknown` are for all callers together who have not shown who they are.
    """

    threads: int
    threads_of_one: int
    threads_of_unknown: int
    max_waiting: int
    max_waiting_of_one: int
    wait_seconds: float


@dataclass(frozen=True)
class RequestCaller:
    """Who counts as one: a token or a person that was authenticated before, else what the request says it is."""

    name: str
    is_known: bool


class RequestPool:
    """Threads for one kind of request. It belongs to the event loop, which alone calls it."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._idle: list[ThreadPoolExecutor] = []
        self._running: Counter[str] = Counter()
        self._running_unknown = 0
        self._waiting: dict[RequestCaller, deque[asyncio.Future[ThreadPoolExecutor]]] = {}  # in turn

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return sum(map(len, self._waiting.values()))

    async def acquire(self, caller: RequestCaller) -> ThreadPoolExecutor:
        """Wait for a thread; raises TooBusy where none is free in time."""
        if caller not in self._waiting and self._may_run(caller):
            return self._start(caller)
        queue = self._waiting.get(caller, ())
        if self.waiting >= self._limits.max_waiting or len(queue) >= self._limits.max_waiting_of_one:
            raise TooBusy
        loop = asyncio.get_running_loop()
        thread: asyncio.Future[ThreadPoolExecutor] = loop.create_future()
        self._waiting.setdefault(caller, deque()).append(thread)
        timer = loop.call_later(self._limits.wait_seconds, self._give_up, caller, thread)
        try:
            return await thread
        except asyncio.CancelledError:
            if thread.done() and not thread.cancelled() and thread.exception() is None:
                self.release(caller, thread.result())
            else:
                self._remove(caller, thread)
            raise
        finally:
            timer.cancel()

    def release(self, caller: RequestCaller, thread: ThreadPoolExecutor) -> None:
        """Take an idle thread back, for the request that is next: callers take turns."""
        self._idle.append(thread)
        self._running[caller.name] -= 1
        if not self._running[caller.name]:
            del self._running[caller.name]
        self._running_unknown -= not caller.is_known
        while (next_caller := next(filter(self._may_run, self._waiting), None)) is not None:
            queue = self._waiting.pop(next_caller)
            waiter = queue.popleft()
            if queue:
                self._waiting[next_caller] = queue  # behind the others
            waiter.set_result(self._start(next_caller))

    def close(self) -> None:
        """End the idle threads."""
        for thread in self._idle:
            thread.shutdown()
        self._idle.clear()

    def _may_run(self, caller: RequestCaller) -> bool:
        limits = self._limits
        return (
            self._running.total() < limits.threads
            and self._running[caller.name] < limits.threads_of_one
            and (caller.is_known or self._running_unknown < limits.threads_of_unknown)
        )

    def _start(self, caller: RequestCaller) -> ThreadPoolExecutor:
        self._running[caller.name] += 1
        self._running_unknown += not caller.is_known
        return self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")

    def _give_up(self, caller: RequestCaller, thread: asyncio.Future[ThreadPoolExecutor]) -> None:
        if not thread.done():
            self._remove(caller, thread)
            thread.set_exception(TooBusy())

    def _remove(self, caller: RequestCaller, thread: asyncio.Future[ThreadPoolExecutor]) -> None:
        queue = self._waiting.get(caller)
        if queue is not None and thread in queue:
            queue.remove(thread)
            if not queue:
                del self._waiting[caller]


class RequestThread(Executor):
    """The thread of one request, from when its body is there until its answer is made."""

    def __init__(self, pool: RequestPool, caller: RequestCaller) -> None:
        self._pool, self._caller = pool, caller
        self._thread: ThreadPoolExecutor | None = None
        self._last: Future[Any] | None = None
        self.was_taken = False

    async def take(self) -> None:
        """Wait for a thread; raises TooBusy."""
        self.was_taken = True
        self._thread = await self._pool.acquire(self._caller)

    def submit[**P, Result](
        self, fn: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Result]:
        """Run a function on the thread; once that was given back, at once: only a closed answer is closed again."""
        if self._thread is not None:
            self._last = found = self._thread.submit(fn, *args, **kwargs)
            return found
        done: Future[Result] = Future()
        done.set_result(fn(*args, **kwargs))
        return done

    def give_back(self) -> None:
        """Release the thread as soon as it is idle: a request that was cut off may still run on it."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._last is None or self._last.done():
            self._pool.release(self._caller, thread)
            return
        loop = asyncio.get_running_loop()

        def release(_: Future[Any]) -> None:
            loop.call_soon_threadsafe(self._pool.release, self._caller, thread)

        self._last.add_done_callback(release)


class KnownCallers:
    """Who was authenticated lately, by the credential of the request.

    What a request merely claims is not believed: made-up tokens would each get a share of their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names: dict[bytes, tuple[str, float]] = {}

    def find(self, scope: Scope) -> RequestCaller:
        """Return who counts as the caller of a request."""
        credential = _credential(scope)
        name, until = self._names.get(credential, ("", 0.0))
        if name and until > self._clock():
            return RequestCaller(name, is_known=True)
        address = (scope.get("client") or ("",))[0]
        return RequestCaller(f"address {address}", is_known=False)

    def note(self, scope: Scope) -> None:
        """Remember whom a request turned out to be of."""
        name = scope.get(IDENTITY)
        if not name:
            return
        credential = _credential(scope)
        self._names.pop(credential, None)
        while len(self._names) >= MAX_CALLERS:
            self._names.pop(next(iter(self._names)))  # the one that was seen the longest ago
        self._names[credential] = name, self._clock() + CALLER_SECONDS


def _credential(scope: Scope) -> bytes:
    """Return a digest of what a request shows of its caller: its token, else its cookies."""
    headers = dict(scope.get("headers", ()))
    shown = headers.get(b"authorization") or headers.get(b"cookie", b"")
    return blake2b(shown, digest_size=16).digest()


class RequestPools:
    """The pools of one process. A flood of one kind of request leaves the others their threads."""

    def __init__(self, *, web_threads: int, log_threads: int) -> None:
        self.log = _pool(log_threads, max_waiting=256, wait_seconds=10.0)
        self._web = _pool(web_threads, max_waiting=64, wait_seconds=3.0)
        self._uploads = _pool(UPLOAD_THREADS, max_waiting=16, wait_seconds=30.0)
        self._metrics = _pool(METRICS_THREADS, max_waiting=16, wait_seconds=3.0)
        self.callers = KnownCallers()

    def thread_of(self, scope: Scope) -> RequestThread:
        """Assign a request its thread, which is still to be taken."""
        return RequestThread(self._pool_of(scope), self.callers.find(scope))

    def close(self) -> None:
        """End the idle threads."""
        for pool in (self.log, self._web, self._uploads, self._metrics):
            pool.close()

    def _pool_of(self, scope: Scope) -> RequestPool:
        path, is_post = scope["path"], scope["method"] == "POST"
        if is_post and LOG_ROUTES.fullmatch(path):
            return self.log
        if is_post and UPLOADS.fullmatch(path):
            return self._uploads
        return self._metrics if path == "/metrics" else self._web


def _pool(threads: int, *, max_waiting: int, wait_seconds: float) -> RequestPool:
    """Make a pool in which one caller gets three quarters of the threads, and all unknown ones a half."""
    return RequestPool(
        PoolLimits(
            threads=threads,
            threads_of_one=max(threads * 3 // 4, 1),
            threads_of_unknown=max(threads // 2, 1),
            max_waiting=max_waiting,
            max_waiting_of_one=max_waiting // 2,
            wait_seconds=wait_seconds,
        )
    )


def limit_requests(application: App, pools: RequestPools) -> App:
    """Limit an application to as many requests at once as the pools have threads, and refuse what waits too long."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        scope[THREAD] = thread = pools.thread_of(scope)

        async def received() -> Message:
            message = await receive()
            is_whole = message["type"] == "http.request" and not message.get("more_body", False)
            if is_whole and not thread.was_taken:
                await thread.take()
            return message

        try:
            async with ThreadSensitiveContext(executor=thread):
                await application(scope, received, send)
        except TooBusy:
            await refuse_busy(scope, send)
        finally:
            thread.give_back()
            pools.callers.note(scope)

    return limited
