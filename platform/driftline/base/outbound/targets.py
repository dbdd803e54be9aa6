"""Which URLs this server may call for others. Addresses are checked again on every connection."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from requests import PreparedRequest
from requests.exceptions import RequestException

from driftline.base.errors import invalid
from driftline.base.http.ports import grpc_port_beside
from driftline.base.outbound.addresses import AddressBlocked, resolve
from driftline.base.outbound.rules import OutboundRules

# Services that are not spoken to by HTTP, above the system ports (of which only 80 and 443 are allowed).
PORTS_OF_OTHER_SERVICES = frozenset(
    {
        1433,
        1521,
        2049,
        2181,
        2375,
        2376,
        2379,
        2380,
        3306,
        3389,
        4369,
        5432,
        5671,
        5672,
        5900,
        6000,
        6379,
        6380,
    }
    | {6432, 6667, 9042, 9092, 10250, 11211, 25672, 26379, 27017, 27018}
)
MAX_LENGTH = 500


class UrlNotAllowed(Exception):
    """The URL could never be called; the text says why and what to use."""


@dataclass(frozen=True)
class OutboundTarget:
    """A URL in the form in which it is requested, and where it leads."""

    url: str
    host: str
    port: int
    encrypted: bool


def parse_target(text: str, *, max_length: int = MAX_LENGTH) -> OutboundTarget:
    """Read a URL, without resolving its name; raises `UrlNotAllowed`."""
    if len(text) > max_length:
        raise UrlNotAllowed(f"The URL has {len(text)} characters; use at most {max_length:,}.")
    if not text.isprintable() or " " in text:
        raise UrlNotAllowed("The URL holds spaces or control characters; remove them.")
    url = _prepared(text)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UrlNotAllowed(f"The URL cannot be read: {error}.") from error
    if parts.username is not None or parts.password is not None:
        raise UrlNotAllowed(
            "The URL holds a user name or password; remove it: it would be shown with the URL."
        )
    encrypted = parts.scheme == "https"
    port = port or (443 if encrypted else 80)
    if port in PORTS_OF_OTHER_SERVICES or (port < 1024 and port not in {80, 443}):
        raise UrlNotAllowed(
            f"Port {port} is not one to be called; use 443, or one above 1023 that speaks HTTP."
        )
    _refuse_ourselves(host)
    return OutboundTarget(url, host, port, encrypted)


def check_target(text: str, pointer: str, *, max_length: int = MAX_LENGTH) -> OutboundTarget:
    """Read a URL that may be called, as far as can be known when it is saved; raises a `Problem` at `pointer`."""
    try:
        target = parse_target(text, max_length=max_length)
        _check_addresses(target)
    except UrlNotAllowed as error:
        raise invalid(pointer, str(error), code="url_not_allowed") from error
    return target


def outbound_rules() -> OutboundRules:
    """Return the operator's rules, as the settings have them."""
    public = urlsplit(settings.PUBLIC_URL)
    own_ports = [settings.PORT, public.port or (443 if public.scheme == "https" else 80)]
    if (grpc_port := grpc_port_beside(settings.PORT, settings.GRPC_PORT)) is not None:
        own_ports.append(grpc_port)
    return OutboundRules(settings.OUTBOUND_ALLOW, own_ports)


def _prepared(text: str) -> str:
    """Write the URL as the HTTP client will: what is checked must be what is sent."""
    if not text.lower().startswith(("https://", "http://")):
        raise UrlNotAllowed(f"{text[:64]!r} is not a web address; use one that starts with https://.")
    request = PreparedRequest()
    try:
        request.prepare_url(text, None)
    except (RequestException, UnicodeError) as error:
        raise UrlNotAllowed(f"The URL cannot be read: {error}.") from error
    return str(request.url)


def _refuse_ourselves(host: str) -> None:
    """A call to ourselves could cause the next one. On loopback the port tells, see `addresses.py`."""
    own = urlsplit(settings.PUBLIC_URL).hostname or ""
    if host.rstrip(".") == own and own not in {"localhost", "127.0.0.1", "::1"}:
        raise UrlNotAllowed(f"{host} is this Driftline itself; use the address of the other program.")


def _check_addresses(target: OutboundTarget) -> None:
    try:
        resolve(target.host, target.port, encrypted=target.encrypted, rules=outbound_rules())
    except AddressBlocked as error:
        raise UrlNotAllowed(f"{target.host} must not be reached: {error}.") from error
    except (OSError, UnicodeError) as error:
        if not target.encrypted:
            raise UrlNotAllowed(
                f"{target.host} does not resolve, and http is only for allowed networks."
            ) from error
