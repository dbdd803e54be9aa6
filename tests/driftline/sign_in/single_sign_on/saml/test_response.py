"""When a SAML provider is not believed: each refusal is a sentence and an audit row, and signs nobody in."""

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from lxml import etree

from driftline.base.accounts.models import AuditEntry, Membership, User
from tests.driftline.sign_in.single_sign_on.saml.assertions import (
    ASSERTION,
    NAMES,
    assertion_of,
    packed,
    response,
    sign,
    signer,
)
from tests.driftline.sign_in.single_sign_on.saml.conftest import SamlCompany
from tests.loopback import LoopbackHandler, LoopbackServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_is_locked_out(company: SamlCompany) -> Any:
    """Whatever a test brought, the next honest answer signs in, from the same browser."""
    yield
    if not company.is_in:
        company.sign_in()
        assert company.is_in


def reason(company: SamlCompany) -> str:
    return str(AuditEntry.objects.get(action="sign_in.refused").after["code"])


def test_an_honest_answer_signs_in(company: SamlCompany) -> None:
    answer = company.sign_in()

    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert company.is_in
    ada = User.objects.get(email="ada@bank.example")
    assert (ada.first_name, ada.has_usable_password()) == ("Ada Byron", False)
    assert Membership.objects.get(user=ada).role == "viewer"


def test_an_answer_that_is_signed_as_a_whole_too(company: SamlCompany) -> None:
    company.sign_in(sign)

    assert company.is_in


@pytest.mark.parametrize(
    ("changed", "code", "sentence"),
    [
        ({"audiences": [["https://another.example"]]}, "wrong_audience", "is for another program"),
        ({"audiences": []}, "wrong_audience", "is for another program"),
        ({"audiences": [["https://driftline.bank.example/saml", "https://another.example"]]}, "wrong_audience",
         "is for another program"),
        ({"audiences": [["https://driftline.bank.example/saml"], ["https://another.example"]]}, "wrong_audience",
         "is for another program"),
        ({"issuer": "https://evil.example"}, "wrong_issuer", "not signed by it, or not valid"),
        ({"recipient": "https://another.example/acs"}, "wrong_recipient", "is for another address"),
        ({"recipient": None}, "wrong_recipient", "is for another address"),
        ({"destination": "https://another.example/acs"}, "wrong_recipient", "is for another address"),
        ({"in_response_to": None}, "unsolicited", "start at the sign-in of Driftline"),
        ({"clock": -10}, "expired_token", "the clocks of the two servers differ"),
        ({"clock": 10}, "wrong_clock", "10 min ahead of"),
        ({"minutes": -2}, "expired_token", "start again"),
        ({"status": "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"}, "cancelled", "AuthnFailed"),
        ({"name_format": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"}, "incomplete_token",
         "another name at each sign-in"),
        ({"session_end": "soon"}, "wrong_signature", "not signed by it, or not valid"),
        ({"name_id": ""}, "incomplete_token", "says no person"),
        ({"name_id": "a" * 200}, "incomplete_token", "says no person"),
        ({"email": None}, "no_email", "says no e-mail address"),
        ({"groups": ["a group of last year"]}, "no_role", "none of your groups"),
        ({"groups": []}, "no_role", "none of your groups"),
        ({"attributes": {"http://schemas.microsoft.com/claims/groups.link": ["x"]}}, "too_many_groups",
         "more groups than fit"),
    ],
)  # fmt: skip
def test_what_is_not_taken_though_it_is_signed(
    company: SamlCompany, changed: dict[str, Any], code: str, sentence: str
) -> None:
    answer = company.sign_in(**changed)

    assert sentence in company.refusal(answer)
    assert reason(company) == code
    assert not User.objects.filter(email__startswith="ada").exists()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (
            "urn:oasis:names:tc:SAML:2.0:status:RequestDenied",
            "Example Ltd did not sign you in, and says why: RequestDenied.",
        ),
        ("urn:oasis:names:tc:SAML:2.0:status:Call 555-0100", "Example Ltd did not sign you in."),
    ],
)
def test_a_text_of_a_stranger_is_neither_shown_nor_recorded(
    company: SamlCompany, status: str, sentence: str
) -> None:
    """A refusal of the provider is not signed."""
    root = company.response(status=status)
    message = etree.SubElement(root.find("samlp:Status", NAMES), f"{{{NAMES['samlp']}}}StatusMessage")
    message.text = "Call 555-0100"

    answer = company.bring(root)

    assert company.refusal(answer) == sentence
    assert "555" not in answer.content.decode()
    assert AuditEntry.objects.get(action="sign_in.refused").after["reason"] == sentence


