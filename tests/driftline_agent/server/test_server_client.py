"""An agent calls addresses to which its token may go, and says what another one lacks."""

import sys

import pytest

from driftline_agent.errors import AgentError
from driftline_agent.server.server_client import check_url, open_client


@pytest.mark.parametrize(
    "url",
    [
        "https://driftline.example.com",
        "http://127.0.0.1:8000",
        "tls://nats.example.com:4222",
        "tls://nats.example.com:4222/",
        "nats://localhost:4222",
    ],
)
def test_an_address_that_is_safe_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("driftline.example.com", "is no address"),
        ("ftp://driftline.example.com", "is no address"),
        ("tls://", "is no address"),
        ("tls://nats.example.com:99999", "is no address"),
        ("https://driftline.example.com:abc", "is no address"),
        ("http://driftline.example.com", "in the clear; use https"),
        ("nats://nats.example.com:4222", "in the clear; use tls"),
        ("tls://user:secret@nats.example.com:4222", "DRIFTLINE_AGENT_NATS_USER"),
        ("tls://nats.example.com:4222/devices", "a host and a port"),
    ],
)
def test_another_address_is_refused_with_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(AgentError, match=sentence):
        check_url(url)


def test_an_agent_without_the_package_for_nats_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    for name in [one for one in sys.modules if one.startswith(("nats.", "driftline_agent.nats_"))]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(AgentError, match=r"pip install 'nats-py"):
        open_client("tls://nats.example.com:4222", "", 1.0, {})
