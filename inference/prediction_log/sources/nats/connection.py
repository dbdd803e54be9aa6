"""A connection to one server of NATS, at the address that was checked, driven from a thread."""

import asyncio
import ssl
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC
from typing import Any, NamedTuple, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import AuthorizationError, Error, ProtocolError
from nats.errors import TimeoutError as NothingInTime
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError
from nats.protocol.parser import Parser

from driftline.base.outbound.addresses import AddressBlocked
from driftline.base.periods import to_us
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.reading.messages import StreamMessage, plausible_time

CONNECT_SECONDS = 5
ANSWER_SECONDS = 10.0
MAX_FETCH_BYTES = 32 << 20  # that one question may bring
MAX_FRAME_BYTES = 32 << 20
"""Of one message, as its server announces it; the library would collect whatever comes."""
MAX_PENDING_BYTES = 2 * MAX_FETCH_BYTES  # of messages that wait to be taken; beyond, they are read again
MAX_FETCH = 1_000
FORGOTTEN_SECONDS = 600.0  # after which the server deletes a cursor that nobody asks


class StreamState(NamedTuple):
    """The sequences of the first and the last message that a stream has."""

    first: int
    last: int


class _NotEncrypted(Error):
    """The server does not ask for TLS."""

    def __str__(self) -> str:
        return "The server does not ask for TLS, and nothing is sent to it without"


_NO_NATS = "The server answers as no server of NATS does; check its address."
_TOO_LARGE = f"The server sends a message of more than {MAX_FRAME_BYTES >> 20} MiB, which is not read."

_OF_NATS = (APIError, AuthorizationError, ssl.SSLError, _NotEncrypted)
"""Failures that a server of NATS alone has, or one with TLS."""


class _BoundedParser(Parser):
    """Reads what a server sends within bounds; the connection ends where that is nothing a server of NATS says."""

    fault = ""

    async def parse(self, data: bytes = b"") -> None:
        try:
            await super().parse(data)
        except (ProtocolError, OSError):
            raise
        except (
            Exception
        ) as error:  # else the library would only cease to read, on a connection that looks well
            self.fault = _NO_NATS
            raise ProtocolError from error
        if max(self.needed, self.header_needed, len(self.buf)) > MAX_FRAME_BYTES:
            self.fault = _TOO_LARGE
            raise ProtocolError


class _CheckedClient(Client):
    """A client that tells nothing of itself before the connection is encrypted, where that is asked for."""

    needs_tls = False

    def __init__(self) -> None:
        super().__init__()
        self._ps: _BoundedParser = _BoundedParser(self)

    @property
    def fault(self) -> str:
        """Why the connection was ended from here, as a sentence; empty where it was not."""
        return self._ps.fault

    async def _process_info(self, info: Any, initial_connection: bool = False) -> None:
        if self.needs_tls and not info.get("tls_required"):
            raise _NotEncrypted
        await super()._process_info(info, initial_connection)


