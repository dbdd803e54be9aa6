"""When a SAML provider is believed: the checks of a response and its assertion (SAML profiles, 4.1.4.3).

python3-saml checks schema, issuer and signature. What it leaves open is checked before: each condition must be there,
and no part of the document but one signed assertion may be looked at.
"""

from datetime import UTC, datetime
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from msgspec import Struct
from onelogin.saml2.constants import OneLogin_Saml2_Constants as Saml
from onelogin.saml2.errors import OneLogin_Saml2_ValidationError
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from driftline.sign_in.single_sign_on.claims import (
    MAX_SUBJECT_LENGTH,
    PersonClaims,
    check_times,
    describe_person,
)
from driftline.sign_in.single_sign_on.configuration import ProviderSettings
from driftline.sign_in.single_sign_on.refusals import SignInRefused
from driftline.sign_in.single_sign_on.saml.messages import address_of, request_at, toolkit_settings

MAX_RESPONSE_LENGTH = 400_000
"""Of base64: some thousand groups with names of usual length."""
MAX_ATTRIBUTES = 50
"""Of one element in XML: a signature over 25,000 takes two seconds to check."""
MAX_ELEMENTS = 10_000
MAX_DEPTH = 20
MAX_PREFIX_LIST_LENGTH = 200
"""Each prefix is looked for around each element before the signature is checked: 300 KB can take minutes."""
_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_STATUS_CODES = {
    "Requester", "Responder", "VersionMismatch", "AuthnFailed", "InvalidAttrNameOrValue", "InvalidNameIDPolicy",
    "NoAuthnContext", "NoAvailableIDP", "NoPassive", "NoSupportedIDP", "PartialLogout", "ProxyCountExceeded",
    "RequestDenied", "RequestUnsupported", "RequestVersionDeprecated", "RequestVersionTooHigh",
    "RequestVersionTooLow", "ResourceNotRecognized", "TooManyResponses", "UnknownAttrProfile", "UnknownPrincipal",
    "UnsupportedBinding",
}  # fmt: skip
"""Those of SAML core, 3.2.2.2. A refusal is not signed, so that no other text of it belongs on a page."""
_OVERFLOWING_GROUPS = "http://schemas.microsoft.com/claims/groups.link"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SIGNATURE_METHODS = {
    f"{_MORE}{key}-{algorithm.name}": (key, algorithm)
    for key in ("rsa", "ecdsa")
    for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
}
"""The kind of key and the digest of each, by its name in XML."""
_ALGORITHMS = {
    "CanonicalizationMethod": {_EXCLUSIVE},
    "SignatureMethod": SIGNATURE_METHODS.keys(),
    "DigestMethod": {Saml.SHA256, Saml.SHA384, Saml.SHA512},
    "Transform": {
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        _EXCLUSIVE,
    },
}
"""Those that providers use. xmlsec knows others, which run style sheets or fetch, before it looks at the signature."""


type Element = Any  # of lxml, which has no types


class SamlClaims(Struct, frozen=True):
    """What a provider says of a person, to which request, and what it calls its assertion and the person."""

    claims: PersonClaims
    request_id: str
    assertion_id: str
    name_id: dict[str, str]


def read_response(provider: ProviderSettings, text: str, *, now: float) -> SamlClaims:
    """Check a response and return what it says; raises `SignInRefused`."""
    document = _parse(provider, text)
    _check_status(provider, document)
    assertion = _only_assertion(provider, document)
    _check_signatures(provider, document, assertion)
    request_id = _check_subject(provider, document, assertion, now)
    _check_audience(provider, assertion)
    response = _verify_signature(provider, text)
    name_id = _name_id(provider, response)
    session = str(response.get_session_index() or "").strip()
    claims = describe_person(
        provider,
        _claims(provider, response.get_attributes(), name_id),
        subject=name_id["Value"],
        session=session,
        session_expires=_read_session_end(provider, assertion),
    )
    return SamlClaims(claims, request_id, str(assertion.get("ID")), name_id)


def _parse(provider: ProviderSettings, text: str) -> Element:
    """Return the root of the document; entities and document types are refused."""
    if not 0 < len(text) <= MAX_RESPONSE_LENGTH:
        raise SignInRefused(
            "unreadable_response", f"{provider.name} sent no answer, or one that is too long."
        )
    try:
        document: Element = OneLogin_Saml2_XML.to_etree(OneLogin_Saml2_Utils.b64decode(text))
    except (SyntaxError, ValueError) as error:
        raise SignInRefused(
            "unreadable_response",
            f"The answer of {provider.name} is no XML that can be read: {str(error)[:100]}.",
        ) from error
    _check_size(provider, document)
    return document


