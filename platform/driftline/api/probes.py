"""Answers /healthz and /readyz in front of Django, however busy it is.

/healthz looks at nothing. /readyz is looked up once a second, whoever asks and however often, and has an end: what did
not answer by then is named.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import orjson

from driftline.api.body_cap import App, Receive, Scope, Send

type Checks = dict[str, str]

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.5
NO_ANSWER = "no answer"


class Check:
    """One thing to look at, by one thread: a look that stands still is not joined by others."""

    def __init__(self, look: Callable[[], Checks], names: tuple[str, ...]) -> None:
        self._look, self._names = look, names
        self._thread = ThreadPoolExecutor(1, "probe")
        self._under_way: Future[Checks] | None = None

    async def run(self, seconds: float) -> Checks:
        """Look, for so long at most."""
        if self._under_way is None:
            self._under_way = self._thread.submit(self._look)
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
        """Look by `checks`; `judge` makes a status and a body of what they found."""
        self._checks, self._judge, self._clock = checks, judge, clock
        self._found: tuple[int, bytes] = 503, b""
        self._found_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def find(self) -> tuple[int, bytes]:
        """Give status and body; whoever asks while somebody looks gets what is found."""
        if self._clock() - self._found_at >= FRESH_SECONDS:
            if self._looking is None:
                self._looking = asyncio.ensure_future(self._look())
            await asyncio.shield(self._looking)
        return self._found

    async def _look(self) -> None:
        try:
            found: Checks = {}
            for part in await asyncio.gather(*(check.run(PATIENCE_SECONDS) for check in self._checks)):
                found |= part
            status, body = self._judge(dict(sorted(found.items())))
            self._found, self._found_at = (status, orjson.dumps(body)), self._clock()
        finally:
            self._looking = None


def answer_probes(application: App, readiness: Readiness) -> App:
    """Answer whether the process lives and is ready; everything else is the application's."""
    alive = orjson.dumps({"status": "ok"})

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path not in ("/healthz", "/readyz") or scope.get("method") not in ("GET", "HEAD"):
            await application(scope, receive, send)
            return
        status, body = (200, alive) if path == "/healthz" else await readiness.find()
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
