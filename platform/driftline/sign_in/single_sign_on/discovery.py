"""What a provider publishes of itself: its addresses and its keys, each kept for five minutes."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
import requests
from allauth.socialaccount.adapter import get_adapter
from django.core.cache import cache
from msgspec import Struct

from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.refusals import SignInRefused

KEPT_SECONDS = 300
KEYS_ANEW_SECONDS = 30
"""How often keys are fetched anew at most because a token names one that is not known."""
MAX_KEYS = 50


class ProviderDescription(Struct, frozen=True):
    """The fields of the discovery document that are used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


def discover(provider: ProviderSettings) -> ProviderDescription:
    """Return what the provider says of itself; raises `SignInRefused`, also where it says another issuer."""
    url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
    document = fetch_cached(f"sso:{provider.id}:{provider.issuer}", lambda: fetch(provider, url))
    try:
        read = msgspec.convert(document, ProviderDescription)
    except msgspec.ValidationError as error:
        raise SignInRefused(
            "discovery_unreadable",
            f"{provider.name} describes itself in a form that cannot be read: {error}.",
        ) from error
    if read.issuer != provider.issuer:
        raise SignInRefused(
            "wrong_issuer",
            f"{provider.name} calls itself {read.issuer[:200]}, and the operator's file {provider.issuer}; "
            "the operator writes there what the provider says, if it is the right one.",
        )
    for address in (read.authorization_endpoint, read.end_session_endpoint):
        if address and urlsplit(address).scheme not in ("https", urlsplit(provider.issuer).scheme):
            raise SignInRefused(
                "discovery_unreadable", f"{provider.name} names an address that is no web page."
            )
    return read


def key_of(provider: ProviderSettings, key_id: str | None) -> Any:
    """Return the public key with which a token was signed; a provider that has changed its keys is asked again."""
    uri = discover(provider).jwks_uri
    name = f"sso:{provider.id}:keys:{uri}"
    key = _select(fetch_cached(name, lambda: fetch(provider, uri)), key_id)
    if key is None and cache.add(f"sso:{provider.id}:keys-anew", True, KEYS_ANEW_SECONDS):
        document = fetch(provider, uri)
        cache.set(name, document, KEPT_SECONDS)
        key = _select(document, key_id)
    if key is None:
        raise SignInRefused("unknown_key", f"{provider.name} signed with a key that it does not publish.")
    return key


def fetch(provider: ProviderSettings, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Fetch a JSON object from the provider; raises `SignInRefused`."""
    try:
        document = json.loads(fetch_content(provider, url, headers))
    except (ValueError, RecursionError) as error:
        raise _unreachable(provider, error) from error
    if not isinstance(document, dict):
        raise SignInRefused("provider_unreachable", f"{provider.name} answered with no JSON object.")
    return document


def fetch_content(provider: ProviderSettings, url: str, headers: dict[str, str] | None = None) -> bytes:
    """Fetch a document from the provider; raises `SignInRefused`."""
    try:
        with get_adapter().get_requests_session() as session:
            answer: requests.Response = session.request("GET", url, headers=headers)
            answer.raise_for_status()
    except requests.RequestException as error:
        raise _unreachable(provider, error) from error
    return answer.content


def _unreachable(provider: ProviderSettings, error: Exception) -> SignInRefused:
    code, _, reason = str(error)[:300].partition(": ")
    if code == "blocked_address":
        return SignInRefused(
            "provider_blocked", f"{provider.name} is at an address that Driftline does not call: {reason}."
        )
    known = reason if code in ("timeout", "tls_error", "connection_error") else str(error)[:300]
    return SignInRefused(
        "provider_unreachable",
        f"{provider.name} cannot be asked at the moment: {known}. Try again in a minute.",
    )


def _select(document: dict[str, Any], key_id: str | None) -> Any:
    """Return the key of that name; a token that names none can only mean the one key that there is."""
    listed = document.get("keys")
    usable = [
        one
        for one in (listed if isinstance(listed, list) else [])[:MAX_KEYS]
        if isinstance(one, dict) and one.get("use", "sig") == "sig" and one.get("kty") in ("RSA", "EC", "OKP")
    ]
    fitting = [one for one in usable if one.get("kid") == key_id] if key_id is not None else usable
    if len(fitting) != 1:
        return None
    try:
        return jwt.PyJWK.from_dict(fitting[0]).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


def fetch_cached(name: str, fetch_anew: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a document of the last five minutes."""
    document = cache.get(name)
    if document is None:
        document = fetch_anew()
        cache.set(name, document, KEPT_SECONDS)
    return dict(document)
