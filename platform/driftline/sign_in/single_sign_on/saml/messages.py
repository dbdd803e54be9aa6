"""What Driftline says to a SAML provider: its own metadata, requests, and the answer to a logout request."""

import base64
import hashlib
import secrets
import zlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.urls import reverse
from django.utils.http import urlencode
from lxml import etree
from onelogin.saml2.constants import OneLogin_Saml2_Constants as Saml
from onelogin.saml2.errors import OneLogin_Saml2_Error
from onelogin.saml2.metadata import OneLogin_Saml2_Metadata
from onelogin.saml2.settings import OneLogin_Saml2_Settings

from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.discovery import fetch_cached, fetch_content
from driftline.sign_in.single_sign_on.provider_metadata import ProviderMetadata
from driftline.sign_in.single_sign_on.refusals import SignInRefused
from driftline.sign_in.single_sign_on.saml.metadata import read_metadata


def address_of(provider: ProviderSettings, route: str) -> str:
    """Return the public address of a route, such as `saml_response`."""
    return settings.PUBLIC_URL + reverse(route, kwargs={"provider_id": provider.id})


def fetch_metadata(provider: ProviderSettings) -> ProviderMetadata:
    """Return what a provider publishes of itself; raises `SignInRefused`."""
    assert provider.saml is not None
    url = provider.saml.metadata_url
    if provider.saml.metadata is not None:
        return provider.saml.metadata

    def fetch_anew() -> dict[str, Any]:
        try:
            read = read_metadata(fetch_content(provider, url), provider.issuer)
        except ValueError as error:
            raise SignInRefused(
                "discovery_unreadable", f"The metadata of {provider.name} cannot be used: {error}."
            ) from error
        return dict(msgspec.to_builtins(read))

    place = hashlib.sha256(f"{provider.issuer} {url}".encode()).hexdigest()
    return msgspec.convert(fetch_cached(f"sso:{provider.id}:saml:{place}", fetch_anew), ProviderMetadata)


def toolkit_settings(provider: ProviderSettings) -> OneLogin_Saml2_Settings:
    """Return both sides of the conversation as python3-saml wants to know them, with all of its checks switched on."""
    described = fetch_metadata(provider)
    both_sides = {
        "strict": True,
        "idp": {
            "entityId": provider.issuer,
            "singleSignOnService": {"url": described.sign_in_url},
            "singleLogoutService": {"url": described.logout_url},
            "x509certMulti": {"signing": list(described.certificates)},
        },
        "sp": _own_side(provider),
        "security": {
            "wantAssertionsSigned": True,
            "rejectDeprecatedAlgorithm": True,
            "allowRepeatAttributeName": True,
            "wantAttributeStatement": False,
            "allowSingleLabelDomains": True,
        },
    }
    try:
        return OneLogin_Saml2_Settings(both_sides)
    except OneLogin_Saml2_Error as error:
        raise SignInRefused(
            "discovery_unreadable", f"The metadata of {provider.name} cannot be used: {error}."
        ) from error


def request_at(address: str) -> dict[str, Any]:
    """Return a request to an address as python3-saml takes it, without the Host header, which others choose."""
    url = urlsplit(address)
    scheme = "on" if url.scheme == "https" else "off"
    return {"https": scheme, "http_host": url.netloc, "script_name": url.path, "get_data": {}}


def own_metadata(provider: ProviderSettings) -> str:
    """Return what the administrator of the provider enters there."""
    written: str = OneLogin_Saml2_Metadata.builder(
        _own_side(provider), wsign=True, valid_until="", cache_duration=""
    )
    return written


def sign_in_address(provider: ProviderSettings) -> tuple[str, str]:
    """Return the address that asks the provider who somebody is, and the ID of that request."""
    url = fetch_metadata(provider).sign_in_url
    request = _message(provider, "AuthnRequest", url)
    request.set("AssertionConsumerServiceURL", address_of(provider, "saml_response"))
    request.set("ProtocolBinding", Saml.BINDING_HTTP_POST)
    etree.SubElement(request, f"{{{Saml.NS_SAMLP}}}NameIDPolicy", AllowCreate="true")
    return _redirect(url, "SAMLRequest", request), str(request.get("ID"))


def logout_address(provider: ProviderSettings, note: dict[str, Any]) -> str:
    """Return the address that ends a session at the provider; empty where it has none."""
    url = fetch_metadata(provider).logout_url
    name = note.get("name_id")
    if not url or not name:
        return ""
    request = _message(provider, "LogoutRequest", url)
    attributes = {key: value for key, value in name.items() if key != "Value"}
    etree.SubElement(request, f"{{{Saml.NS_SAML}}}NameID", attributes).text = name["Value"]
    if note.get("sid"):
        etree.SubElement(request, f"{{{Saml.NS_SAMLP}}}SessionIndex").text = note["sid"]
    return _redirect(url, "SAMLRequest", request)


def logout_response_address(provider: ProviderSettings, request_id: str, relay_state: str) -> str:
    """Return the address that says to the provider that its logout request was carried out; empty where it has none."""
    url = fetch_metadata(provider).logout_url
    if not url:
        return ""
    answer = _message(provider, "LogoutResponse", url)
    answer.set("InResponseTo", request_id)
    status = etree.SubElement(answer, f"{{{Saml.NS_SAMLP}}}Status")
    etree.SubElement(status, f"{{{Saml.NS_SAMLP}}}StatusCode", Value=Saml.STATUS_SUCCESS)
    return _redirect(url, "SAMLResponse", answer, relay_state)


def _own_side(provider: ProviderSettings) -> dict[str, Any]:
    return {
        "entityId": provider.client_id,
        "assertionConsumerService": {
            "url": address_of(provider, "saml_response"),
            "binding": Saml.BINDING_HTTP_POST,
        },
        "singleLogoutService": {
            "url": address_of(provider, "saml_logout"),
            "binding": Saml.BINDING_HTTP_REDIRECT,
        },
        "NameIDFormat": Saml.NAMEID_PERSISTENT,
    }


def _message(provider: ProviderSettings, kind: str, destination: str) -> Any:
    """Begin a message with what all of them have."""
    namespaces = {"samlp": Saml.NS_SAMLP, "saml": Saml.NS_SAML}
    message = etree.Element(f"{{{Saml.NS_SAMLP}}}{kind}", nsmap=namespaces)
    message.set("ID", f"_{secrets.token_hex(20)}")
    message.set("Version", "2.0")
    message.set("IssueInstant", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    message.set("Destination", destination)
    etree.SubElement(message, f"{{{Saml.NS_SAML}}}Issuer").text = provider.client_id
    return message


def _redirect(url: str, parameter: str, message: Any, relay_state: str = "") -> str:
    """Return an address with a message in it (SAML bindings, 3.4.4.1)."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(etree.tostring(message)) + packer.flush()
    parameters = {parameter: base64.b64encode(packed).decode()}
    if relay_state:
        parameters["RelayState"] = relay_state
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters)}"
