"""A person signs in by oidc-provider, becomes what their group says, and is out when it takes them away."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache

from driftline.base.accounts.models import AuditEntry, Membership, User
from driftline.base.accounts.services import create_project
from driftline.sign_in.single_sign_on.configuration import ProviderSettings, RoleRule, SignInSettings
from tests.sso.provider import SECRET, Browser, Provider

pytestmark = [pytest.mark.sso, pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

ADA = {"email": "ada@bank.example", "email_verified": True, "name": "Ada Byron", "groups": ["risk"]}
RULES = (RoleRule("risk", "fraud", "viewer"), RoleRule("leads", "fraud", "admin"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def provider(live_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider.running(tmp_path_factory.mktemp("sso"), live_server.url) as running:
        yield running


@pytest.fixture
def driftline(provider: Provider, live_server: Any, settings: Any) -> str:
    """Driftline with the provider in the operator's file, and a project of another person."""
    cache.clear()
    settings.PUBLIC_URL, settings.OUTBOUND_ALLOW = live_server.url, ["127.0.0.1/32"]
    one = ProviderSettings(
        id="company", name="Example Ltd", issuer=provider.url, client_id="driftline", secret=SECRET,
        scopes=("openid", "profile", "email", "groups"), roles=RULES,
    )  # fmt: skip
    settings.SIGN_IN = SignInSettings((one,))
    create_project(slug="fraud", name="Fraud", owner=User.objects.create_user("owner@bank.example"))
    provider.set_people({"ada": ADA})
    return str(live_server.url)


def test_signs_in_with_the_role_of_a_group_and_loses_it_with_the_group(
    driftline: str, provider: Provider
) -> None:
    browser = Browser(driftline, "ada")
    browser.sign_in()
    as_viewer = [browser.may_read(f"/p/fraud/settings/{page}") for page in ("members", "tokens")]
    provider.set_people({"ada": ADA | {"groups": ["leads"]}})
    browser.sign_in()
    role_of_leads = Membership.objects.get(user__email=ADA["email"]).role
    provider.set_people({"ada": ADA | {"groups": ["a group of last year"]}})
    browser.sign_in()

    assert as_viewer[0]
    assert role_of_leads == "admin"
    assert not browser.may_read("/p/fraud/settings/members")
    assert browser.may_read("/accounts/profile/")
    changes = AuditEntry.objects.filter(actor="single sign-on company").order_by("pk")
    assert [entry.action for entry in changes] == [
        "user.create", "member.join", "member.role", "member.remove",
    ]  # fmt: skip


def test_a_person_whom_the_provider_does_not_verify_gets_no_account(
    driftline: str, provider: Provider
) -> None:
    provider.set_people({"ada": ADA | {"email_verified": False}})
    browser = Browser(driftline, "ada")

    page = browser.sign_in()

    assert "has not checked that ada@bank.example is your address" in page.text.replace("&#x27;", "'")
    assert not browser.may_read("/accounts/profile/")


def test_signing_out_leads_through_the_provider_and_back(driftline: str, provider: Provider) -> None:
    browser = Browser(driftline, "ada")
    browser.sign_in()

    page = browser.sign_out()

    assert page.url == f"{driftline}/accounts/login/"
    assert not browser.may_read("/accounts/profile/")
    assert "Sign in with Example Ltd" in page.text
    assert browser.is_asked_who_they_are()


def test_signing_out_at_the_provider_ends_the_session_in_driftline(
    driftline: str, provider: Provider
) -> None:
    """The provider calls Driftline by itself, with a token that names its session; another session of ada stays."""
    first, second = Browser(driftline, "ada"), Browser(driftline, "ada")
    for browser in (first, second):
        browser.sign_in()

    first.leave(provider)

    assert not first.may_read("/accounts/profile/")
    assert second.may_read("/accounts/profile/")
    ended = AuditEntry.objects.get(action="sessions.end")
    assert (ended.actor, ended.subject) == ("single sign-on company", ADA["email"])
