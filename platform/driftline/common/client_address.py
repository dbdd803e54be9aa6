"""The address of the client that made a request, also behind proxies."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str:
    """Return the address of the client that made the request, behind the proxies that the settings declare."""
    return client_address(
        peer=request.META.get("REMOTE_ADDR", ""),
        forwarded_for=request.headers.get("X-Forwarded-For", ""),
        trusted_proxies=settings.TRUSTED_PROXIES,
    )


def client_address(*, peer: str, forwarded_for: str, trusted_proxies: Sequence[str]) -> str:
    """Return the nearest address that is no trusted proxy.

    `forwarded_for` is the value of X-Forwarded-For, in which each proxy appends the address that it was called from.
    A client may have written its left part, so it is read from the right, and only as far as trusted proxies wrote it.
    """
    networks = [ip_network(text) for text in trusted_proxies]
    address = peer
    for text in reversed(forwarded_for.split(",") if forwarded_for else []):
        if not any(_contains(network, address) for network in networks):
            break
        candidate = _without_port(text.strip())
        if candidate is None:
            break
        address = candidate
    return address


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _contains(network: IPv4Network | IPv6Network, text: str) -> bool:
    try:
        return ip_address(text) in network
    except ValueError:
        return False


def _without_port(text: str) -> str | None:
    """Return the address in canonical form; some proxies append the port: 192.0.2.1:4711, [2001:db8::1]:4711."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
