"""HTTP requests to strangers: to a checked and pinned address, without redirects, within a deadline."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests_hardened import Config, Manager

from driftline.base.outbound.addresses import AddressBlocked, resolve
from driftline.base.outbound.targets import outbound_rules

REMOVED = 410  # the receiver says that it will not come back
DEADLINE_SECONDS = 15.0
CONNECT_SECONDS = 5.0
READ_CAP = 64 * 1024
MAX_RETRY_AFTER = timedelta(days=1)
HOP_HEADER = "Driftline-Hop"
"""On every webhook; Driftline's own API refuses requests that carry it, so that no chain of servers loops."""

_SESSIONS = Manager(
    Config(
        ip_filter_enable=True,
        ip_filter_allow_loopback_ips=False,
        never_redirect=True,
        default_timeout=(CONNECT_SECONDS, DEADLINE_SECONDS),
        user_agent_override="Driftline",
    )
)


@dataclass(frozen=True)
class OutboundAnswer:
    """What a server answered with a status of 2xx: `body` is what was read of it."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text; what is no UTF-8 is replaced."""
        return self.body.decode(errors="replace")


class Writable(Protocol):
    """What a download is written to."""

    def write(self, block: bytes, /) -> int: ...


class RequestFailed(Exception):
    """A request was not answered with 2xx.

    `permanent` says that the server wants no more requests ever; `status` and `body` are those of its answer where
    there was one, `content` the body undecoded; `retry_after` is how long it asks to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        status: int | None = None,
        content: bytes = b"",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.content = content
        self.permanent = permanent
        self.status = status
        self.retry_after = retry_after

    @property
    def body(self) -> str:
        """Return the body as text; what is no UTF-8 is replaced."""
        return self.content.decode(errors="replace")

    @property
    def is_silence(self) -> bool:
        """Return whether nobody answered; that a port is closed rather than silent must not be said to strangers."""
        return self.status is None and str(self).startswith(("timeout", "connection_error"))


def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    deadline: float = DEADLINE_SECONDS,
    max_bytes: int = READ_CAP,
) -> OutboundAnswer:
    """Send one request and return the answer when it is 2xx; at most `max_bytes` of its body are read.

    Everything else raises `RequestFailed`, with at most 64 KiB of the body.
    """
    return within_deadline(lambda line: _exchange(method, url, body, headers, max_bytes, line), deadline)


def within_deadline[Result](work: Callable[["Line"], Result], deadline: float = DEADLINE_SECONDS) -> Result:
    """Return what `work` returns; raises `RequestFailed` where it takes longer than `deadline` seconds.

    Time-outs of sockets start anew with each byte, so a receiver could trickle for ever: the work runs in a thread of
    its own, with a line that its requests go over, and when the deadline has passed that is cut.
    """
    line = Line()
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbound")
    request = worker.submit(work, line)
    worker.shutdown(wait=False)
    try:
        return request.result(timeout=deadline)
    except TimeoutError as error:
        line.cut()
        raise RequestFailed(
            f"timeout: the receiver did not finish its answer within {deadline:g} s"
        ) from error


def download(
    url: str, target: IO[bytes], *, headers: Mapping[str, str], max_bytes: int, deadline: float
) -> None:
    """Write the body of an answer of 2xx to a file, whole or, where it is larger, its first `max_bytes`.

    Everything else raises `RequestFailed`, also an answer that ends before the length that it announced.
    """
    within_deadline(lambda line: _download(url, target, headers, max_bytes, line), deadline)


class Line:
    """The connection that a request holds, so that another thread can cut it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def hold(self, connected: socket.socket) -> None:
        """Remember a connection. A duplicate, as TLS takes the original over."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = connected.dup()
            if self._is_cut:
                self._shut()

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            self._shut()

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the receiver may have closed it already
                self._socket.shutdown(socket.SHUT_RDWR)


class CheckedAdapter(HTTPAdapter):
    """Connects to the address that was checked, while TLS and the Host header keep the name."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(max_retries=0)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> tuple[Any, Any]:
        where, options = super().build_connection_pool_key_attributes(request, verify, cert)
        parts = urlsplit(request.url or "")
        encrypted, name = parts.scheme == "https", where["host"]
        port = parts.port or (443 if encrypted else 80)
        address = resolve(name, port, encrypted=encrypted, rules=outbound_rules())
        request.headers["Host"] = parts.netloc
        if encrypted:
            options |= {"server_hostname": name, "assert_hostname": name}  # type: ignore[misc]
        return where | {"host": f"[{address}]" if address.version == 6 else str(address)}, options

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        pool.ConnectionCls = _held(pool.ConnectionCls, self._line)
        return pool


