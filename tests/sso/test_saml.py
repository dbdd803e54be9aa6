"""A person signs in by pysaml2, becomes what their group says, and is out when it takes them away."""

import base64
import copy
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from lxml import etree
from playwright.sync_api import sync_playwright

from driftline.base.accounts.models import AuditEntry, Membership, User
from driftline.base.accounts.services import create_project
from driftline.sign_in.single_sign_on.configuration import (
    ProviderSettings,
    RoleRule,
    SamlSettings,
    SignInSettings,
)
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.sso.provider import Browser, SamlProvider

pytestmark = [pytest.mark.sso, pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

ADA = {"mail": ["ada@bank.example"], "displayName": ["Ada Byron"], "isMemberOf": ["risk"]}
RULES = (RoleRule("risk", "fraud", "viewer"), RoleRule("leads", "fraud", "admin"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def provider(live_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlProvider]:
    with SamlProvider.running(tmp_path_factory.mktemp("saml"), live_server.url) as running:
        yield running


@pytest.fixture
def driftline(provider: SamlProvider, live_server: Any, settings: Any) -> str:
    """Driftline, where only the provider and one account signs in, and a project of another person."""
    cache.clear()
    settings.PUBLIC_URL, settings.OUTBOUND_ALLOW = live_server.url, ["127.0.0.1/32"]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    one = ProviderSettings(
        id="company", name="Example Ltd", issuer=f"{provider.url}/metadata", roles=RULES, emails_are_verified=True,
        client_id="https://driftline.bank.example/saml", groups_claim="urn:oid:1.3.6.1.4.1.5923.1.5.1.1",
        saml=SamlSettings(
            metadata_url=f"{provider.url}/metadata", email_attribute="urn:oid:0.9.2342.19200300.100.1.3",
            name_attribute="urn:oid:2.16.840.1.113730.3.1.241",
        ),
    )  # fmt: skip
    settings.SIGN_IN = SignInSettings((one,), ("breakglass@bank.example",))
    owner = User.objects.create_user("owner@bank.example", "correct horse battery")
    create_project(slug="fraud", name="Fraud", owner=owner)
    provider.set_people({"ada": ADA})
    return str(live_server.url)


def browser_of(driftline: str) -> Browser:
    return Browser(driftline, "ada", "saml")


def test_signs_in_with_the_role_of_a_group_and_loses_it_with_the_group(
    driftline: str, provider: SamlProvider
) -> None:
    browser = browser_of(driftline)
    browser.sign_in()
    as_viewer = browser.may_read("/p/fraud/settings/members")
    provider.set_people({"ada": ADA | {"isMemberOf": ["leads", "a group of last year"]}})
    browser.sign_in()
    role_of_leads = Membership.objects.get(user__email="ada@bank.example").role
    provider.set_people({"ada": ADA | {"isMemberOf": ["a group of last year"]}})
    browser.sign_in()

    assert as_viewer
    assert role_of_leads == "admin"
    assert not browser.may_read("/p/fraud/settings/members")
    assert browser.may_read("/accounts/profile/")
    assert User.objects.get(email="ada@bank.example").first_name == "Ada Byron"
    changes = AuditEntry.objects.filter(actor="single sign-on company").order_by("pk")
    assert [entry.action for entry in changes] == [
        "user.create", "member.join", "member.role", "member.remove",
    ]  # fmt: skip


def test_a_member_whom_an_admin_removed_comes_back_with_the_group_and_an_account_that_is_off_does_not(
    driftline: str, provider: SamlProvider
) -> None:
    browser = browser_of(driftline)
    browser.sign_in()
    Membership.objects.filter(user__email="ada@bank.example").delete()
    without = browser.may_read("/p/fraud/settings/members")
    browser.sign_in()
    again = browser.may_read("/p/fraud/settings/members")
    User.objects.filter(email="ada@bank.example").update(is_active=False)
    page = browser.sign_in()

    assert (without, again) == (False, True)
    assert "switched off in Driftline" in page.text
    assert not browser.may_read("/accounts/profile/")


def test_an_answer_of_the_provider_counts_once_and_as_it_is(driftline: str) -> None:
    browser = browser_of(driftline)
    address = f"{driftline}/accounts/saml/company/response/"
    honest = browser.fetch_answer()["SAMLResponse"]
    root = etree.fromstring(base64.b64decode(honest))
    signed = root.find("{*}Assertion")
    forged = copy.deepcopy(signed)
    forged.set("ID", "_forged")
    forged.remove(forged.find("{*}Signature"))
    for value in forged.iterfind(".//{*}AttributeValue"):
        value.text = "leads" if value.text == "risk" else value.text

    def bring(*assertions: Any) -> str:
        for assertion in root.findall("{*}Assertion"):
            root.remove(assertion)
        root.extend(assertions)
        return browser.post(address, {"SAMLResponse": base64.b64encode(etree.tostring(root))}).text

    pages = [bring(*one) for one in ([forged], [forged, signed], [signed, forged])]
    is_in_by_a_forged_one = browser.may_read("/accounts/profile/")
    browser.post(address, {"SAMLResponse": honest})
    is_in_by_the_honest_one = browser.may_read("/accounts/profile/")
    again = browser.post(address, {"SAMLResponse": honest}).text

    assert "has no signed assertion" in pages[0]
    assert all("has 2 assertions where one belongs" in page for page in pages[1:])
    assert (is_in_by_a_forged_one, is_in_by_the_honest_one) == (False, True)
    assert "was used already" in again
    assert Membership.objects.get(user__email="ada@bank.example").role == "viewer"


def test_passwords_open_the_named_account_alone(driftline: str) -> None:
    page = Browser(driftline, "owner").get(f"{driftline}/accounts/login/").text

    assert "Sign in with Example Ltd" in page
    assert "For operators, while the sign-in above does not work." in page


def test_signing_out_leads_through_the_provider_and_back(driftline: str) -> None:
    browser = browser_of(driftline)
    browser.sign_in()

    page = browser.sign_out()

    assert page.url == f"{driftline}/accounts/login/"
    assert not browser.may_read("/accounts/profile/")
    assert browser.is_asked_who_they_are()


def test_signing_out_at_the_provider_ends_the_session_in_driftline(
    driftline: str, provider: SamlProvider
) -> None:
    browser = browser_of(driftline)
    browser.sign_in()
    before = browser.may_read("/accounts/profile/")

    page = browser.get(f"{provider.url}/leave")

    assert before
    assert (page.url.startswith(f"{provider.url}/leave?"), page.text) == (True, "You are signed out.")
    assert not browser.may_read("/accounts/profile/")
    ended = AuditEntry.objects.get(action="sessions.end")
    assert (ended.actor, ended.subject) == ("single sign-on company", "ada@bank.example")


def test_a_browser_that_keeps_cookies_from_other_sites_apart_signs_in(
    driftline: str, provider: SamlProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider's page is of another site, so that Chromium posts its answer without the cookie of the session."""
    if CHROMIUM is None:
        pytest.skip("There is no Chromium; install one, such as 'apt-get install chromium'.")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page()
        page.goto(f"{driftline}/accounts/login/?next=/accounts/profile/")
        page.get_by_role("link", name="Sign in with Example Ltd").click()
        page.locator("input[name=login]").fill("ada")
        page.locator("input[name=password]").fill("any")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{driftline}/accounts/profile/")
        text = page.inner_text("body")
        chromium.close()

    assert "ada@bank.example" in text
