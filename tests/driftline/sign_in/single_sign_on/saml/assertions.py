"""What a SAML provider writes and signs, and what a forger makes of it."""

import base64
import copy
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from lxml import etree

PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion"
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
NAMES = {"samlp": PROTOCOL, "saml": ASSERTION, "ds": SIGNATURE}
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
ISSUER, DRIFTLINE = "https://login.bank.example/saml", "https://driftline.bank.example/saml"


class Signer(NamedTuple):
    """A private key in PEM, and the certificate that providers publish of it, in base64."""

    key: bytes
    certificate: str


@cache
def signer(name: str = "the provider", bits: int = 2048) -> Signer:
    """Make a key; the same one for the same name."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Signer(pem, _certificate(key, name, hashes.SHA256()))


@cache
def elliptic_signer() -> tuple[ec.EllipticCurvePrivateKey, str]:
    """Make a key of an elliptic curve, and its certificate in base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _certificate(key, "the provider", hashes.SHA256())


@cache
def certificate_of_unknown_key() -> str:
    """Write the certificate of a key of an unknown kind."""
    known = base64.b64decode(_certificate(ed25519.Ed25519PrivateKey.generate(), "the provider", None))
    return base64.b64encode(known.replace(b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x7f")).decode()


def _certificate(key: Any, name: str, algorithm: hashes.HashAlgorithm | None) -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .sign(key, algorithm)  # type: ignore[arg-type]
    )
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def metadata(*certificates: str, issuer: str = ISSUER, url: str = "https://login.bank.example") -> bytes:
    """Write what the provider publishes of itself."""
    keys = "".join(
        '<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data>'
        f"<ds:X509Certificate>{one}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        for one in certificates
    )
    binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
    return (
        f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="{SIGNATURE}" '
        f'entityID="{issuer}"><md:IDPSSODescriptor protocolSupportEnumeration="{PROTOCOL}">{keys}'
        f'<md:SingleLogoutService Binding="{binding}" Location="{url}/leave"/>'
        f'<md:SingleSignOnService Binding="{binding}" Location="{url}/enter?tenant=7&amp;page=1"/>'
        "</md:IDPSSODescriptor></md:EntityDescriptor>"
    ).encode()


def moment(minutes: float = 0) -> str:
    """Write the time that many minutes from now."""
    return f"{datetime.fromtimestamp(time.time(), UTC) + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def response(address: str, request_id: str, **changed: Any) -> Any:
    """Write the unsigned response of an honest provider about ada, with what a test changes; None leaves it out."""
    honest: dict[str, Any] = {
        "assertion_id": f"_{time.time_ns():x}", "issuer": ISSUER, "name_id": "ada-1", "name_format": PERSISTENT,
        "in_response_to": request_id, "recipient": address, "destination": address, "audiences": [[DRIFTLINE]],
        "clock": 0, "minutes": 5, "email": "ada@bank.example", "name": "Ada Byron", "groups": ["risk"],
        "session": "session-1", "session_end": None, "status": SUCCESS, "attributes": {},
    }  # fmt: skip
    values = honest | changed
    start, end = moment(values["clock"]), moment(values["clock"] + values["minutes"])
    root = _element("samlp:Response", ID=f"{values['assertion_id']}-of-all", Version="2.0", IssueInstant=start,
                    Destination=values["destination"], InResponseTo=values["in_response_to"])  # fmt: skip
    _add(root, "saml:Issuer", values["issuer"])
    _add(_add(root, "samlp:Status"), "samlp:StatusCode", Value=values["status"])
    assertion = _add(root, "saml:Assertion", ID=values["assertion_id"], Version="2.0", IssueInstant=start)
    _add(assertion, "saml:Issuer", values["issuer"])
    subject = _add(assertion, "saml:Subject")
    _add(subject, "saml:NameID", values["name_id"], Format=values["name_format"])
    _add(
        _add(subject, "saml:SubjectConfirmation", Method=BEARER), "saml:SubjectConfirmationData",
        NotOnOrAfter=end, Recipient=values["recipient"], InResponseTo=values["in_response_to"],
    )  # fmt: skip
    conditions = _add(assertion, "saml:Conditions", NotBefore=start, NotOnOrAfter=end)
    for audiences in values["audiences"]:
        restriction = _add(conditions, "saml:AudienceRestriction")
        for audience in audiences:
            _add(restriction, "saml:Audience", audience)
    statement = _add(assertion, "saml:AuthnStatement", AuthnInstant=start, SessionIndex=values["session"],
                     SessionNotOnOrAfter=values["session_end"])  # fmt: skip
    kind = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
    _add(_add(statement, "saml:AuthnContext"), "saml:AuthnContextClassRef", kind)
    listed = {"email": [values["email"]], "name": [values["name"]], "groups": values["groups"]} | values[
        "attributes"
    ]
    attributes = _add(assertion, "saml:AttributeStatement")
    for name, texts in listed.items():
        if texts and texts != [None]:
            attribute = _add(attributes, "saml:Attribute", Name=name)
            for value in texts:
                _add(attribute, "saml:AttributeValue", value)
    return root


def assertion_of(root: Any) -> Any:
    """Return the first assertion of a response."""
    return root.find(".//saml:Assertion", NAMES)


def sign(
    part: Any, by: Signer | None = None, *, digest: str = "SHA256", method: str = "RSA_SHA256", also: str = ""
) -> None:
    """Sign a response or an assertion; `also` is an address that the signature refers to beside it."""
    transforms: Any = xmlsec.Transform
    signature = xmlsec.template.create(part, transforms.EXCL_C14N, getattr(transforms, method), ns="ds")
    part.find("saml:Issuer", NAMES).addnext(signature)
    reference = xmlsec.template.add_reference(
        signature, getattr(transforms, digest), uri=f"#{part.get('ID')}"
    )
    xmlsec.template.add_transform(reference, transforms.ENVELOPED)
    xmlsec.template.add_transform(reference, transforms.EXCL_C14N)
    xmlsec.tree.add_ids(part, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory((by or signer()).key, xmlsec.KeyFormat.PEM, None)
    context.sign(signature)
    if also:
        other = copy.deepcopy(reference)
        other.set("URI", also)
        reference.addnext(other)


def packed(root: Any) -> str:
    """Return a document as a form posts it."""
    return base64.b64encode(etree.tostring(root)).decode()


def _element(tag: str, text: str | None = None, **attributes: str | None) -> Any:
    prefix, name = tag.split(":")
    kept = {key: value for key, value in attributes.items() if value is not None}
    element = etree.Element(f"{{{NAMES[prefix]}}}{name}", kept, nsmap=NAMES)
    element.text = text
    return element


def _add(parent: Any, tag: str, text: str | None = None, **attributes: str | None) -> Any:
    child = _element(tag, text, **attributes)
    parent.append(child)
    return child
