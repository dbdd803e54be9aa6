"""Decides whether this installation may listen on an address: outside loopback only behind TLS, with sound keys."""

import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from inference.serving.options import ServerCertificate

MIN_KEY_CHARACTERS = 50
MIN_KEY_DISTINCT_CHARACTERS = 5


class UnableToListen(Exception):
    """Listening there would hand the installation to strangers; the text says what to set."""


def check_listening(host: str) -> list[str]:
    """Raise `UnableToListen` unless it is safe to listen on `host`; return warnings for the operator.

    The same holds for every port on the address: HTTP and gRPC.
    """
    if server_certificate() is None and not settings.BEHIND_TLS and not is_loopback(host):
        raise UnableToListen(
            f"{host or 'Every address of this machine'} can be reached from other machines, and neither TLS nor a "
            "proxy is configured. Set DRIFTLINE_TLS_CERTIFICATE and DRIFTLINE_TLS_KEY to serve HTTPS and gRPC over "
            "TLS, or DRIFTLINE_BEHIND_TLS=1 where a proxy in front ends TLS for both, or listen on 127.0.0.1."
        )
    if not _is_reached_from_outside(host):
        return []
    faults = [*_weak_settings()]
    if faults:
        raise UnableToListen(" ".join(faults))
    if "*" in settings.ALLOWED_HOSTS:
        return ["DRIFTLINE_ALLOWED_HOSTS is *, so any Host header is taken; name the hosts that people use."]
    return []


def server_certificate() -> ServerCertificate | None:
    """Return the configured certificate and key once they can be used together; None where there are none.

    Raises `UnableToListen`.
    """
    certificate, key, authorities = settings.TLS_CERTIFICATE, settings.TLS_KEY, settings.TLS_CLIENT_CA
    if certificate is None and key is None:
        if authorities is not None:
            raise UnableToListen(
                "DRIFTLINE_TLS_CLIENT_CA asks clients for a certificate, which takes TLS; set "
                "DRIFTLINE_TLS_CERTIFICATE and DRIFTLINE_TLS_KEY too. Behind a proxy that ends TLS, the proxy asks."
            )
        return None
    if certificate is None or key is None:
        raise UnableToListen(
            "TLS needs a certificate and its key; set both DRIFTLINE_TLS_CERTIFICATE and DRIFTLINE_TLS_KEY."
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise UnableToListen(
            f"The certificate {certificate} and the key {key} cannot be used together ({error}); use PEM files "
            "that this user may read, the key without a password."
        ) from error
    if authorities is not None:
        _check_authorities(authorities)
    return ServerCertificate(str(certificate), str(key), str(authorities) if authorities else None)


def _check_authorities(authorities: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise UnableToListen(
            f"DRIFTLINE_TLS_CLIENT_CA, {authorities}, has no certificates that can be read ({error}); use a PEM file."
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach the host; a name other than localhost may be any machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def local_url(host: str, port: int) -> str:
    """Return the URL under which a program of this machine reaches a server that listens on `host`."""
    reached = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "http" if settings.TLS_CERTIFICATE is None else "https"
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def _is_reached_from_outside(host: str) -> bool:
    public = urlsplit(settings.PUBLIC_URL).hostname or ""
    return settings.BEHIND_TLS or not is_loopback(host) or not is_loopback(public)


def _weak_settings() -> Iterator[str]:
    if settings.DEBUG:
        yield (
            "DRIFTLINE_DEBUG is 1, which shows settings and source code to whoever causes an error; set it to 0 "
            "where other machines reach this server."
        )
    for name, keys in (
        ("DRIFTLINE_SECRET_KEY", [settings.SECRET_KEY]),
        ("DRIFTLINE_SECRET_KEY_FALLBACKS", settings.SECRET_KEY_FALLBACKS),
    ):
        if any(map(_is_weak, keys)):
            yield (
                f"{name} can be guessed, and whoever knows it can sign in as anybody; use {MIN_KEY_CHARACTERS} random "
                "characters or more, or leave it empty to have a key made."
            )


def _is_weak(key: str) -> bool:
    return len(key) < MIN_KEY_CHARACTERS or len(set(key)) < MIN_KEY_DISTINCT_CHARACTERS
