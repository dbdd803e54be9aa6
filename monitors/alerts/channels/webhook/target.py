"""Which URLs may be a webhook's target. Addresses are checked again on every connection."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from requests import PreparedRequest
from requests.exceptions import RequestException

from driftline.common.errors import Problem, invalid
from monitors.alerts.channels.webhook.addresses import AddressBlocked, resolve

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
LONGEST = 500


class UrlNotAllowed(Exception):
    """The URL could never be a webhook's target; the text says why and what to use."""


@dataclass(frozen=True)
class Target:
    """A URL in the form in which it is requested, and where it leads."""

    url: str
    host: str
    port: int
    encrypted: bool


def parse_target(text: str) -> Target:
    """Read a webhook's URL, without resolving its name; raises `UrlNotAllowed`."""
    if len(text) > LONGEST:
        raise UrlNotAllowed(f"The URL has {len(text)} characters; use at most {LONGEST}.")
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
            "The URL holds a user name or password; remove it, as receivers check the signature."
        )
    encrypted = parts.scheme == "https"
    port = port or (443 if encrypted else 80)
    if port in PORTS_OF_OTHER_SERVICES or (port < 1024 and port not in {80, 443}):
        raise UrlNotAllowed(
            f"Port {port} is not one for webhooks; use 443, or one above 1023 that speaks HTTP."
        )
    _refuse_ourselves(host)
    return Target(url, host, port, encrypted)


def check_target(text: str) -> None:
    """Refuse a URL that webhooks may not reach, as far as can be known when it is saved, with a `Problem`."""
    try:
        target = parse_target(text)
        _check_addresses(target)
    except UrlNotAllowed as error:
        raise url_not_allowed(str(error)) from error


def url_not_allowed(detail: str) -> Problem:
    return invalid("/target", detail, code="url_not_allowed")


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
    """A message to ourselves could cause the next one. On loopback the port tells, see `addresses.py`."""
    own = urlsplit(settings.PUBLIC_URL).hostname or ""
    if host.rstrip(".") == own and own not in {"localhost", "127.0.0.1", "::1"}:
        raise UrlNotAllowed(f"{host} is this Driftline itself; use the address of the program to be told.")


def _check_addresses(target: Target) -> None:
    try:
        resolve(target.host, target.port, encrypted=target.encrypted)
    except AddressBlocked as error:
        raise UrlNotAllowed(f"{target.host} must not be reached: {error}.") from error
    except (OSError, UnicodeError) as error:
        if not target.encrypted:
            raise UrlNotAllowed(
                f"{target.host} does not resolve, and http is only for allowed networks."
            ) from error
