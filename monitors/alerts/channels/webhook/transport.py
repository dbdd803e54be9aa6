"""HTTP requests to strangers: to a checked and pinned address, without redirects, within a deadline."""

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests_hardened import Config, Manager

from driftline.common.outbound.addresses import AddressBlocked, resolve
from driftline.common.outbound.targets import outbound_rules
from monitors.alerts.channels.base import DeliveryFailed, Receipt

DEADLINE_SECONDS = 15.0
CONNECT_SECONDS = 5.0
READ_CAP = 64 * 1024
MAX_RETRY_AFTER = timedelta(days=1)
GONE = 410

_SESSIONS = Manager(
    Config(
        ip_filter_enable=True,
        ip_filter_allow_loopback_ips=False,
        never_redirect=True,
        default_timeout=(CONNECT_SECONDS, DEADLINE_SECONDS),
        user_agent_override="Driftline",
    )
)


def post(url: str, *, body: bytes, headers: dict[str, str], deadline: float = DEADLINE_SECONDS) -> Receipt:
    """Send `body` and give the receiver's answer when it is 2xx; everything else raises `DeliveryFailed`."""
    return within_deadline(lambda line: _exchange(url, body, headers, line), deadline)


def within_deadline(work: Callable[["Line"], Receipt], deadline: float = DEADLINE_SECONDS) -> Receipt:
    """Return what `work` returns; raises `DeliveryFailed` where it takes longer than `deadline` seconds.

    Time-outs of sockets start anew with each byte, so a receiver could trickle for ever: the work runs in a thread of
    its own, with a line that its requests go over, and when the deadline has passed that is cut.
    """
    line = Line()
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="webhook")
    request = worker.submit(work, line)
    worker.shutdown(wait=False)
    try:
        return request.result(timeout=deadline)
    except TimeoutError as error:
        line.cut()
        raise DeliveryFailed(
            f"timeout: the receiver did not finish its answer within {deadline:g} s"
        ) from error


class Line:
    """The connection that a request holds, so that another thread can cut it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def hold(self, connected: socket.socket) -> None:
        """Remember a connection. A duplicate, as TLS takes the original over."""
        with self._lock:
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
    class HeldConnection(connection):  # HTTP's or HTTPS's, whichever the pool uses
        def _new_conn(self) -> socket.socket:
            connected: socket.socket = super()._new_conn()
            line.hold(connected)
            return connected

    return HeldConnection


def _exchange(url: str, body: bytes, headers: dict[str, str], line: Line) -> Receipt:
    try:
        with (
            named_failures(),
            open_session(line) as session,
            session.post(url, data=body, headers=headers, stream=True) as response,
        ):
            return receipt_of(response, read_answer(response))
    finally:
        line.close()


@contextmanager
def named_failures() -> Iterator[None]:
    """Raise `DeliveryFailed`, with what it is, for whatever keeps a request from being answered."""
    try:
        yield
    except AddressBlocked as error:
        raise DeliveryFailed(f"blocked_address: {error}") from error
    except requests.exceptions.SSLError as error:
        raise DeliveryFailed(f"tls_error: {error}") from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise DeliveryFailed("timeout: the receiver did not answer in time") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise DeliveryFailed(f"connection_error: {error}") from error


def open_session(line: Line) -> requests.Session:
    """No proxies or passwords of the environment, which would go round the check; only its CA bundle."""
    session: requests.Session = _SESSIONS.get_session()
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.mount("http://", CheckedAdapter(line))
    session.mount("https://", CheckedAdapter(line))
    return session


def read_answer(response: requests.Response) -> bytes:
    """Read an answer undecoded, as a few bytes can unpack to gigabytes; what exceeds the cap is left unread."""
    answer: bytes = response.raw.read(READ_CAP, decode_content=False)
    return answer


def receipt_of(response: requests.Response, body: bytes) -> Receipt:
    """Return what a receiver answered that took a message; raises `DeliveryFailed` where it did not."""
    status = response.status_code
    if 300 <= status < 400:
        raise DeliveryFailed(
            f"redirect_refused: the receiver answered {status}; no redirect is followed, so use the final URL",
            status=status,
        )
    answer = body.decode(errors="replace")
    if not 200 <= status < 300:
        raise DeliveryFailed(
            f"The receiver answered {status}: {answer}",
            permanent=status == GONE,
            status=status,
            retry_after=_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC)),
        )
    return Receipt(status, answer)


def _retry_after(header: str | None, *, now: datetime) -> timedelta | None:
    """Read seconds or an HTTP date; what cannot be read counts as not said."""
    if header is None:
        return None
    try:
        wait = timedelta(seconds=int(header)) if header.isdecimal() else parsedate_to_datetime(header) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta()), MAX_RETRY_AFTER)
