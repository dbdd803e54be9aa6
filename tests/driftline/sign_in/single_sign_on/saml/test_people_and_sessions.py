"""What follows from a sign-in by SAML is what follows from one by OpenID Connect: roles, sessions, no passwords."""

import base64
import time
import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import msgspec
import pytest
import xmlsec
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value
from allauth.usersessions.models import UserSession
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from django.http import HttpResponse
from django.test import Client
from django.utils.html import escape
from lxml import etree

from driftline.base.accounts.models import AuditEntry, Membership, User
from driftline.base.clock import now
from driftline.sign_in.single_sign_on.configuration import SamlSettings, SignInSettings
from driftline.sign_in.single_sign_on.saml.metadata import read_metadata
from tests.driftline.sign_in.single_sign_on.saml.assertions import (
    DRIFTLINE,
    ISSUER,
    NAMES,
    Signer,
    certificate_of_unknown_key,
    elliptic_signer,
    metadata,
    moment,
    signer,
)
from tests.driftline.sign_in.single_sign_on.saml.conftest import SamlCompany, message_in
from tests.loopback import LoopbackHandler, LoopbackServer

pytestmark = pytest.mark.django_db

ADA = "ada@bank.example"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
SHA256 = f"{MORE}rsa-sha256"


def role_of(email: str = ADA) -> str | None:
    return Membership.objects.filter(user__email=email).values_list("role", flat=True).first()


def is_in(company: SamlCompany) -> bool:
    return company.browser.get("/accounts/profile/").status_code == 200


class TestTheRequest:
    @pytest.mark.slow
    def test_says_who_asks_and_where_the_answer_goes(self, company: SamlCompany) -> None:
        answer = company.browser.get("/accounts/saml/company/login/", {"process": "connect"})

        request = message_in(answer["Location"], "SAMLRequest")
        assert answer["Location"].startswith("https://login.bank.example/enter?tenant=7&page=1&SAMLRequest=")
        assert request.get("Destination") == "https://login.bank.example/enter?tenant=7&page=1"
        assert request.get("AssertionConsumerServiceURL") == company.recipient
        assert request.findtext("saml:Issuer", namespaces=NAMES) == DRIFTLINE
        assert len(request.get("ID")) > 32

    def test_leads_back_to_the_page_that_was_wanted(self, company: SamlCompany) -> None:
        company.start(next="/p/fraud/")
        request_id = list(company.browser.session["socialaccount_states"])[-1]

        answer = company.sign_in(in_response_to=request_id)

        assert answer["Location"] == "/p/fraud/"


class TestRoles:
    def test_follow_the_groups_at_each_sign_in(self, company: SamlCompany) -> None:
        roles = []
        for groups in (["risk"], ["risk", "leads"], ["a group of last year"]):
            company.sign_in(groups=groups)
            roles.append(role_of())
            assert company.is_in
            company.browser.post("/accounts/logout/")

        assert roles == ["viewer", "editor", None]
        changes = AuditEntry.objects.filter(actor="single sign-on company").order_by("pk")
        assert [entry.action for entry in changes] == [
            "user.create", "member.join", "member.role", "member.remove",
        ]  # fmt: skip

    def test_are_of_the_person_whatever_address_they_have_now(self, company: SamlCompany) -> None:
        company.sign_in()
        company.browser.post("/accounts/logout/")
        company.sign_in(email="ada.byron@bank.example")

        assert User.objects.filter(email__startswith="ada").count() == 1

    def test_take_the_address_from_a_name_that_is_one(self, company: SamlCompany) -> None:
        company.sign_in(
            email=None, name_id=ADA, name_format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
        )

        assert role_of() == "viewer"

    def test_come_from_attributes_of_other_names(self, company: SamlCompany) -> None:
        described = company.configure().saml
        assert described is not None
        company.configure(
            saml=SamlSettings(
                metadata=described.metadata, email_attribute="urn:oid:1", name_attribute="urn:oid:2"
            ),
            groups_claim="urn:oid:3",
        )

        company.sign_in(
            email=None, name=None, groups=None,
            attributes={"urn:oid:1": [ADA], "urn:oid:2": ["Ada"], "urn:oid:3": ["risk", "leads"]},
        )  # fmt: skip

        assert (role_of(), User.objects.get(email=ADA).first_name) == ("editor", "Ada")


def test_an_account_of_the_same_address_is_not_taken_over(company: SamlCompany, owner: User) -> None:
    answer = company.sign_in(email=owner.email)

    assert "not linked with Example Ltd" in company.refusal(answer)


