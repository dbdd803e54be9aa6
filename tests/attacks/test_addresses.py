"""No webhook, callback or endpoint leads to an address that is not a stranger's server on the internet."""

from ipaddress import ip_network
from typing import Any

import pytest

from driftline.base.errors import Problem
from driftline.base.outbound.addresses import AddressBlocked, resolve
from driftline.base.outbound.rules import OutboundRules
from driftline.base.outbound.targets import check_target, outbound_rules

PRIVATE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1"]

# IANA's registries of special-purpose addresses, but for what is on the internet (AS112, AMT, anycast DNS).
NOT_PUBLIC = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64",
    "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "2002::/16", "3fff::/20",
    "5f00::/16", "4000::/3", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip


def may_call(
    host: str, rules: OutboundRules | None = None, *, port: int = 443, encrypted: bool = True
) -> bool:
    try:
        resolve(host, port, encrypted=encrypted, rules=rules or OutboundRules())
    except AddressBlocked:
        return False
    return True


def low_half(address: str) -> str:
    """Write an IPv4 address as two groups of an IPv6 one."""
    first, second, third, fourth = map(int, address.split("."))
    return f"{first << 8 | second:x}:{third << 8 | fourth:x}"


def disguises(address: str) -> list[str]:
    """List the IPv6 addresses that stand for an IPv4 one."""
    low = low_half(address)
    high = low_half(".".join(str(255 - int(part)) for part in address.split(".")))  # Teredo inverts it
    return [
        f"::{low}",
        f"::ffff:{low}",
        f"::ffff:0:{low}",
        f"64:ff9b::{low}",
        f"64:ff9b:1::{low}",
        f"2002:{low}::1",
        f"2001:0:4136:e378:8000:63bf:{high}",
    ]


class TestAddresses:
    @pytest.mark.parametrize("address", [form for private in PRIVATE for form in disguises(private)])
    def test_refuses_a_private_address_in_every_disguise(self, address: str) -> None:
        """`::ffff:0:127.0.0.1` was called: the form of RFC 2765, SIIT, is neither mapped nor compatible."""
        with pytest.raises(Problem) as refused:
            check_target(f"https://[{address}]/hook", "/target")

        assert refused.value.code == "url_not_allowed"

    @pytest.mark.parametrize("block", NOT_PUBLIC)
    def test_refuses_every_block_that_is_not_public(self, block: str) -> None:
        network = ip_network(block)
        middle = network[network.num_addresses // 2]

        assert [str(one) for one in (network[0], middle, network[-1]) if may_call(str(one))] == []

    @pytest.mark.parametrize(
        "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:80b::200e"]
    )
    def test_takes_public_ones_over_tls(self, address: str) -> None:
        assert may_call(address)
        assert not may_call(address, encrypted=False)

    def test_an_allowed_translator_leads_to_no_private_address(self) -> None:
        rules = OutboundRules(["64:ff9b::/96", "2002::/16", "::ffff:0:0:0/96"])

        assert may_call("64:ff9b::808:808", rules, encrypted=False)
        for address in ("64:ff9b::7f00:1", "2002:a00:1::1", "::ffff:0:169.254.169.254"):
            assert not may_call(address, rules)

    def test_a_translator_and_a_private_network_may_both_be_allowed(self) -> None:
        assert may_call("64:ff9b::a01:203", OutboundRules(["64:ff9b::/96", "10.1.0.0/16"]))


class TestOwnPorts:
    @pytest.mark.parametrize(("chosen", "port"), [(None, 8124), (9001, 9001)])
    def test_hold_the_port_of_grpc(self, chosen: int | None, port: int, settings: Any) -> None:
        """A webhook to the gRPC port of this server was taken where loopback is allowed."""
        settings.OUTBOUND_ALLOW, settings.PORT, settings.GRPC_PORT = ["127.0.0.0/8", "::/0"], 8123, chosen

        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]"):
            with pytest.raises(Problem, match="itself"):
                check_target(f"http://{host}:{port}/hook", "/target")

    def test_hold_no_port_of_grpc_where_it_is_turned_off(self, settings: Any) -> None:
        settings.PORT, settings.PUBLIC_URL, settings.GRPC_PORT = 8123, "http://127.0.0.1:8123", 0

        assert set(outbound_rules().own_ports) == {8123}