class TestSignatures:
    def test_none(self, company: SamlCompany) -> None:
        answer = company.bring(company.response())

        assert "has no signed assertion" in company.refusal(answer)

    def test_of_the_response_alone(self, company: SamlCompany) -> None:
        root = company.response()
        sign(root)

        assert "has no signed assertion" in company.refusal(company.bring(root))

    def test_of_another_key(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root), signer("somebody else"))

        assert "is not signed by it" in company.refusal(company.bring(root))
        assert reason(company) == "wrong_signature"

    def test_of_another_key_that_brings_its_certificate(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root), signer("somebody else"))
        signature = root.find(".//ds:Signature", NAMES)
        key_info = etree.SubElement(signature, f"{{{NAMES['ds']}}}KeyInfo")
        data = etree.SubElement(key_info, f"{{{NAMES['ds']}}}X509Data")
        certificate = signer("somebody else").certificate
        etree.SubElement(data, f"{{{NAMES['ds']}}}X509Certificate").text = certificate

        assert "is not signed by it" in company.refusal(company.bring(root))

    @pytest.mark.parametrize(
        ("email", "groups"), [("owner@bank.example", ["risk"]), ("ada@bank.example", ["risk", "leads"])]
    )
    def test_of_what_was_changed_since(self, company: SamlCompany, email: str, groups: list[str]) -> None:
        def forge(root: Any) -> None:
            forged = assertion_of(company.response(email=email, groups=groups))
            statement = root.find(".//saml:AttributeStatement", NAMES)
            statement.getparent().replace(statement, forged.find("saml:AttributeStatement", NAMES))

        assert "is not signed by it" in company.refusal(company.sign_in(forge))

    def test_with_an_algorithm_that_is_broken(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root), method="RSA_SHA1")

        assert "rsa-sha1" in company.refusal(company.bring(root))

    def test_with_a_digest_that_is_broken(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root), digest="SHA1")

        assert "xmldsig#sha1" in company.refusal(company.bring(root))

    def test_that_would_have_an_address_fetched(self, company: SamlCompany) -> None:
        asked: list[str] = []

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

        with LoopbackServer(Handler) as server:
            root = company.response()
            sign(assertion_of(root), also=f"{server.url}/inside")

            assert "in another part than it should be" in company.refusal(company.bring(root))
        assert asked == []

    def test_that_would_run_a_style_sheet(self, company: SamlCompany) -> None:
        def forge(root: Any) -> None:
            transform = root.find(".//ds:Transform", NAMES)
            transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")

        assert "REC-xslt" in company.refusal(company.sign_in(forge))


