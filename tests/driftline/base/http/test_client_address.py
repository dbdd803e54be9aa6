"""Who a request comes from, with and without proxies."""

import pytest

from driftline.base.http.networks import client_address, parse_network

PROXIES = [parse_network(text) for text in ("127.0.0.0/8", "::1/128", "10.0.0.0/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("203.0.113.5", "", "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # no proxy of ours wrote that
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # the client wrote the first
        ("127.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.9", "198.51.100.1"),  # two proxies
        ("127.0.0.1", "10.0.0.7", "10.0.0.7"),  # somebody inside
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, unknown, 10.0.0.9", "10.0.0.9"),
        ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("::1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("::1", "2001:DB8:0::7", "2001:db8::7"),
        ("", "198.51.100.1", ""),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),  # a socket that takes both families
        ("::ffff:203.0.113.5", "", "203.0.113.5"),
    ],
)
def test_the_client_is_the_nearest_that_is_no_proxy(peer: str, forwarded_for: str, address: str) -> None:
    assert client_address(peer=peer, forwarded_for=forwarded_for, trusted_proxies=PROXIES) == address


def test_without_a_declared_proxy_nothing_that_is_forwarded_is_believed() -> None:
    assert client_address(peer="127.0.0.1", forwarded_for="1.1.1.1", trusted_proxies=[]) == "127.0.0.1"
