"""Reads the metadata that a SAML provider publishes; imported before Django's settings are there."""

import base64
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser

from driftline.sign_in.single_sign_on.provider_metadata import ProviderMetadata

MAX_CERTIFICATES = 20
MIN_RSA_BITS = 2048


def read_metadata(document: bytes, entity_id: str) -> ProviderMetadata:
    """Return what metadata says of the provider with that entity ID; raises ValueError with a sentence."""
    try:
        described: dict[str, Any] = OneLogin_Saml2_IdPMetadataParser.parse(document, entity_id=entity_id)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"it is no XML that can be read ({str(error)[:200]})") from error
    except AttributeError as error:  # python3-saml takes the text of an empty element
        raise ValueError("it has an empty element where a certificate or an address belongs") from error
    provider = described.get("idp", {})
    if "entityId" not in provider:
        raise ValueError(f"it describes no identity provider with the entity ID {entity_id}")
    sign_in_url = provider.get("singleSignOnService", {}).get("url", "")
    logout_url = provider.get("singleLogoutService", {}).get("url", "")
    if not sign_in_url:
        raise ValueError("it has no SingleSignOnService with the binding HTTP-Redirect")
    for address in filter(None, (sign_in_url, logout_url)):
        if not address.startswith(("https://", "http://")):
            raise ValueError(f"{address[:200]!r} is no web page")
    several = provider.get("x509certMulti", {}).get("signing", [])
    certificates = tuple(several or filter(None, [provider.get("x509cert")]))
    if not 0 < len(certificates) <= MAX_CERTIFICATES:
        raise ValueError(
            f"it has {len(certificates)} certificates for signing; 1 to {MAX_CERTIFICATES} can be used"
        )
    for certificate in certificates:
        _check_certificate(certificate)
    return ProviderMetadata(sign_in_url=sign_in_url, certificates=certificates, logout_url=logout_url)


def _check_certificate(text: str) -> None:
    """Raise ValueError for what is no certificate, or for one of a key that others can forge signatures of."""
    key = read_public_key(text)
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(
                f"a certificate has an RSA key of {key.key_size} bits; {MIN_RSA_BITS} are needed"
            )
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("a certificate has a key that is neither of RSA nor of an elliptic curve")


def read_public_key(certificate: str) -> Any:
    """Return the key of a certificate in base64; raises ValueError."""
    try:
        return x509.load_der_x509_certificate(base64.b64decode(certificate)).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"a certificate cannot be read ({str(error)[:200]})") from error