class NatsConnection:
    """One stream of one server. Whatever goes wrong raises ConnectorFailed; after that it is only closed."""

    def __init__(self, settings: NatsSettings, secret: str) -> None:
        self._settings, self._loop = settings, asyncio.new_event_loop()
        self._client = _CheckedClient()
        self._client.needs_tls = settings.is_encrypted
        self._cursor: JetStreamContext.PullSubscription | None = None
        self._next_delivery = 1
        self._was_called = False
        try:
            self._run(self._connect(secret), CONNECT_SECONDS + ANSWER_SECONDS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._loop.is_closed():
            return
        with suppress(Error, OSError):  # it may be away already
            if self._was_called:
                self._loop.run_until_complete(asyncio.wait_for(self._client.close(), CONNECT_SECONDS))
        self._loop.close()

    def state(self) -> StreamState:
        """Return where the stream begins and ends."""
        info = self._run(self._client.jetstream().stream_info(self._settings.stream))
        with _plain_answers():
            return StreamState(_count(info.state.first_seq), _count(info.state.last_seq))

    def read_from(self, sequence: int) -> None:
        """Read on with the first message from a sequence on."""
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=max(sequence, 1),
            ack_policy=AckPolicy.NONE,  # the table says how far it is read
            inactive_threshold=FORGOTTEN_SECONDS,
            mem_storage=True,
        )
        self._next_delivery = 1
        self._cursor = self._run(
            self._client.jetstream().pull_subscribe(
                self._settings.subject or ">",
                stream=self._settings.stream,
                config=config,
                pending_bytes_limit=MAX_PENDING_BYTES,
            )
        )

    def fetch(self, seconds: float) -> list[StreamMessage]:
        """Return the next messages, none where none comes in time."""
        with _plain_answers():
            count = max(1, min(MAX_FETCH, MAX_FETCH_BYTES // max(self._client.max_payload, 1)))
        try:
            found = self._run(self._fetch(count, max(seconds, 0.05)), seconds + ANSWER_SECONDS)
        except _NothingCame:
            return []
        with _plain_answers():
            return [self._message_of(one) for one in found]

    async def _fetch(self, count: int, seconds: float) -> Sequence[Msg]:
        assert self._cursor is not None  # as `read_from` came first
        try:
            return await self._cursor.fetch(count, timeout=seconds)
        except (
            TimeoutError
        ) as error:  # Python's own, where the server's word comes just before the time is over
            raise NothingInTime from error

    def pending(self) -> int:
        """Return how many messages of the subject the server has not sent yet."""
        assert self._cursor is not None
        found = self._run(self._cursor.consumer_info())
        with _plain_answers():
            return _count(found.num_pending or 0)

    def _message_of(self, read: Msg) -> StreamMessage:
        """Return a message; raises ConnectorFailed where one before it was lost on the way."""
        place = read.metadata
        offset = _count(place.sequence.stream)
        if place.sequence.consumer != self._next_delivery:
            raise ConnectorFailed("A message of the stream was lost on the way; it is read again.")
        self._next_delivery += 1
        headers = dict(read.headers or {})
        key = headers.get("Nats-Msg-Id")
        return StreamMessage(
            partition=self._settings.partition(),
            offset=offset,
            value=read.data,
            key=key.encode() if key is not None else None,
            time_us=plausible_time(to_us(place.timestamp.astimezone(UTC))),
            headers=headers,
        )

    async def _connect(self, secret: str) -> None:
        settings = self._settings
        host, port = settings.host_and_port()
        address = settings.find_address()
        options: dict[str, Any] = {}
        if settings.user:
            options |= {"user": settings.user, "password": secret}
        elif secret:
            options["token"] = secret
        if settings.is_encrypted:
            options |= {
                "tls": ssl.create_default_context(cadata=settings.ca_certificate or None),
                "tls_hostname": host,
            }
        self._was_called = True
        await self._client.connect(
            f"nats://[{address}]:{port}" if address.version == 6 else f"nats://{address}:{port}",
            name="driftline",
            allow_reconnect=False,  # a server may name others, which were not checked
            connect_timeout=CONNECT_SECONDS,
            max_reconnect_attempts=1,  # of this server, which is tried twice at first
            reconnect_time_wait=0,
            error_cb=_ignore,
            **options,
        )

    def _run[Result](self, work: Coroutine[Any, Any, Result], seconds: float = ANSWER_SECONDS) -> Result:
        """Return what a question to the server brings; raises ConnectorFailed, and _NothingCame."""
        try:
            return self._loop.run_until_complete(asyncio.wait_for(work, seconds))
        except AddressBlocked as error:
            detail = f"The server {self._settings.server} must not be reached: {error}."
            raise ConnectorFailed(detail) from error
        except NothingInTime as error:
            if self._client.is_connected:
                raise _NothingCame("The server does not answer.") from error
            raise ConnectorFailed(self._client.fault or "The connection to the server has ended.") from error
        except (Error, OSError, ValueError) as error:
            raise ConnectorFailed(self._client.fault or self._describe(error)) from error
        except _ODD as error:
            raise ConnectorFailed(_NO_NATS) from error

    def _describe(self, error: Exception) -> str:
        """Return what a failure says; of a stranger's network not whether a port is closed or silent."""
        is_silent = isinstance(error, TimeoutError)
        if is_silent or (not isinstance(error, _OF_NATS) and not self._settings.is_within_own_networks):
            return "The server does not answer."
        description = (error.description or "") if isinstance(error, APIError) else str(error)
        text = description.removeprefix("nats: ").rstrip(".")[:300] or type(error).__name__
        return f"The server cannot be read now: {text}."


_ODD = (AttributeError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What the library raises over JSON of another shape than it expects."""


@contextmanager
def _plain_answers() -> Iterator[None]:
    """Raise ConnectorFailed where a server's answer is not what it should be."""
    try:
        yield
    except (*_ODD, ValueError, Error) as error:
        raise ConnectorFailed(_NO_NATS) from error


def _count(value: object) -> int:
    """Return a number of messages, as the database holds it; raises TypeError for anything else."""
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise TypeError(value)
    return value


class _NothingCame(ConnectorFailed):
    """No message came in time, on a connection that holds."""


async def _ignore(_: Exception) -> None:
    """Leave errors to the calls that they end."""
