"""How sessions that a provider opened end: in time, at its word, and at the person's."""

import time
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.usersessions.models import UserSession
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.utils.html import escape

from driftline.base.accounts.models import AuditEntry
from driftline.base.clock import now
from driftline.sign_in.single_sign_on.claims import LOGOUT_EVENT
from tests.driftline.sign_in.single_sign_on.conftest import Company
from tests.driftline.sign_in.single_sign_on.hostile_provider import CODE, another_key

pytestmark = pytest.mark.django_db

ADA = "ada@bank.example"


def leave_at_provider(company: Company, **claims: Any) -> HttpResponse:
    """Have the provider say that somebody left."""
    token = {"sub": "ada-1", "sid": "session-1", "jti": "once", "events": {LOGOUT_EVENT: {}}} | claims
    return Client().post("/accounts/oidc/company/logout/", {"logout_token": company.provider.sign(token)})


def is_in(company: Company) -> bool:
    return company.browser.get("/accounts/profile/").status_code == 200


class TestTime:
    def test_ends_a_session_however_busy_it_is(self, company: Company) -> None:
        company.configure(session_hours=2)
        company.sign_in()
        session = company.browser.session

        assert timedelta(minutes=119) < session.get_expiry_date() - now() <= timedelta(hours=2)
        company.browser.get("/accounts/profile/")
        assert company.browser.session.get_expiry_date() == session.get_expiry_date()

    def test_ended_is_signed_out(self, company: Company) -> None:
        company.sign_in()
        session = company.browser.session
        session.set_expiry(now() - timedelta(seconds=1))
        session.save()

        assert not is_in(company)


class TestTheProvidersWord:
    def test_ends_the_session_that_it_names(self, company: Company) -> None:
        company.sign_in(sid="session-1")
        before = is_in(company)

        answer = leave_at_provider(company)

        assert (before, answer.status_code, is_in(company)) == (True, 200, False)
        entry = AuditEntry.objects.get(action="sessions.end")
        assert (entry.actor, entry.subject, entry.after) == ("single sign-on company", ADA, {"count": 1})

    def test_ends_all_sessions_of_a_person(self, company: Company) -> None:
        company.sign_in(sid="session-1")
        company.browser = Client()
        company.sign_in(sid="session-2")

        leave_at_provider(company, sid=None)

        assert not UserSession.objects.exists()

    def test_leaves_the_sessions_of_others(self, company: Company) -> None:
        company.sign_in(sid="session-1")

        leave_at_provider(company, sid="session-7")
        leave_at_provider(company, sub="eve-2", jti="twice")

        assert is_in(company)

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": "another"},
            {"iss": "https://evil.example"},
            {"events": {}},
            {"events": None},
            {"events": [LOGOUT_EVENT]},
            {"nonce": "of an ID token"},
            {"sub": None, "sid": None},
            {"jti": None},
            {"jti": ["a", "list"]},
            {"iat": int(time.time()) + 10 * 86_400},
            {"iat": int(time.time()) - 600},
            {"iat": "now"},
        ],
    )
    def test_is_not_taken_from_another_token(self, company: Company, claims: dict[str, Any]) -> None:
        company.sign_in(sid="session-1")

        answer = leave_at_provider(company, **claims)

        assert (answer.status_code, is_in(company)) == (400, True)
        assert answer.json()["error"] == "invalid_request"

    def test_is_not_taken_from_a_stranger(self, company: Company) -> None:
        company.sign_in(sid="session-1")
        company.provider.key = another_key()

        assert (leave_at_provider(company).status_code, is_in(company)) == (400, True)
        assert Client().post("/accounts/oidc/company/logout/").status_code == 400
        assert Client().get("/accounts/oidc/company/logout/").status_code == 405

    def test_is_taken_once(self, company: Company) -> None:
        company.sign_in(sid="session-1")
        leave_at_provider(company)

        assert "used already" in leave_at_provider(company).json()["error_description"]


def test_a_provider_that_ceases_to_answer_in_the_middle_of_a_sign_in_is_named(company: Company) -> None:
    state = company.start()["state"]
    company.provider.discovery = {"issuer": "https://evil.example"}
    cache.clear()

    assert "Example Ltd" in company.refusal(company.come_back(code=CODE, state=state))


class TestSigningOut:
    def test_leads_to_the_end_of_the_session_at_the_provider(self, company: Company) -> None:
        company.sign_in()

        answer = company.browser.post("/accounts/logout/", follow=True)

        page = answer.content.decode()
        start = page.index(escape(f"{company.provider.url}/leave"))
        address = page[start : page.index('"', start)].replace("&amp;", "&")
        asked = parse_qs(urlsplit(address).query)
        assert asked["client_id"] == ["driftline"]
        assert asked["post_logout_redirect_uri"][0].endswith("/accounts/login/")
        assert asked["id_token_hint"][0].count(".") == 2
        assert not is_in(company)

    def test_works_while_the_provider_is_away(self, company: Company) -> None:
        company.sign_in()
        company.configure(issuer="http://127.0.0.1:1")

        answer = company.browser.post("/accounts/logout/", follow=True)

        assert "You are signed out of Driftline" in answer.content.decode()

    def test_of_a_password_session_is_as_before(self, company: Company, owner: Any) -> None:
        company.browser.force_login(owner)

        assert company.browser.post("/accounts/logout/")["Location"] == "/"