def _check_size(provider: ProviderSettings, document: Element) -> None:
    """Refuse what takes xmlsec long to digest, which it does before it knows whether the signature is right."""
    attributes = [len(element.attrib) for element in document.iter("*")]
    if max(attributes) > MAX_ATTRIBUTES:
        _refuse(provider, "unreadable_response", f"has an element with more than {MAX_ATTRIBUTES} attributes")
    if len(attributes) > MAX_ELEMENTS:
        _refuse(provider, "unreadable_response", f"has more than {MAX_ELEMENTS:,} elements")
    if document.xpath("/*" * (MAX_DEPTH + 1)):
        _refuse(provider, "unreadable_response", f"has elements within more than {MAX_DEPTH} others")
    for namespaces in document.iter(f"{{{_EXCLUSIVE}}}InclusiveNamespaces"):
        if len(namespaces.get("PrefixList", "")) > MAX_PREFIX_LIST_LENGTH:
            _refuse(
                provider,
                "unreadable_response",
                f"has a PrefixList of more than {MAX_PREFIX_LIST_LENGTH} characters",
            )


def _check_status(provider: ProviderSettings, document: Element) -> None:
    """Refuse an answer by which the provider says that it did not sign anybody in."""
    codes = _all(document, "/samlp:Response/samlp:Status//samlp:StatusCode/@Value")
    if not codes:
        _refuse(provider, "wrong_response", "has no status")
    if codes[0] != Saml.STATUS_SUCCESS:
        known = [one for one in (code.removeprefix(_STATUS) for code in codes) if one in _STATUS_CODES]
        why = f", and says why: {known[-1]}" if known else ""
        raise SignInRefused("cancelled", f"{provider.name} did not sign you in{why}.")


def _only_assertion(provider: ProviderSettings, document: Element) -> Element:
    """Return the one assertion; where there are two, one could be signed and the other be read."""
    if _all(document, "//saml:EncryptedAssertion | //saml:EncryptedID | //saml:EncryptedAttribute"):
        raise SignInRefused(
            "encrypted_response",
            f"The answer of {provider.name} is encrypted; its administrator switches that off for this program.",
        )
    assertions = _all(document, "//saml:Assertion")
    if len(assertions) != 1 or assertions != _all(document, "/samlp:Response/saml:Assertion"):
        _refuse(provider, "wrong_response", f"has {len(assertions)} assertions where one belongs")
    return assertions[0]


def _check_signatures(provider: ProviderSettings, document: Element, assertion: Element) -> None:
    """Refuse what signs anything but the assertion and the response as a whole, or in a way that providers do not."""
    ids = _all(document, "//@ID | //@Id | //@id")
    if len(set(ids)) != len(ids):
        _refuse(provider, "wrong_signature", "has two parts of the same ID")
    signatures = _all(document, "//ds:Signature")
    if assertion not in [one.getparent() for one in signatures]:
        raise SignInRefused(
            "wrong_signature",
            f"The answer of {provider.name} has no signed assertion; its administrator has assertions signed.",
        )
    for signature in signatures:
        parent = signature.getparent()
        references = [one.get("URI") for one in _all(signature, ".//ds:Reference")]
        if parent not in (document, assertion) or references != [f"#{parent.get('ID')}"]:
            _refuse(provider, "wrong_signature", "is signed in another part than it should be")
        for name, allowed in _ALGORITHMS.items():
            for used in _all(signature, f".//ds:{name}"):
                if used.get("Algorithm") not in allowed:
                    _refuse(provider, "wrong_algorithm", f"is signed with {str(used.get('Algorithm'))[:100]}")
        if _all(signature, ".//ds:Object | .//ds:RetrievalMethod"):
            _refuse(provider, "wrong_signature", "has more in its signature than belongs there")


