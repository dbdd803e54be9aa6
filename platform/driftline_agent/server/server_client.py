"""A client of the server's API, over HTTP or, where its address is that of a server of NATS, over that."""

import os
from urllib.parse import SplitResult, urlsplit

import httpx

from driftline_agent import __version__
from driftline_agent.errors import AgentError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SCHEMES = ("http", "https", "nats", "tls")


def open_client(url: str, path: str, timeout_seconds: float, headers: dict[str, str]) -> httpx.Client:
    """Return a client that asks below `path` of the server.

    Raises AgentError where a secret would go in the clear, or what speaks NATS is not installed.
    """
    check_url(url)
    headers = {"User-Agent": f"driftline-agent/{__version__}", **headers}
    if not is_nats(url):
        base_url = f"{url.rstrip('/')}{path}"
        return httpx.Client(base_url=base_url, headers=headers, timeout=timeout_seconds)
    try:
        from driftline_agent.server.nats_transport import NatsTransport
    except ModuleNotFoundError as error:
        raise AgentError(
            f"{url} is a server of NATS; install what speaks to it: pip install 'nats-py>=2.12,<3'"
        ) from error
    transport = NatsTransport(
        url,
        os.environ.get("DRIFTLINE_AGENT_NATS_USER", ""),
        os.environ.get("DRIFTLINE_AGENT_NATS_PASSWORD", ""),
    )
    return httpx.Client(
        base_url=f"http://driftline{path}", headers=headers, timeout=timeout_seconds, transport=transport
    )


def is_nats(url: str) -> bool:
    """Return whether an address is that of a server of NATS."""
    return urlsplit(url).scheme in ("nats", "tls")


def check_url(url: str) -> None:
    """Raise AgentError for an address that is none, or to which the token would go in the clear."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname or not _has_port(parts):
        raise AgentError(
            f"{url} is no address; use one such as https://driftline.example.com or tls://nats.example.com:4222"
        )
    if is_nats(url) and (parts.username is not None or parts.path.strip("/")):
        raise AgentError(
            "The address of NATS is a host and a port; its user is DRIFTLINE_AGENT_NATS_USER, with "
            "DRIFTLINE_AGENT_NATS_PASSWORD, in the environment."
        )
    if parts.scheme in ("http", "nats") and parts.hostname not in LOOPBACK:
        encrypted = "tls" if is_nats(url) else "https"
        raise AgentError(f"{url} would send the device's token in the clear; use {encrypted}")


def _has_port(parts: SplitResult) -> bool:
    """Return whether the port can be one, or is that of the scheme."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False