def test_passwords_are_switched_off_but_for_the_named(company: SamlCompany, owner: User) -> None:
    company.configure(passwords_for=("breakglass@bank.example",))
    User.objects.create_superuser("breakglass@bank.example", "correct horse battery")
    page = company.browser.get("/accounts/login/?next=/p/fraud/").content.decode()
    tries = {}
    for email in (owner.email, "breakglass@bank.example"):
        company.browser.post("/accounts/login/", {"login": email, "password": "correct horse battery"})
        tries[email] = company.is_in

    assert "/accounts/saml/company/login/?next=%2Fp%2Ffraud%2F" in page
    assert tries == {owner.email: False, "breakglass@bank.example": True}


def test_a_second_factor_is_asked_for_after_the_provider(company: SamlCompany, settings: Any) -> None:
    """Also where two providers know Driftline by the same entity ID."""
    here = company.configure(link_verified_emails=True)
    settings.SIGN_IN = SignInSettings((msgspec.structs.replace(here, id="another"), here))
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    TOTP.activate(User.objects.create_user(ADA, "correct horse battery"), secret)

    asked = company.sign_in()["Location"]
    before = company.is_in
    code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))
    company.browser.post("/accounts/2fa/authenticate/", {"code": code})

    assert (asked, before, company.is_in) == ("/accounts/2fa/authenticate/", False, True)
    assert UserSession.objects.get().data == {"provider": "company", "sid": "session-1"}


@pytest.mark.parametrize(("session_end_minutes", "minutes"), [(30, 30), (600, 120), (None, 120)])
def test_a_session_ends_with_the_one_at_the_provider_or_before(
    company: SamlCompany, session_end_minutes: int | None, minutes: int
) -> None:
    company.configure(session_hours=2)

    company.sign_in(session_end=None if session_end_minutes is None else moment(session_end_minutes))

    left = company.browser.session.get_expiry_date() - now()
    assert timedelta(minutes=minutes - 2) < left <= timedelta(minutes=minutes)


def test_a_session_ends_with_the_one_at_the_provider_after_a_second_factor_too(company: SamlCompany) -> None:
    company.configure(link_verified_emails=True)
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    TOTP.activate(User.objects.create_user(ADA, "correct horse battery"), secret)
    company.sign_in(session_end=moment(30))

    code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))
    company.browser.post("/accounts/2fa/authenticate/", {"code": code})

    assert company.is_in
    assert company.browser.session.get_expiry_date() - now() <= timedelta(minutes=30)


def test_a_provider_of_the_other_protocol_has_no_such_addresses(company: SamlCompany) -> None:
    for path in ("oidc/company/login/", "oidc/company/login/callback/", "saml/another/login/"):
        assert company.browser.get(f"/accounts/{path}").status_code == 404
    assert company.browser.post("/accounts/oidc/company/logout/").status_code == 404


def test_the_administrator_of_the_provider_finds_what_to_enter(company: SamlCompany) -> None:
    answer = Client().get("/accounts/saml/company/metadata/")

    described = etree.fromstring(answer.content)
    service = described.find(".//{*}AssertionConsumerService")
    assert described.get("entityID") == DRIFTLINE
    assert service.get("Location") == company.recipient
    assert described.find("{*}SPSSODescriptor").get("WantAssertionsSigned") == "true"


