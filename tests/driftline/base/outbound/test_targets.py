"""Which URLs may be called: rows 71 to 75 and 80 of the bad-input catalogue."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from driftline.base.errors import Problem
from driftline.base.outbound.addresses import AddressBlocked, resolve
from driftline.base.outbound.rules import OutboundRules
from driftline.base.outbound.targets import (
    PORTS_OF_OTHER_SERVICES,
    UrlNotAllowed,
    check_target,
    parse_target,
)
from tests.ports import PORTS

PUBLIC = "93.184.216.34"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name service of our own: names and what they resolve to; addresses resolve as ever."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        return [
            found
            for address in known.get(host, [host])
            for found in real(address, port, *arguments, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known


class TestForm:
    @pytest.mark.parametrize(
        "url",
        [
            "ftp://example.com/x",
            "file:///etc/passwd",
            "gopher://example.com/x",
            "javascript:alert(1)",
            "example.com/hook",
            "",
            "https://",
            "https:///path",
            "http://a@b/",
            "https://user:password@example.com/",
            "https://:@example.com/",
            "https://example.com:22/",
            "https://example.com:25/",
            "https://example.com:6379/",
            "https://example.com:5432/",
            "https://example.com:99999/",
            "https://example.com:port/",
            "https://exa mple.com/",
            "https://example.com/\r\nHost: evil",
            "https://exam\tple.com/",
            "https://[::1/",
            "https://" + "a" * 600 + ".com/",
        ],
    )
    def test_refuses_what_is_no_web_address_or_leads_to_another_service(self, url: str) -> None:
        with pytest.raises(UrlNotAllowed):
            parse_target(url)

    @pytest.mark.parametrize(
        ("url", "port"),
        [
            ("https://example.com/hook?x=1", 443),
            ("HTTPS://EXAMPLE.com:8443/hook", 8443),
            ("https://bücher.example/", 443),
            ("http://10.1.2.3/", 80),
            ("https://example.com\\@10.0.0.1:22/", 443),  # the backslash begins the path, here and when sent
        ],
    )
    def test_takes_web_addresses(self, url: str, port: int) -> None:
        assert parse_target(url).port == port

    def test_takes_every_port_that_a_server_of_a_test_may_have(self) -> None:
        assert PORTS_OF_OTHER_SERVICES.isdisjoint(PORTS)

    def test_refuses_our_own_public_name_on_any_port(self, settings: Any) -> None:
        settings.PUBLIC_URL = "https://driftline.example.com"

        for url in ("https://driftline.example.com/", "https://DRIFTLINE.example.com.:8443/api"):
            with pytest.raises(UrlNotAllowed, match="itself"):
                parse_target(url)


class TestAddresses:
    @pytest.mark.parametrize(
        "host",
        [
            "127.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "[::1]",
            "[fe80::1]",
            "[fc00::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "100.64.0.1",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::1]",
            "[fec0::1]",
            "[::127.0.0.1]",
            "224.0.0.1",
            "[ff0e::1]",
            "168.63.129.16",
            "[2002:7f00:1::]",
            "192.0.0.192",
            "0.0.0.0",
            "[::]",
            "198.18.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.113.9",
            "[2001:db8::1]",
            "[2001::1]",
            "[5f00::1]",
            "192.88.99.1",
            "localhost",
        ],
    )
    def test_refuses_every_way_to_a_private_address(self, host: str) -> None:
        with pytest.raises(Problem) as refused:
            check_target(f"https://{host}/hook", "/target")

        assert (refused.value.status, refused.value.code) == (422, "url_not_allowed")
        assert refused.value.errors[0].pointer == "/target"

    def test_refuses_fullwidth_digits(self) -> None:
        with pytest.raises(Problem, match="cannot be read"):
            check_target("https://\uff11\uff12\uff17.0.0.1/", "/target")

    @pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "[2606:4700::1111]"])
    def test_takes_public_addresses_over_tls_only(self, address: str) -> None:
        check_target(f"https://{address}/hook", "/target")

        with pytest.raises(Problem, match="use https"):
            check_target(f"http://{address}/hook", "/target")

    def test_takes_a_name_that_does_not_resolve_yet_over_tls_only(self) -> None:
        check_target("https://not-yet.invalid/hook", "/target")

        with pytest.raises(Problem, match="does not resolve"):
            check_target("http://not-yet.invalid/hook", "/target")

    def test_the_operator_allows_networks(self, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = ["10.1.0.0/16", "fd00::/8"]

        for host in ("10.1.2.3", "[::ffff:10.1.2.3]", "[fd00::1]"):
            check_target(f"http://{host}/hook", "/target")
        with pytest.raises(Problem):
            check_target("http://10.2.0.1/hook", "/target")

    def test_our_own_port_stays_shut_on_an_allowed_loopback(self, settings: Any) -> None:
        settings.OUTBOUND_ALLOW, settings.PORT = ["127.0.0.0/8"], 8123

        check_target("http://127.0.0.1:8125/hook", "/target")
        with pytest.raises(Problem, match="itself"):
            check_target("http://127.0.0.2:8123/hook", "/target")

    def test_one_bad_answer_spoils_the_name(self, names: dict[str, list[str]]) -> None:
        names["mixed.example"] = [PUBLIC, "10.0.0.1"]

        with pytest.raises(AddressBlocked, match=r"10\.0\.0\.1"):
            resolve("mixed.example", 443, encrypted=True, rules=OutboundRules())

    def test_a_good_name_gives_the_address_to_connect_to(self, names: dict[str, list[str]]) -> None:
        names["good.example"] = [PUBLIC, "8.8.8.8"]

        assert resolve("good.example", 443, encrypted=True, rules=OutboundRules()) == ip_address(PUBLIC)
