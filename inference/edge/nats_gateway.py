"""Answers what devices ask over NATS by asking the web server, which lets them in and says what becomes of it.

A gateway adds no right: it passes on the routes of devices and inference with the token that the device sent. Any
number of gateways share the questions. `driftline_agent.server.nats_wire` says how a request is written.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import httpx
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, NoRespondersError

from driftline.base.http.uploads import MAX_BODY_BYTES
from driftline.base.keys.key_succession import KEY_HEADER
from driftline_agent.server.nats_wire import (
    DEVICE_INBOX,
    GATEWAY_INBOX,
    METHOD,
    MORE,
    PATH,
    STATUS,
    SUBJECT,
    TlsClient,
    connect,
    part_bytes,
)

log = logging.getLogger(__name__)

MAX_AT_ONCE, MAX_DOWNLOADS = 32, 16
"""Requests that the web server answers at once, and files beside them; others wait."""
MAX_WAITING = 256
MAX_HELD_BYTES = 128 << 20
"""Of all bodies together: beyond, devices are asked to come again."""
PART_SECONDS = 30.0
"""After which a device that has not asked for the next part is believed to be away."""
BODY_SECONDS = 120.0
ANSWER_SECONDS = 30.0
STOP_SECONDS = 20.0
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
    "idempotency-key",
    "if-none-match",
    "range",
    "user-agent",
    "accept-encoding",
    KEY_HEADER.lower(),
}
_RETURNED = {
    "content-type",
    "content-encoding",
    "content-range",
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
    """Connects one server of NATS with the web server at `driftline_url`.

    `authority` is a PEM file of who else than the system's authorities signed the certificate of that web server.
    """

    def __init__(
        self,
        server: NatsServer,
        driftline_url: str,
        *,
        authority: Path | None = None,
        pause_seconds: float = 0.5,
    ) -> None:
        self._server, self._pause = server, pause_seconds
        self._driftline_url, self._authority = driftline_url, authority
        self._slots, self._downloads = asyncio.Semaphore(MAX_AT_ONCE), asyncio.Semaphore(MAX_DOWNLOADS)
        self._held = _HeldBytes()
        self._tasks = set[asyncio.Task[None]]()

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop` is set, connecting anew whenever the connection ends."""
        pause = self._pause
        trusted = ssl.create_default_context()
        if self._authority is not None:
            trusted.load_verify_locations(self._authority)
        async with httpx.AsyncClient(
            base_url=self._driftline_url, timeout=ANSWER_SECONDS, verify=trusted, trust_env=False
        ) as web:
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
        """Answer over one connection until it ends, or `stop` is set and what had begun is answered."""
        ended, server = asyncio.Event(), self._server

        async def note_end() -> None:
            ended.set()

        client = await connect(
            server.url,
            server.user,
            server.password,
            name="driftline",
            inbox=GATEWAY_INBOX,
            authority=server.authority,
            on_end=note_end,
        )
        try:
            heard = await client.subscribe(SUBJECT, queue="driftline", cb=partial(self._begin, client, web))
            await client.flush()  # the server has said by then that it does not let us
            log.info("devices are heard over NATS")
            waits = [asyncio.create_task(one.wait()) for one in (stop, ended)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if not ended.is_set():
                await heard.drain()  # type: ignore[no-untyped-call]  # the next question goes to another gateway
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        finally:
            for task in self._tasks:  # there is no way back to who asked
                task.cancel()
            await client.close()

    async def _begin(self, client: TlsClient, web: httpx.AsyncClient, asked: Msg) -> None:
        """Answer a question beside the others, or refuse it where too many wait."""
        if not asked.reply.startswith(f"{DEVICE_INBOX}."):
            return  # the rights of this gateway reach further than those of who asks
        exchange = _Exchange(client, asked, self._held)
        if len(self._tasks) >= MAX_WAITING:
            await exchange.refuse(503)
            return
        task = asyncio.create_task(self._answer(exchange, web))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: "_Exchange", web: httpx.AsyncClient) -> None:
        try:
            async with exchange:
                await self._pass_on(exchange, web)
        except (Error, OSError, TimeoutError) as error:  # the device, or the connection, is away
            log.info("a device did not take its answer over NATS: %s", type(error).__name__)
        except Exception:
            log.exception("a question of a device over NATS could not be answered")

    async def _pass_on(self, exchange: "_Exchange", web: httpx.AsyncClient) -> None:
        """Read a request, have the web server answer it, and pass the answer on."""
        if not is_passed_on(exchange.method, exchange.path):
            await exchange.refuse(404)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await exchange.read_body()
        except _BodyRefused as refused:
            await exchange.refuse(refused.status)
            return
        slots = self._downloads if "/artifacts/" in exchange.path else self._slots
        async with asyncio.timeout(ANSWER_SECONDS):  # nobody waits for an answer any more after that
            await slots.acquire()
        try:
            await _ask(exchange, web, body)
        finally:
            slots.release()


async def _ask(exchange: "_Exchange", web: httpx.AsyncClient, body: bytes) -> None:
    headers = _only(exchange.headers, _FORWARDED)
    try:
        async with web.stream(
            exchange.method, exchange.path, headers=headers, content=body or None
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


class _BodyRefused(Exception):
    """A body is not read to its end; `status` is the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _HeldBytes:
    """How many bytes of bodies all exchanges hold together."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, count: int) -> None:
        self.total += count
        if self.total > MAX_HELD_BYTES:
            raise _BodyRefused(503)


class _Exchange:
    """One request with its answer: the parts of both that one device asks for."""

    def __init__(self, client: TlsClient, asked: Msg, held: _HeldBytes) -> None:
        self._client, self._asked = client, asked
        self._all_held, self._held = held, 0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self.headers: Mapping[str, str] = asked.headers or {}
        self.method, self.path = self.headers.get(METHOD, ""), self.headers.get(PATH, "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._all_held.total -= self._held
        if self._subscription is not None and self._client.is_connected:
            with suppress(Error):
                await self._subscription.unsubscribe()

    @property
    def part_bytes(self) -> int:
        return part_bytes(self._client)

    async def read_body(self) -> bytes:
        """Ask for the whole body; raises _BodyRefused for one that is longer than any may be, or does not grow."""
        body = bytearray()
        while True:
            self._held += len(self._asked.data)
            self._all_held.add(len(self._asked.data))
            body += self._asked.data
            if len(body) > MAX_BODY_BYTES:
                raise _BodyRefused(413)
            if MORE not in (self._asked.headers or {}):
                return bytes(body)
            if not self._asked.data:
                raise _BodyRefused(400)
            await self._reply_and_wait(b"", {MORE: "1"})

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
        if self._asked.reply.startswith(f"{DEVICE_INBOX}."):
            await self._client.publish(self._asked.reply, data, reply=reply_to, headers=headers or None)

    async def _reply_and_wait(self, data: bytes, headers: dict[str, str]) -> None:
        """Reply, and wait until the device asks for what comes next."""
        if self._subscription is None:
            self._inbox = self._client.new_inbox()
            self._subscription = await self._client.subscribe(self._inbox, pending_msgs_limit=2)
        await self._reply(data, headers, self._inbox)
        self._asked = await self._subscription.next_msg(PART_SECONDS)
        if "Status" in (self._asked.headers or {}):  # of NATS itself: nobody waits for the reply
            raise NoRespondersError