class TestMetadataAtAnAddress:
    @pytest.fixture
    def published(self, company: SamlCompany) -> Any:
        """What the provider publishes, which a test may change; the file of the operator names its address."""
        documents = [metadata(signer().certificate)]

        class Handler(LoopbackHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(documents[-1])

        with LoopbackServer(Handler) as server:
            company.configure(saml=SamlSettings(metadata_url=f"{server.url}/metadata"))
            yield documents

    def test_is_fetched(self, company: SamlCompany, published: list[bytes]) -> None:
        company.sign_in()

        assert company.is_in

    @pytest.mark.parametrize(
        ("document", "sentence"),
        [
            (b"no XML", "no XML that can be read"),
            (metadata(signer().certificate, issuer="https://evil.example"), "describes no identity provider"),
            (metadata(), "has 0 certificates"),
            (metadata("bm8="), "cannot be used: a certificate cannot be read"),
            (metadata(""), "cannot be used: it has an empty element"),
            (metadata(certificate_of_unknown_key()), "cannot be used: a certificate cannot be read"),
            (metadata(signer("small", 1024).certificate), "RSA key of 1024 bits"),
            (metadata(signer().certificate, url="javascript:alert(1)//"), "is no web page"),
        ],
    )
    def test_that_cannot_be_used(
        self, company: SamlCompany, published: list[bytes], document: bytes, sentence: str
    ) -> None:
        published.append(document)

        answer = company.browser.get("/accounts/saml/company/login/")

        assert sentence in company.refusal(answer)

    def test_at_an_address_that_must_not_be_called(
        self, company: SamlCompany, published: list[bytes], settings: Any
    ) -> None:
        settings.OUTBOUND_ALLOW = []

        assert "does not call: 127.0.0.1 is not a public address" in company.refusal(
            company.browser.get("/accounts/saml/company/login/")
        )


def logout_request(**changed: Any) -> bytes:
    values = {
        "id": f"_{time.time_ns()}",
        "issuer": ISSUER,
        "name_id": "ada-1",
        "session": "session-1",
    } | changed
    session = f"<samlp:SessionIndex>{values['session']}</samlp:SessionIndex>" if values["session"] else ""
    return (
        f'<samlp:LogoutRequest xmlns:samlp="{NAMES["samlp"]}" xmlns:saml="{NAMES["saml"]}" ID="{values["id"]}" '
        f'Version="2.0" IssueInstant="{moment(values.get("clock", 0))}"><saml:Issuer>{values["issuer"]}</saml:Issuer>'
        f"<saml:NameID>{values['name_id']}</saml:NameID>{session}</samlp:LogoutRequest>"
    ).encode()


def unsigned_query(document: bytes, algorithm: str) -> str:
    """Write a message into a query, as providers do that write hexadecimal digits in lower case."""
    packer = zlib.compressobj(wbits=-15)
    text = base64.b64encode(packer.compress(document) + packer.flush()).decode()
    return f"SAMLRequest={quote(text, safe='').replace('%2B', '%2b')}&RelayState=there&SigAlg={quote_plus(algorithm)}"


def in_query(document: bytes, by: Signer, *, algorithm: str = SHA256) -> str:
    query = unsigned_query(document, algorithm)
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(by.key, xmlsec.KeyFormat.PEM, None)
    transforms: Any = xmlsec.Transform
    method = transforms.RSA_SHA256 if algorithm == SHA256 else transforms.RSA_SHA1
    mark = context.sign_binary(query.encode(), method)
    return f"{query}&Signature={quote_plus(base64.b64encode(mark).decode())}"


def as_two_numbers(signature: bytes) -> bytes:
    """Write a signature by an elliptic curve as XML does."""
    return b"".join(one.to_bytes(32) for one in decode_dss_signature(signature))


class TestTheProvidersWord:
    def leave(self, query: str) -> HttpResponse:
        return Client().get(f"/accounts/saml/company/logout/?{query}")

    def test_ends_the_session_that_it_names_and_is_answered(self, company: SamlCompany) -> None:
        company.sign_in()
        document = logout_request(id="_once")

        answer = self.leave(in_query(document, signer()))

        assert not is_in(company)
        message = message_in(answer["Location"], "SAMLResponse")
        assert answer["Location"].startswith("https://login.bank.example/leave?")
        assert parse_qs(urlsplit(answer["Location"]).query)["RelayState"] == ["there"]
        assert message.get("InResponseTo") == "_once"
        entry = AuditEntry.objects.get(action="sessions.end")
        assert (entry.actor, entry.subject) == ("single sign-on company", ADA)

    def test_ends_all_sessions_of_a_person(self, company: SamlCompany) -> None:
        company.sign_in()
        company.browser = Client()
        company.sign_in(session="session-2")

        self.leave(in_query(logout_request(session=""), signer()))

        assert not UserSession.objects.exists()

    def test_ends_each_session_that_it_names(self, company: SamlCompany) -> None:
        browsers = {}
        for name in ("session-1", "session-2", "session-3"):
            browsers[name] = company.browser = Client()
            company.sign_in(session=name)

        self.leave(
            in_query(
                logout_request(session="session-1</samlp:SessionIndex><samlp:SessionIndex>\n session-3\n "),
                signer(),
            )
        )

        still_in = [
            name for name, one in browsers.items() if one.get("/accounts/profile/").status_code == 200
        ]
        assert still_in == ["session-2"]

    def test_names_a_session_whole_however_long_its_name_is(self, company: SamlCompany) -> None:
        name = "s" * 300
        company.sign_in(session=f"{name}1")

        self.leave(in_query(logout_request(session=f"{name}2"), signer()))
        after_that_of_another = is_in(company)
        self.leave(in_query(logout_request(session=f"{name}1"), signer()))

        assert (after_that_of_another, is_in(company)) == (True, False)

    @pytest.mark.parametrize(
        "changed",
        [
            {"session": "session-7"},
            {"name_id": "eve-2"},
            {"issuer": "https://evil.example"},
            {"clock": -10},
            {"clock": 10},
        ],
    )
    def test_leaves_other_sessions(self, company: SamlCompany, changed: dict[str, Any]) -> None:
        company.sign_in()

        self.leave(in_query(logout_request(**changed), signer()))

        assert is_in(company)

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("saml:NameID>", "saml:EncryptedID>"),
            ("<saml:NameID>ada-1</saml:NameID>", ""),
            ("ada-1", ""),
            ('ID="_once"', ""),
            ('ID="_once"', 'ID="_once" NotOnOrAfter="soon"'),
            ('ID="_once"', 'ID="_once" Destination="https://another.example/logout"'),
            ("samlp:LogoutRequest", "samlp:LogoutResponse"),
            ("<samlp:LogoutRequest", '<!DOCTYPE r [<!ENTITY x "y">]><samlp:LogoutRequest'),
        ],
    )
    def test_is_refused_where_it_is_unclear(self, company: SamlCompany, before: str, after: str) -> None:
        company.sign_in()
        document = logout_request(id="_once").decode().replace(before, after).encode()

        answer = self.leave(in_query(document, signer()))

        assert (answer.status_code, is_in(company)) == (403, True)

    @pytest.mark.parametrize("write", [bytes, as_two_numbers])
    @pytest.mark.parametrize(
        ("algorithm", "is_taken"),
        [
            (f"{MORE}ecdsa-sha256", True),
            (f"{MORE}ecdsa-sha512", False),
            (f"{MORE}ecdsa-sha1", False),
            (SHA256, False),
            ("", False),
        ],
    )
    def test_is_taken_from_a_key_of_an_elliptic_curve(
        self, company: SamlCompany, write: Callable[[bytes], bytes], algorithm: str, is_taken: bool
    ) -> None:
        company.sign_in()
        key, certificate = elliptic_signer()
        described = read_metadata(metadata(signer().certificate, certificate), ISSUER)
        company.configure(saml=SamlSettings(metadata=described))
        query = unsigned_query(logout_request(), algorithm)
        mark = base64.b64encode(write(key.sign(query.encode(), ec.ECDSA(hashes.SHA256())))).decode()

        self.leave(f"{query[:-1]}0&Signature={quote_plus(mark)}")
        after_another_message = is_in(company)
        self.leave(f"{query}&Signature={quote_plus(mark)}")

        assert (after_another_message, is_in(company)) == (True, not is_taken)

    def test_is_taken_once(self, company: SamlCompany) -> None:
        company.sign_in()
        query = in_query(logout_request(), signer())
        self.leave(query)

        assert "was used already" in self.leave(query).content.decode()

    @pytest.mark.slow
    def test_is_not_taken_from_a_stranger(self, company: SamlCompany) -> None:
        company.sign_in()
        honest = in_query(logout_request(name_id="eve-2"), signer())
        forged = in_query(logout_request(), signer("somebody else"))
        request = forged.partition("&")[0].partition("=")[2]
        unsigned, bomb = forged.partition("&Signature=")[0], in_query(b" " * 10_000_000, signer())
        weak = in_query(logout_request(), signer(), algorithm="http://www.w3.org/2000/09/xmldsig#rsa-sha1")
        no_text = f"{forged.partition('&Signature=')[0]}&Signature=a"
        twice, hidden = f"{honest}&SAMLRequest={request}", f"{honest}&SAML%52equest={request}"

        statuses = {
            self.leave(one).status_code
            for one in (forged, unsigned, no_text, weak, bomb, twice, "", "SAMLRequest=a")
        }
        self.leave(hidden)

        assert statuses == {403}
        assert is_in(company)


class TestSigningOut:
    def test_leads_to_the_end_of_the_session_at_the_provider(self, company: SamlCompany) -> None:
        company.sign_in()

        page = company.browser.post("/accounts/logout/", follow=True).content.decode()

        start = page.index(escape("https://login.bank.example/leave?"))
        request = message_in(page[start : page.index('"', start)].replace("&amp;", "&"), "SAMLRequest")
        assert request.findtext("saml:NameID", namespaces=NAMES) == "ada-1"
        assert request.findtext("samlp:SessionIndex", namespaces=NAMES) == "session-1"
        assert not is_in(company)

    def test_ends_at_the_page_of_the_sign_in(self, company: SamlCompany) -> None:
        answer = company.browser.get("/accounts/saml/company/logout/", {"SAMLResponse": "any"})

        assert answer["Location"] == "/accounts/login/"