def _held(connection: Any, line: Line) -> Any:
    if getattr(connection, "is_held", False):
        return connection  # of a pool that was used before

    class HeldConnection(connection):  # HTTP's or HTTPS's, whichever the pool uses
        is_held = True

        def _new_conn(self) -> socket.socket:
            connected: socket.socket = super()._new_conn()
            line.hold(connected)
            return connected

    return HeldConnection


def _exchange(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], max_bytes: int, line: Line
) -> OutboundAnswer:
    try:
        with (
            named_failures(),
            open_session(line) as session,
            session.request(method, url, data=body, headers=dict(headers), stream=True) as response,
        ):
            cap = max_bytes if 200 <= response.status_code < 300 else min(max_bytes, READ_CAP)
            return checked_answer(response, read_answer(response, cap))
    finally:
        line.close()


def _download(url: str, target: IO[bytes], headers: Mapping[str, str], max_bytes: int, line: Line) -> None:
    try:
        with (
            named_failures(),
            open_session(line) as session,
            session.get(url, headers=dict(headers), stream=True) as response,
        ):
            if not 200 <= response.status_code < 300:
                checked_answer(response, read_answer(response))
            write_answer(response, target, max_bytes)
    finally:
        line.close()


@contextmanager
def named_failures() -> Iterator[None]:
    """Raise `RequestFailed`, with what it is, for whatever keeps a request from being answered."""
    try:
        yield
    except AddressBlocked as error:
        raise RequestFailed(f"blocked_address: {error}") from error
    except requests.exceptions.SSLError as error:
        raise RequestFailed(f"tls_error: {error}") from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise RequestFailed("timeout: the receiver did not answer in time") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise RequestFailed(f"connection_error: {error}") from error


def open_session(line: Line) -> requests.Session:
    """No proxies or passwords of the environment, which would go round the check; only its CA bundle."""
    session: requests.Session = _SESSIONS.get_session()
    session.trust_env = False
    # Else `requests` reads the whole body of a redirect, and unpacks it, only to say where it would lead.
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.mount("http://", CheckedAdapter(line))
    session.mount("https://", CheckedAdapter(line))
    return session


def read_answer(response: requests.Response, max_bytes: int = READ_CAP) -> bytes:
    """Read an answer undecoded, as a few bytes can unpack to gigabytes; what exceeds the cap is left unread."""
    answer: bytes = response.raw.read(max_bytes, decode_content=False)
    return answer


def write_answer(response: requests.Response, target: Writable, max_bytes: int) -> None:
    """Write an answer undecoded to a file, at most its first `max_bytes`."""
    while max_bytes and (block := read_answer(response, min(max_bytes, READ_CAP))):
        max_bytes -= target.write(block)


def checked_answer(response: requests.Response, body: bytes) -> OutboundAnswer:
    """Return an answer of 2xx with its body; raises `RequestFailed` for every other."""
    status = response.status_code
    if 300 <= status < 400:
        raise RequestFailed(
            f"redirect_refused: the receiver answered {status}; no redirect is followed, so use the final URL",
            status=status,
        )
    if not 200 <= status < 300:
        raise RequestFailed(
            f"The receiver answered {status}: {body.decode(errors='replace')}",
            permanent=status == REMOVED,
            status=status,
            content=body,
            retry_after=_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC)),
        )
    return OutboundAnswer(status, body)


def _retry_after(header: str | None, *, now: datetime) -> timedelta | None:
    """Read seconds or an HTTP date; what cannot be read counts as not said."""
    if header is None:
        return None
    try:
        wait = timedelta(seconds=int(header)) if header.isdecimal() else parsedate_to_datetime(header) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta()), MAX_RETRY_AFTER)
