"""Networks of addresses: how they are written, and what lies in them. An IPv4-mapped IPv6 address is its IPv4 one."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

MAX_ADDRESS_CHARACTERS = 64
_MAPPED_BITS = 96  # of an IPv4-mapped address, before those of IPv4


def parse_network(text: str) -> Network:
    """Read a network in CIDR notation, or a single address; raises ValueError with a sentence that gives a remedy."""
    host, slash, prefix = text.strip().partition("/")
    try:
        if "%" in host or (slash and not prefix.isdigit()):
            raise ValueError(text)
        address, network = ip_address(host), ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text[:MAX_ADDRESS_CHARACTERS]!r} is not a network; "
            "use CIDR notation such as 203.0.113.0/24 or 2001:db8::/32."
        ) from None
    plain = _without_mapping(network)
    if address != network.network_address:
        raise ValueError(f"{text.strip()} is an address within a network; use {plain} for all of it.")
    return plain


@lru_cache(maxsize=4096)
def parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Read networks, once for all who ask for the same; raises ValueError as `parse_network` does."""
    return tuple(map(parse_network, texts))


def parse_address(text: str) -> Address | None:
    """Read an address; None for anything else."""
    return _parse_address(text) if len(text) <= MAX_ADDRESS_CHARACTERS else None


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_within(address: Address | None, networks: Sequence[Network]) -> bool:
    """Return whether an address lies in one of the networks."""
    return address is not None and any(address in network for network in networks)


def client_address(*, peer: str, forwarded_for: str, trusted_proxies: Sequence[Network]) -> str:
    """Return the nearest address that is no trusted proxy, in canonical form.

    `forwarded_for` is the value of X-Forwarded-For, in which each proxy appends the address that it was called from.
    A client may have written its left part, so it is read from the right, and only as far as trusted proxies wrote it.
    """
    address = parse_address(peer)
    for text in reversed(forwarded_for.split(",") if forwarded_for else []):
        if not is_within(address, trusted_proxies):
            break
        candidate = parse_address(_without_port(text.strip()))
        if candidate is None:
            break
        address = candidate
    return peer if address is None else str(address)


def _without_mapping(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _without_port(text: str) -> str:
    """Leave out the port that some proxies append: 192.0.2.1:4711, [2001:db8::1]:4711."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
