"""Which addresses this server may call for others: public ones, and the private networks that the operator allows.

No Django here: serving processes call other servers under the same rules.
"""

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from requests_hardened.ip_filter import EXTRA_BLOCKED_NET_RANGES

from driftline.base.outbound.rules import OutboundRules

Address = IPv4Address | IPv6Address

# Of IPv6 only these are given to networks on the internet. Outside lie, among others, the addresses that stand for an
# IPv4 one: compatible (::/96), SIIT (::ffff:0:0:0/96), NAT64 (64:ff9b::/96 and 64:ff9b:1::/48).
GLOBAL_UNICAST = ip_network("2000::/3")

# `is_global` is true for some of these, though none is a stranger's server on the internet.
DENIED = (
    *EXTRA_BLOCKED_NET_RANGES,
    *map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's platform agent
            "192.0.0.0/24",  # IETF's protocol assignments
            "192.88.99.0/24",  # relays of 6to4
            "224.0.0.0/4",  # multicast
            "2001::/23",  # IETF's protocol assignments: Teredo, benchmarking, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    ),
)

# The last 32 bits of these are an IPv4 address.
EMBEDDING = tuple(map(ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))


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
    allowed = [*map(ip_network, rules.allowed)]
    for reached in (address, *_embedded(address)):
        if reached.is_loopback and port in rules.own_ports:
            raise AddressBlocked(f"{address} port {port} is Driftline itself")
        if not _within(reached, allowed) and not _is_public(reached):
            raise AddressBlocked(
                f"{address} is not a public address; the operator can allow its network in DRIFTLINE_OUTBOUND_ALLOW"
            )
    if not encrypted and not _within(address, allowed):
        raise AddressBlocked(f"{address} is outside the networks of DRIFTLINE_OUTBOUND_ALLOW, so use https")


def _is_public(address: Address) -> bool:
    is_assigned = address.version == 4 or address in GLOBAL_UNICAST
    return is_assigned and address.is_global and not _within(address, DENIED)


def _embedded(address: Address) -> list[Address]:
    """List the IPv4 addresses that an IPv6 one stands for: an allowed network leads no further than it says."""
    if address.version == 4:
        return []
    embedded: list[Address] = [*(address.teredo or ())]
    if address.sixtofour is not None:
        embedded.append(address.sixtofour)
    if _within(address, EMBEDDING) and not (address.is_unspecified or address.is_loopback):
        embedded.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return embedded


def _unmapped(address: Address) -> Address:
    """::ffff:10.0.0.1 is 10.0.0.1 by another name."""
    return (address.version == 6 and address.ipv4_mapped) or address


def _within(address: Address, networks: Iterable[object]) -> bool:
    return any(address in network for network in networks)  # type: ignore[operator]  # both versions are mixed
