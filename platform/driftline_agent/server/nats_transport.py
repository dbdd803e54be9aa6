"""Carries requests of HTTP over NATS, for devices that reach a server of NATS and no web server; see `nats_wire`."""

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

import httpx
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError

from driftline_agent.server.nats_wire import (
    CONNECT_SECONDS,
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

MAX_ANSWER_PARTS = 1 << 16
_LEFT_OUT = {"host", "connection", "content-length", "transfer-encoding"}
"""Headers of the way to a web server."""
Result = TypeVar("Result")


class NatsTransport(httpx.BaseTransport):
    """A connection to one server of NATS, made when it is needed; any number of threads may ask."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url, self._user, self._password = url, user, password
        self._loop = asyncio.new_event_loop()
        self._connecting = asyncio.Lock()
        self._client: TlsClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        seconds = float(request.extensions.get("timeout", {}).get("read") or CONNECT_SECONDS)
        headers = {name: value for name, value in request.headers.items() if name not in _LEFT_OUT}
        headers |= {METHOD: request.method, PATH: request.url.raw_path.decode("ascii")}
        opening = self._run(self._send(request.read(), headers, seconds), seconds)
        given = dict(opening.headers or {})
        try:
            status = int(given.pop(STATUS))
        except (KeyError, ValueError) as error:
            raise httpx.RemoteProtocolError("the answer over NATS has no status") from error
        given.pop(MORE, None)
        return httpx.Response(status, headers=given, stream=_Parts(self, opening, seconds))

    def ask_on(self, answer: Msg, seconds: float) -> Msg:
        """Ask for the part behind one of an answer."""
        part = self._run(self._ask(answer.reply, b"", None, seconds), seconds)
        if STATUS in (part.headers or {}):
            raise httpx.RemoteProtocolError("the answer over NATS broke off")
        return part

    async def _send(self, body: bytes, headers: dict[str, str], seconds: float) -> Msg:
        """Send a request part by part, and return the first part of its answer."""
        client = await asyncio.wait_for(self._connected(), seconds)
        size = part_bytes(client)
        subject = SUBJECT
        for start in range(0, max(len(body), 1), size):
            more = {MORE: "1"} if start + size < len(body) else {}
            answer = await self._ask(subject, body[start : start + size], headers | more, seconds)
            if more and MORE not in (answer.headers or {}):
                return answer  # a refusal, before the gateway had all of it
            subject, headers = answer.reply, {}
        return answer

    async def _ask(self, subject: str, payload: bytes, headers: dict[str, str] | None, seconds: float) -> Msg:
        if not subject.startswith((SUBJECT, f"{GATEWAY_INBOX}.")):
            raise httpx.RemoteProtocolError("the answer over NATS has no place to ask for its next part")
        client = await asyncio.wait_for(self._connected(), seconds)
        return await client.request(subject, payload, timeout=seconds, headers=headers or None)

    async def _connected(self) -> TlsClient:
        async with self._connecting:
            if self._client is None or not self._client.is_connected:
                await self._disconnect()
                self._client = await connect(
                    self._url, self._user, self._password, name="driftline-agent", inbox=_inbox_of(self._user)
                )
            return self._client

    async def _disconnect(self) -> None:
        if self._client is not None:
            with suppress(Error, OSError, TimeoutError):
                await asyncio.wait_for(self._client.close(), CONNECT_SECONDS)

    def _run(self, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
        """Do something in the thread of the connection; raises what httpx raises where a server is not reached."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except NoRespondersError as error:
            raise httpx.ConnectError("no gateway of Driftline answers on this server of NATS") from error
        except CancelledError as error:
            raise httpx.ConnectError("the connection was closed meanwhile") from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"nothing came over NATS within {seconds:.0f} s") from error
        except (Error, OSError) as error:
            raise httpx.ConnectError(f"{type(error).__name__}: {error}"[:200]) from error

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """End the questions that are under way, then the connection."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await self._disconnect()
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _inbox_of(user: str) -> str:
    """Return where answers come: each user of NATS has a place of its own, which others need no right to read."""
    return f"{DEVICE_INBOX}.{user}" if re.fullmatch(r"[\w-]+", user, re.ASCII) else DEVICE_INBOX


class _Parts(httpx.SyncByteStream):
    """The body of an answer, each part of which is asked for when it is read."""

    def __init__(self, transport: NatsTransport, opening: Msg, seconds: float) -> None:
        self._transport, self._opening, self._seconds = transport, opening, seconds

    def __iter__(self) -> Iterator[bytes]:
        part = self._opening
        yield part.data
        for _ in range(MAX_ANSWER_PARTS):
            if MORE not in (part.headers or {}):
                return
            part = self._transport.ask_on(part, self._seconds)
            yield part.data
        raise httpx.ReadError("the answer over NATS does not end")