class TestASignatureThatTakesLongToCheck:
    """xmlsec digests what is signed before it checks the signature, and anybody may post."""

    def with_prefixes(self, company: SamlCompany, text: str) -> Any:
        """Return a response of which prefixes are kept in the signed form; a provider may name some."""
        root = company.response()
        assertion = assertion_of(root)
        sign(assertion)
        exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
        transform = root.findall(".//ds:Transform", NAMES)[-1]
        etree.SubElement(
            transform, f"{{{exclusive}}}InclusiveNamespaces", PrefixList=text, nsmap={"other": exclusive}
        )
        return root

    def test_by_a_long_list_of_prefixes(self, company: SamlCompany) -> None:
        root = self.with_prefixes(company, "xs " * 100)

        assert "PrefixList of more than 200 characters" in company.refusal(company.bring(root))

    def test_a_short_list_is_left_to_the_signature(self, company: SamlCompany) -> None:
        root = self.with_prefixes(company, "xs xsi")

        assert "is not signed by it" in company.refusal(company.bring(root))

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("<a/>" * 10_001, "more than 10,000 elements"),
            ("<a>" * 20 + "</a>" * 20, "within more than 20 others"),
        ],
        ids=["many", "deep"],
    )
    def test_by_elements(self, company: SamlCompany, content: str, sentence: str) -> None:
        def forge(root: Any) -> None:
            value = root.find(".//saml:Attribute[@Name='name']/saml:AttributeValue", NAMES)
            value.append(etree.fromstring(f"<all>{content}</all>"))

        assert sentence in company.refusal(company.sign_in(forge))


def two_assertions(root: Any, forged: Any) -> None:
    root.insert(list(root).index(assertion_of(root)), forged)


def honest_one_in_the_signature(root: Any, forged: Any) -> None:
    honest = assertion_of(root)
    signature = honest.find("ds:Signature", NAMES)
    root.replace(honest, forged)
    honest.remove(signature)
    forged.insert(1, signature)
    etree.SubElement(signature, f"{{{NAMES['ds']}}}Object").append(honest)


def honest_one_in_an_extension(root: Any, forged: Any) -> None:
    honest = assertion_of(root)
    root.replace(honest, forged)
    extensions = etree.Element(f"{{{NAMES['samlp']}}}Extensions")
    extensions.append(honest)
    root.insert(1, extensions)


def honest_one_within_the_forged(root: Any, forged: Any) -> None:
    honest = assertion_of(root)
    root.replace(honest, forged)
    forged.insert(1, honest)


def same_id_twice(root: Any, forged: Any) -> None:
    honest = assertion_of(root)
    forged.set("ID", honest.get("ID"))
    forged.insert(1, copy.deepcopy(honest.find("ds:Signature", NAMES)))
    root.replace(honest, forged)
    wrapper = etree.SubElement(forged, f"{{{NAMES['saml']}}}Advice")
    etree.SubElement(wrapper, "kept", ID=honest.get("ID")).extend(list(honest))


@pytest.mark.parametrize(
    "wrap",
    [
        two_assertions,
        honest_one_in_the_signature,
        honest_one_in_an_extension,
        honest_one_within_the_forged,
        same_id_twice,
    ],
)
def test_a_signed_assertion_that_carries_a_forged_one(
    company: SamlCompany, wrap: Callable[[Any, Any], None]
) -> None:
    """Signature wrapping: the signature of an honest assertion is valid, and another one would be read."""

    def forge(root: Any) -> None:
        forged = assertion_of(company.response(name_id="owner-1", email="owner@bank.example"))
        forged.find(".//saml:SubjectConfirmationData", NAMES).set("InResponseTo", root.get("InResponseTo"))
        wrap(root, forged)

    answer = company.sign_in(forge)

    assert "is not believed" in company.refusal(answer)
    assert not User.objects.filter(email__startswith="ada").exists()


def test_a_comment_in_a_name_cuts_nothing_off(company: SamlCompany) -> None:
    """A provider signs the name of a person without comments; some libraries read the text before the first one."""

    def forge(root: Any) -> None:
        attribute = root.find(".//saml:Attribute[@Name='email']/saml:AttributeValue", NAMES)
        attribute.text = "ada@bank.example"
        attribute.insert(0, etree.Comment("cut here"))
        attribute[0].tail = ".evil.example"

    company.sign_in(forge, email="ada@bank.example.evil.example")

    assert company.is_in
    assert User.objects.filter(email="ada@bank.example.evil.example").exists()


