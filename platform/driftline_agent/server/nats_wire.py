"""How requests of HTTP go over NATS, on which the agent and the gateway of the server agree.

A request is a question to `SUBJECT`: its headers are those of HTTP beside `METHOD` and `PATH`, its payload the body.
The answer has `STATUS` among its headers and the body as payload. What is longer comes in parts: a message with `MORE`
has more behind it, and the next question goes where the last answer says that it wants a reply. So only the device
asks, and nobody sends faster than the other takes.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error

log = logging.getLogger("driftline_agent")

SUBJECT = "driftline.devices"
DEVICE_INBOX, GATEWAY_INBOX = "_INBOX", "driftline.parts"
"""Where devices and gateways are answered, each below a name of its own."""
METHOD, PATH, STATUS, MORE = "Driftline-Method", "Driftline-Path", "Driftline-Status", "Driftline-More"
MAX_PART_BYTES = 512 << 10
"""A server of NATS takes messages of a MiB by default; headers count."""
CONNECT_SECONDS = 5
PING_SECONDS = 5
"""A connection that answers no two pings is dropped, such as one of which a router has forgotten."""


class NotEncrypted(Error):
    """The server does not ask for TLS."""

    def __str__(self) -> str:
        return "the server of NATS does not ask for TLS, and nothing is sent to it without"


class TlsClient(Client):
    """A client that signs in over TLS alone where `needs_tls` says so: the library believes a server without.

    A message that nobody can read is dropped, and a connection that is not read any more ends: the library would leave
    it open and hear nothing.
    """

    needs_tls = True

    async def _process_info(self, info: dict[str, object], initial_connection: bool = False) -> None:
        if self.needs_tls and not info.get("tls_required"):
            raise NotEncrypted
        await super()._process_info(info, initial_connection)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, IndexError) as error:
            log.warning("a message of NATS cannot be read: %s", type(error).__name__)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if self.is_connected:
            await self._process_op_err(Error("nats: the connection cannot be read"))

    async def abandon(self) -> None:
        """Close what a failed attempt to connect has opened."""
        if self._transport is not None:
            await self.close()


async def connect(
    url: str,
    user: str,
    password: str,
    *,
    name: str,
    inbox: str,
    authority: Path | None = None,
    on_end: Callable[[], Awaitable[None]] | None = None,
) -> TlsClient:
    """Return one connection, which is not made anew once it ends; raises errors of NATS, OSError and TimeoutError.

    Without a user the password is a token; answers come below the subject `inbox`; `authority` is a PEM file of who
    signed the server's certificate.
    """
    parts = urlsplit(url)
    client = TlsClient()
    client.needs_tls = parts.scheme == "tls"
    options: dict[str, Any] = (
        {"tls": ssl.create_default_context(cafile=authority)} if client.needs_tls else {}
    )
    if user:
        options |= {"user": user, "password": password}
    elif password:
        options["token"] = password
    try:
        await client.connect(
            f"{parts.scheme}://{parts.netloc}",
            name=name,
            inbox_prefix=inbox,
            allow_reconnect=False,  # a server may name others, and what was asked before is asked anew
            connect_timeout=CONNECT_SECONDS,
            max_reconnect_attempts=1,  # at first, or it is tried for minutes
            reconnect_time_wait=0,
            ping_interval=PING_SECONDS,
            error_cb=_note,
            disconnected_cb=on_end,
            closed_cb=on_end,
            **options,
        )
    except BaseException:
        await client.abandon()
        raise
    return client


def part_bytes(client: Client) -> int:
    """Return how much of a body goes into one message on a connection."""
    return max(1, min(MAX_PART_BYTES, client.max_payload // 2))


async def _note(error: Exception) -> None:
    """Log what the server does not let us do; other errors end the calls that they belong to."""
    if "permissions violation" in str(error).lower():
        log.warning("%s", error)