def _check_subject(provider: ProviderSettings, document: Element, assertion: Element, now: float) -> str:
    """Check that the assertion is for who brings it here now; return the ID of the request that it answers."""
    address = address_of(provider, "saml_response")
    bearers = _all(assertion, f"saml:Subject/saml:SubjectConfirmation[@Method='{Saml.CM_BEARER}']")
    data = _all(bearers[0], "saml:SubjectConfirmationData") if len(bearers) == 1 else []
    conditions = _all(assertion, "saml:Conditions")
    if len(data) != 1 or len(conditions) != 1:
        _refuse(provider, "wrong_response", "does not say once for whom and for when it is")
    if data[0].get("Recipient") != address or document.get("Destination", address) != address:
        raise SignInRefused(
            "wrong_recipient", f"The answer of {provider.name} is for another address than {address}."
        )
    request_id = data[0].get("InResponseTo")
    if not request_id or document.get("InResponseTo") != request_id:
        raise SignInRefused(
            "unsolicited",
            f"This answer of {provider.name} belongs to no request of Driftline; start at the sign-in of Driftline.",
        )
    starts = [one.get("NotBefore") for one in (*data, *conditions) if one.get("NotBefore")]
    ends = [one.get("NotOnOrAfter") for one in (*data, *conditions) if one.get("NotOnOrAfter")]
    issued = assertion.get("IssueInstant")
    if not issued or not data[0].get("NotOnOrAfter"):
        _refuse(provider, "wrong_response", "does not say from when and until when it holds")
    try:
        check_times(
            provider,
            issued=read_moment(issued),
            valid_from=max(map(read_moment, starts), default=now),
            expires=min(map(read_moment, ends)),
            now=now,
        )
    except (ValueError, OverflowError):
        _refuse(provider, "wrong_response", "has times that cannot be read")
    return str(request_id)


def _check_audience(provider: ProviderSettings, assertion: Element) -> None:
    """Refuse an assertion that is not, or not only, for Driftline."""
    restrictions = _all(assertion, "saml:Conditions/saml:AudienceRestriction")
    audiences = [[(one.text or "").strip() for one in _all(part, "saml:Audience")] for part in restrictions]
    if not audiences or any(one != [provider.client_id] for one in audiences):
        raise SignInRefused("wrong_audience", f"The answer of {provider.name} is for another program.")


def _verify_signature(provider: ProviderSettings, text: str) -> OneLogin_Saml2_Response:
    """Return the response once python3-saml has verified its signature; raises `SignInRefused`."""
    response = OneLogin_Saml2_Response(toolkit_settings(provider), text)
    if not response.is_valid(request_at(address_of(provider, "saml_response"))):
        reason = str(response.get_error())[:150].rstrip(".")
        code = "wrong_issuer" if "issuer" in reason else "wrong_signature"
        raise SignInRefused(
            code, f"The answer of {provider.name} is not signed by it, or not valid: {reason}."
        )
    return response


def _name_id(provider: ProviderSettings, response: OneLogin_Saml2_Response) -> dict[str, str]:
    """Return how the provider calls the person, which must be the same at each sign-in."""
    try:
        name_id: dict[str, str] = response.get_nameid_data()
    except OneLogin_Saml2_ValidationError as error:
        _refuse(provider, "incomplete_token", f"says no person ({error})")
    if name_id.get("Format") == Saml.NAMEID_TRANSIENT:
        raise SignInRefused(
            "incomplete_token",
            f"{provider.name} calls you by another name at each sign-in; its administrator sets a NameID that stays, "
            "such as a persistent one.",
        )
    value = name_id["Value"] = name_id["Value"].strip()
    if not (0 < len(value) <= MAX_SUBJECT_LENGTH and value.isprintable()):
        _refuse(provider, "incomplete_token", "says no person that can be stored")
    return name_id


def _read_session_end(provider: ProviderSettings, assertion: Element) -> float | None:
    """Return when the provider ends the session, in seconds since 1970; None where it does not say."""
    ends = _all(assertion, "saml:AuthnStatement/@SessionNotOnOrAfter")
    try:
        return min(map(read_moment, ends), default=None)
    except (ValueError, OverflowError):
        _refuse(provider, "wrong_response", "has times that cannot be read")


def _claims(
    provider: ProviderSettings, attributes: dict[str, Any], name_id: dict[str, str]
) -> dict[str, Any]:
    """Return attributes under the names that OpenID Connect has for them."""
    assert provider.saml is not None
    email = _first(attributes, provider.saml.email_attribute)
    if not email and name_id.get("Format") == Saml.NAMEID_EMAIL_ADDRESS:
        email = name_id["Value"]
    overflow = {provider.groups_claim: ""} if _OVERFLOWING_GROUPS in attributes else {}
    return {
        provider.groups_claim: attributes.get(provider.groups_claim),
        "email": email,
        "name": _first(attributes, provider.saml.name_attribute),
        "_claim_names": overflow,
    }


def _first(attributes: dict[str, Any], name: str) -> Any:
    return next(iter(attributes.get(name, ())), None)


def _all(element: Element, path: str) -> list[Any]:
    elements: list[Any] = element.xpath(path, namespaces=Saml.NSMAP)
    return elements


def read_moment(text: str) -> float:
    """Return the seconds since 1970 of a time in XML; raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _refuse(provider: ProviderSettings, code: str, reason: str) -> NoReturn:
    raise SignInRefused(code, f"The answer of {provider.name} {reason}, so that it is not believed.")