class TestTheRequest:
    def test_of_another_browser(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root))
        company.browser = type(company.browser)()

        assert "belongs to no sign-in" in company.refusal(company.bring(root))

    def test_that_was_never_made(self, company: SamlCompany) -> None:
        company.start()

        answer = company.sign_in(in_response_to="_another")

        assert "belongs to no sign-in" in company.refusal(answer)

    def test_is_answered_once(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root))
        company.bring(root)
        company.browser.post("/accounts/logout/")

        assert "was used already" in company.refusal(company.bring(root))
        assert reason(company) == "token_used"

    def test_is_finished_once(self, company: SamlCompany) -> None:
        root = company.response()
        sign(assertion_of(root))
        posted = Client().post(company.recipient, {"SAMLResponse": packed(root)})
        company.browser.get(posted["Location"])
        company.browser.post("/accounts/logout/")

        assert "was finished before" in company.refusal(company.browser.get(posted["Location"]))

    def test_that_another_person_was_made_to_answer_signs_in_neither(self, company: SamlCompany) -> None:
        """The starter sends the provider's address to a victim, whom the provider knows and answers about at once."""
        request_id = company.start()["ID"]
        root = response(company.recipient, request_id, name_id="victim-1", email="victim@bank.example")
        sign(assertion_of(root))
        victim = Client()
        posted = victim.post(company.recipient, {"SAMLResponse": packed(root)})
        known = {"no": "", "the request": request_id, "the response": root.get("ID"),
                 "the assertion": assertion_of(root).get("ID")}  # fmt: skip

        guesses = [
            company.browser.get("/accounts/saml/company/finish/", {name: value})
            for value in known.values()
            for name in ("ticket", "request")
        ]
        by_victim = victim.get(posted["Location"])
        with_the_ticket = company.browser.get(posted["Location"])

        assert posted.status_code == 302
        assert {company.refusal(one) for one in (*guesses, with_the_ticket)} == {
            "This sign-in took too long, or was finished before; start again."
        }
        assert (by_victim.status_code, "_auth_user_id" in victim.session) == (403, False)
        assert not User.objects.filter(email="victim@bank.example").exists()


def bomb() -> bytes:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE r [<!ENTITY l0 "ha">{levels}]><r>&l9;</r>'.encode()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no XML",
        b"<html/>",
        b"<" + b"a>" * 5_000,
        b"<a>" * 5_000 + b"</a>" * 5_000,
        bomb(),
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
        b'<!DOCTYPE r SYSTEM "http://127.0.0.1:1/r.dtd"><r/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>'.encode("utf-16"),
        b"<r>" + b" " * 400_000 + b"</r>",
        f"<r {' '.join(f'a{n}=""' for n in range(100))}/>".encode(),
    ],
    ids=["empty", "text", "page", "unfinished", "deep", "bomb", "file", "fetched", "utf-16", "long", "wide"],
)
def test_a_document_that_is_no_response(company: SamlCompany, document: bytes) -> None:
    answer = company.bring_text(base64.b64encode(document).decode())

    assert "Example Ltd" in company.refusal(answer)
    assert "root:" not in answer.content.decode()


def test_text_that_is_no_base64(company: SamlCompany) -> None:
    assert "no XML that can be read" in company.refusal(company.bring_text("a"))


def test_an_encrypted_assertion_is_refused_with_what_to_do(company: SamlCompany) -> None:
    def forge(root: Any) -> None:
        assertion_of(root).tag = f"{{{ASSERTION}}}EncryptedAssertion"

    assert "its administrator switches that off" in company.refusal(company.sign_in(forge))


def test_a_flood_of_strangers_leaves_a_row_a_minute(company: SamlCompany) -> None:
    for number in range(5):
        company.bring_text(f"no answer {number}")

    assert AuditEntry.objects.filter(action="sign_in.refused").count() == 1
