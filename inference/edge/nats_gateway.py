"""Answers what devices ask over NATS by asking the web server, which lets them in and says what becomes of it.

A gateway adds no right: it passes on the routes of devices and inference with the token that the device sent. Any
number of gateways share the questions. `driftline_agent.nats_wire` says how a request is written.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from driftline.common.key_succession import KEY_HEADER
from driftline.common.uploads import MAX_BODY_BYTES
from driftline_agent.nats_wire import METHOD, MORE, PATH, STATUS, SUBJECT, TlsClient, connect, part_bytes

log = logging.getLogger(__name__)

MAX_AT_ONCE = 32  # requests; others wait, or are asked again
MAX_WAITING = 256
PART_SECONDS = 30.0
"""After which a device that has not asked for the next part is believed to be away."""
ANSWER_SECONDS = 30.0
MAX_PAUSE_SECONDS = 10.0
_OPEN = {
    "GET": re.compile(r"/api/v1/devices/self/(assignment|key-successions|artifacts/[0-9a-f]{64})"),
    "POST": re.compile(
        r"/api/v1/devices/(enrol|self/(status|rows|summaries/layout))|/v2/models/[\w.%~-]+/infer", re.ASCII
    ),
    "PUT": re.compile(r"/api/v1/devices/self/summaries"),
}
"""What devices ask for; another path is answered with 404."""
_FORWARDED = {
    "authorization",
    "content-type",
    "content-encoding",
    "if-none-match",
    "user-agent",
    "accept-encoding",
    KEY_HEADER.lower(),
}
_RETURNED = {
    "content-type",
    "content-encoding",
    "date",
    "etag",
    "retry-after",
    "driftline-prediction-id",
}


@dataclass(frozen=True)
class NatsServer:
    """Where it is, tls:// or on this machine nats://, who signs in, and a PEM file of who signed its certificate."""

    url: str
    user: str = ""
    password: str = ""
    authority: Path | None = None


class DeviceGateway:
    """Connects one server of NATS with the web server at `driftline_url`."""

    def __init__(self, server: NatsServer, driftline_url: str, *, pause_seconds: float = 0.5) -> None:
        self._server, self._pause = server, pause_seconds
        self._driftline_url = driftline_url
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._tasks = set[asyncio.Task[None]]()

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop` is set, connecting anew whenever the connection ends."""
        pause = self._pause
        async with httpx.AsyncClient(base_url=self._driftline_url, timeout=ANSWER_SECONDS) as web:
            while not stop.is_set():
                try:
                    await self._serve(web, stop)
                    pause = self._pause
                except (Error, OSError) as error:
                    log.warning("devices are not heard over NATS: %s", str(error) or type(error).__name__)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _serve(self, web: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """Answer over one connection; returns once that has ended, and every answer that had begun."""
        ended, server = asyncio.Event(), self._server

        async def note_end() -> None:
            ended.set()

        client = await connect(
            server.url,
            server.user,
            server.password,
            name="driftline",
            authority=server.authority,
            on_end=note_end,
        )
        try:
            await client.subscribe(SUBJECT, queue="driftline", cb=partial(self._begin, client, web))
            log.info("devices are heard over NATS")
            waits = [asyncio.create_task(one.wait()) for one in (stop, ended)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=ANSWER_SECONDS)
        finally:
            await client.close()

    async def _begin(self, client: TlsClient, web: httpx.AsyncClient, asked: Msg) -> None:
        """Answer a question beside the others, or refuse it where too many wait."""
        if len(self._tasks) >= MAX_WAITING:
            await _Exchange(client, asked).refuse(503)
            return
        task = asyncio.create_task(self._answer(client, web, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, client: TlsClient, web: httpx.AsyncClient, asked: Msg) -> None:
        async with self._slots:
            try:
                async with _Exchange(client, asked) as exchange:
                    await _pass_on(exchange, web)
            except (Error, OSError, TimeoutError) as error:  # the device, or the connection, is away
                log.info("a device did not take its answer over NATS: %s", type(error).__name__)
            except Exception:
                log.exception("a question of a device over NATS could not be answered")


async def _pass_on(exchange: "_Exchange", web: httpx.AsyncClient) -> None:
    """Read a request, have the web server answer it, and pass the answer on."""
    method, path, headers = exchange.method, exchange.path, exchange.headers
    if not is_passed_on(method, path):
        await exchange.refuse(404)
        return
    body = await exchange.read_body()
    if body is None:
        await exchange.refuse(413)
        return
    try:
        async with web.stream(
            method, path, headers=_only(headers, _FORWARDED), content=body or None
        ) as answer:
            parts = answer.aiter_raw(exchange.part_bytes)
            await exchange.answer(answer.status_code, _only(answer.headers, _RETURNED), parts)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("the web server does not answer a device: %s", type(error).__name__)
        await exchange.refuse(502)


def is_passed_on(method: str, path: str) -> bool:
    """Return whether a device may ask for this; the web server decides then whether this one may."""
    allowed = _OPEN.get(method)
    return allowed is not None and allowed.fullmatch(path) is not None


def _only(headers: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() in names}


class _Exchange:
    """One request with its answer: the parts of both that one device asks for."""

    def __init__(self, client: TlsClient, asked: Msg) -> None:
        self._client, self._asked = client, asked
        self._inbox = ""
        self._subscription: Subscription | None = None
        self.headers: Mapping[str, str] = asked.headers or {}
        self.method, self.path = self.headers.get(METHOD, ""), self.headers.get(PATH, "")

    async def __aenter__(self) -> "_Exchange":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            with suppress(Error):
                await self._subscription.unsubscribe()

    @property
    def part_bytes(self) -> int:
        return part_bytes(self._client)

    async def read_body(self) -> bytes | None:
        """Ask for the whole body; None where it is longer than one may be."""
        body = bytearray(self._asked.data)
        while MORE in (self._asked.headers or {}):
            if len(body) > MAX_BODY_BYTES:
                return None
            await self._reply_and_wait(b"", {MORE: "1"})
            body += self._asked.data
        return bytes(body)

    async def answer(self, status: int, headers: dict[str, str], parts: AsyncIterator[bytes]) -> None:
        """Send an answer part by part, as the device asks for them."""
        part, extra = await anext(parts, b""), {STATUS: str(status), **headers}
        async for following in parts:
            await self._reply_and_wait(part, {**extra, MORE: "1"})
            part, extra = following, {}
        await self._reply(part, extra)

    async def refuse(self, status: int) -> None:
        """Answer with a status alone, which no agent takes for a word of Driftline's."""
        await self._reply(b"", {STATUS: str(status)})

    async def _reply(self, data: bytes, headers: dict[str, str], reply_to: str = "") -> None:
        if self._asked.reply:
            await self._client.publish(self._asked.reply, data, reply=reply_to, headers=headers or None)

    async def _reply_and_wait(self, data: bytes, headers: dict[str, str]) -> None:
        """Reply, and wait until the device asks for what comes next."""
        if self._subscription is None:
            self._inbox = self._client.new_inbox()
            self._subscription = await self._client.subscribe(self._inbox, pending_msgs_limit=2)
        await self._reply(data, headers, self._inbox)
        self._asked = await self._subscription.next_msg(PART_SECONDS)
