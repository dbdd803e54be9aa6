"""Which addresses this server may call for others: public ones, and the private networks that the operator allows.

No Django here: serving processes call other servers under the same rules.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from requests_hardened.ip_filter import EXTRA_BLOCKED_NET_RANGES

from driftline.common.outbound.rules import OutboundRules

Address = IPv4Address | IPv6Address

# `is_global` is true for these although none of them is a stranger's server on the internet.
DENIED = (
    *EXTRA_BLOCKED_NET_RANGES,
    *map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's platform agent
            "::/96",  # IPv4-compatible: ::127.0.0.1
            "64:ff9b::/96",  # NAT64
            "fec0::/10",  # site-local
            "224.0.0.0/4",  # multicast
            "ff00::/8",
        ),
    ),
)


class AddressBlocked(Exception):
    """The host resolves to an address that must not be called."""


def resolve(host: str, port: int, *, encrypted: bool, rules: OutboundRules) -> Address:
    """Resolve `host` once and give an address to connect to; every answer must be allowed, or none is used.

    Without TLS only the operator's own networks may be reached. Raises `AddressBlocked`, or OSError where the
    name does not resolve.
    """
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [_unmapped(ip_address(answer[4][0])) for answer in answers]
    for address in addresses:
        _check(address, port, encrypted, rules)
    return addresses[0]


def _check(address: Address, port: int, encrypted: bool, rules: OutboundRules) -> None:
    if address.is_loopback and port in rules.own_ports:
        raise AddressBlocked(f"{address} port {port} is Driftline itself")
    if _within(address, map(ip_network, rules.allowed)):
        return
    if not address.is_global or _within(address, DENIED):
        raise AddressBlocked(
            f"{address} is not a public address; the operator can allow its network in DRIFTLINE_OUTBOUND_ALLOW"
        )
    if not encrypted:
        raise AddressBlocked(f"{address} is outside the networks of DRIFTLINE_OUTBOUND_ALLOW, so use https")


def _unmapped(address: Address) -> Address:
    """::ffff:10.0.0.1 is 10.0.0.1 by another name."""
    return (address.version == 6 and address.ipv4_mapped) or address


def _within(address: Address, networks: Iterable[object]) -> bool:
    return any(address in network for network in networks)  # type: ignore[operator]  # both versions are mixed
