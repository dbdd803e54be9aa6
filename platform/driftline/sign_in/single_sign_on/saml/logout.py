"""When a SAML provider is believed that somebody left there: a logout request in the query of an address."""

import base64
import zlib
from typing import Any
from urllib.parse import unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from onelogin.saml2.errors import OneLogin_Saml2_Error, OneLogin_Saml2_ValidationError
from onelogin.saml2.logout_request import OneLogin_Saml2_Logout_Request
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from driftline.sign_in.single_sign_on.claims import EndedSession, check_times
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.refusals import SignInRefused
from driftline.sign_in.single_sign_on.saml.messages import address_of, fetch_metadata
from driftline.sign_in.single_sign_on.saml.metadata import read_public_key
from driftline.sign_in.single_sign_on.saml.response import SIGNATURE_METHODS, read_moment

MAX_QUERY_LENGTH = 20_000
MAX_REQUEST_BYTES = 100_000
_UNREADABLE = (SyntaxError, ValueError, zlib.error, OneLogin_Saml2_Error, OneLogin_Saml2_ValidationError)


def read_logout_request(provider: ProviderSettings, query: str, *, now: float) -> tuple[EndedSession, str]:
    """Check a logout request, and return the session that it ends and its relay state; raises `SignInRefused`.

    Names and values are taken from the very text that is signed: a name in another encoding would mean the same to a
    parser of forms, and be left out of what the signature is checked over.
    """
    parts = [part.partition("=") for part in query[: MAX_QUERY_LENGTH + 1].split("&")]
    data = {name: unquote_plus(value) for name, _, value in parts}
    if len(query) > MAX_QUERY_LENGTH or len(data) != len(parts) or not data.get("Signature"):
        raise SignInRefused("wrong_signature", f"This logout request is not signed by {provider.name}.")
    if "SAMLRequest" not in data or not _is_signed(provider, query, data):
        raise SignInRefused("wrong_signature", f"This logout request is not signed by {provider.name}.")
    address = address_of(provider, "saml_logout")
    try:
        root = OneLogin_Saml2_XML.to_etree(_unpack(data["SAMLRequest"]))
        name = OneLogin_Saml2_Logout_Request.get_nameid_data(root)["Value"]
        sessions = OneLogin_Saml2_Logout_Request.get_session_indexes(root)
        issuer = OneLogin_Saml2_Logout_Request.get_issuer(root)
        issued = read_moment(root.get("IssueInstant", ""))
        expires = read_moment(root.get("NotOnOrAfter")) if root.get("NotOnOrAfter") else now
    except _UNREADABLE as error:
        raise SignInRefused("no_logout_token", f"This is no logout request: {str(error)[:100]}.") from error
    if issuer != provider.issuer or root.get("Destination", address) != address:
        raise SignInRefused(
            "no_logout_token", f"This logout request of {provider.name} is not for Driftline."
        )
    if not name or not root.get("ID"):
        raise SignInRefused("no_logout_token", "A logout request names one person, and has an ID.")
    check_times(provider, issued=issued, valid_from=issued, expires=expires, now=now)
    named = tuple(filter(None, (str(one).strip() for one in sessions)))
    ended = EndedSession(name.strip(), named, root.get("ID"))
    return ended, data.get("RelayState", "")


def _is_signed(provider: ProviderSettings, query: str, data: dict[str, str]) -> bool:
    """Return whether a key of the provider signed the query (SAML bindings, 3.4.4.1); python3-saml knows RSA alone."""
    kind, algorithm = SIGNATURE_METHODS.get(data.get("SigAlg", ""), ("", None))
    if algorithm is None:
        return False
    names = ("SAMLRequest=", "RelayState=", "SigAlg=")
    content = "&".join(part for name in names for part in query.split("&") if part.startswith(name)).encode()
    try:
        signature = base64.b64decode(data["Signature"])
    except ValueError:
        return False
    keys = [read_public_key(one) for one in fetch_metadata(provider).certificates]
    return any(_verifies(key, kind, algorithm, signature, content) for key in keys)


def _verifies(key: Any, kind: str, algorithm: hashes.HashAlgorithm, signature: bytes, content: bytes) -> bool:
    """Return whether a signature is of that key."""
    try:
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), algorithm)
        elif kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(_as_asn1(signature, key), content, ec.ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _as_asn1(signature: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a signature as cryptography takes it; providers write ASN.1, or two numbers as in XML."""
    half = (key.key_size + 7) // 8
    if len(signature) != 2 * half:
        return signature
    return encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))


def _unpack(text: str) -> bytes:
    """Return a packed document, which may not be larger than a request can be."""
    unpacker = zlib.decompressobj(wbits=-15)
    document = unpacker.decompress(base64.b64decode(text), MAX_REQUEST_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError("it is too long")
    return document
