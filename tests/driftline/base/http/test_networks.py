"""Networks in CIDR notation, and which addresses lie in them."""

import pytest

from driftline.base.http.networks import is_within, parse_address, parse_network


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        (" 203.0.113.7 ", "203.0.113.7/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_network_is_read_in_one_form(text: str, network: str) -> None:
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("203.0.113.7/24", "203.0.113.0/24"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
    ],
)
def test_an_address_within_a_network_is_refused_with_the_network(text: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"use {right} for all of it"):
        parse_network(text)


@pytest.mark.parametrize(
    "text",
    ["", "office", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/255.0.0.0", "10.0.0.0/", "fe80::1%eth0", "1" * 5000],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="use CIDR notation such as 203") as refusal:
        parse_network(text)

    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        ("203.0.113.7", True),
        ("203.0.114.7", False),
        ("::ffff:203.0.113.7", True),  # how a socket of both families names it
        ("2001:db8:5::7", True),
        ("2001:db9::7", False),
        ("unknown", False),
        ("", False),
        ("1" * 5000, False),
    ],
)
def test_an_address_lies_in_a_network_whichever_way_it_is_written(address: str, is_in: bool) -> None:
    networks = [parse_network("203.0.113.0/24"), parse_network("2001:db8::/32")]

    assert is_within(parse_address(address), networks) is is_in
