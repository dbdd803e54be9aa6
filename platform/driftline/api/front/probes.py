"""Answers /healthz and /readyz in front of Django, however busy it is.

/healthz checks nothing. /readyz runs its checks at most once a second, however often it is asked, and has a time limit:
it names what did not answer by then.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import orjson

from driftline.api.front.body_cap import App, Receive, Scope, Send

type Checks = dict[str, str]

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.5
NO_ANSWER = "no answer"


class Check:
    """One check, run by a thread of its own: while it hangs, no second one is started."""

    def __init__(self, check: Callable[[], Checks], names: tuple[str, ...]) -> None:
        self._check, self._names = check, names
        self._thread = ThreadPoolExecutor(1, "probe")
        self._under_way: Future[Checks] | None = None

    async def run(self, seconds: float) -> Checks:
        """Return the result; after `seconds` without one, `NO_ANSWER` for each name."""
        if self._under_way is None:
            self._under_way = self._thread.submit(self._check)
        answer = asyncio.wrap_future(self._under_way)
        done, _ = await asyncio.wait({answer}, timeout=seconds)
        if not done:
            return dict.fromkeys(self._names, NO_ANSWER)
        self._under_way = None
        return answer.result()

    def close(self) -> None:
        self._thread.shutdown()


class Readiness:
    """What /readyz answers, remembered for a second."""

    def __init__(
        self,
        checks: Sequence[Check],
        judge: Callable[[Checks], tuple[int, object]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Run `checks`; `judge` makes a status and a body of their results."""
        self._checks, self._judge, self._clock = checks, judge, clock
        self._answer: tuple[int, bytes] = 503, b""
        self._answered_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body; who asks while the checks run gets their result."""
        if self._clock() - self._answered_at >= FRESH_SECONDS:
            if self._running is None:
                self._running = asyncio.ensure_future(self._run())
            await asyncio.shield(self._running)
        return self._answer

    async def _run(self) -> None:
        try:
            results: Checks = {}
            for part in await asyncio.gather(*(check.run(PATIENCE_SECONDS) for check in self._checks)):
                results |= part
            status, body = self._judge(dict(sorted(results.items())))
            self._answer, self._answered_at = (status, orjson.dumps(body)), self._clock()
        finally:
            self._running = None


def answer_probes(application: App, readiness: Readiness) -> App:
    """Answer whether the process lives and is ready; everything else is the application's."""
    alive = orjson.dumps({"status": "ok"})

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path not in ("/healthz", "/readyz") or scope.get("method") not in ("GET", "HEAD"):
            await application(scope, receive, send)
            return
        status, body = (200, alive) if path == "/healthz" else await readiness.answer()
        await _send(scope, send, status, body)

    return answered


_FIELDS: Mapping[bytes, bytes] = {
    b"content-type": b"application/json",
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
}


async def _send(scope: Scope, send: Send, status: int, body: bytes) -> None:
    headers = [*_FIELDS.items(), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
