"""When a provider is not believed: each refusal is a sentence and a row of the audit trail, and signs nobody in."""

import base64
import hmac
import json
import time
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives import serialization
from django.test import Client

from driftline.base.accounts.models import AuditEntry, User
from tests.driftline.sign_in.single_sign_on.conftest import Company
from tests.driftline.sign_in.single_sign_on.hostile_provider import CODE, another_key, signing_key

pytestmark = pytest.mark.django_db

MINUTE = 60


def test_an_honest_answer_signs_in(company: Company) -> None:
    answer = company.sign_in()

    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert company.is_in
    assert User.objects.get(email="ada@bank.example").first_name == "Ada Byron"


def test_the_provider_is_asked_with_state_nonce_and_proof_key(company: Company) -> None:
    asked = company.start(scope="admin", auth_params="prompt=none", process="connect")

    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"].endswith("/accounts/oidc/company/login/callback/")
    assert set(asked["scope"].split()) == {"openid", "profile", "email"}
    assert "prompt" not in asked
    assert min(len(asked["nonce"]), len(asked["state"])) >= 16


@pytest.mark.parametrize(
    ("claims", "code", "sentence"),
    [
        ({"aud": "another"}, "wrong_audience", "is for another program"),
        ({"aud": ["driftline", "another"]}, "wrong_audience", "is for another program"),
        ({"iss": "https://evil.example"}, "wrong_issuer", "is not issued by"),
        ({"nonce": None}, "wrong_nonce", "belongs to another sign-in"),
        ({"nonce": "of another sign-in"}, "wrong_nonce", "belongs to another sign-in"),
        ({"sub": None}, "incomplete_token", "lacks sub"),
        ({"iat": None}, "incomplete_token", "lacks iat"),
        ({"exp": None}, "incomplete_token", "lacks exp"),
        ({"email": None}, "no_email", "says no e-mail address"),
        ({"email": "ada\x00@bank.example"}, "no_email", "says no e-mail address"),
        ({"email_verified": False}, "email_not_verified", "has not checked"),
        ({"email_verified": "yes"}, "email_not_verified", "has not checked"),
        ({"groups": []}, "no_role", "none of your groups"),
        ({"groups": ["a group of last year"]}, "no_role", "none of your groups"),
        ({"groups": None}, "no_role", "none of your groups"),
        ({"groups": {"risk": True}}, "no_role", "none of your groups"),
        ({"groups": None, "_claim_names": {"groups": "src1"}}, "too_many_groups", "more groups than fit"),
    ],
)
def test_claims_that_are_not_taken(
    company: Company, claims: dict[str, Any], code: str, sentence: str
) -> None:
    answer = company.sign_in(**claims)

    assert sentence in company.refusal(answer)
    assert AuditEntry.objects.get(action="sign_in.refused").after["code"] == code
    assert not User.objects.filter(email__startswith="ada").exists()


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_ten_minutes_off(company: Company, minutes: int) -> None:
    moment = int(time.time()) + minutes * MINUTE

    answer = company.sign_in(iat=moment, exp=moment + 60 * MINUTE)

    assert "clock" in company.refusal(answer)


def test_an_expired_token(company: Company) -> None:
    assert "start again" in company.refusal(company.sign_in(exp=int(time.time()) - 5 * MINUTE))


class TestSignatures:
    def test_none_is_none(self, company: Company) -> None:
        company.provider.algorithm, company.provider.key = "none", None

        assert "only signatures by a public key" in company.refusal(company.sign_in())

    def test_another_key_of_the_same_name(self, company: Company) -> None:
        company.provider.key = another_key()

        assert "is not signed by it" in company.refusal(company.sign_in())

    def test_a_key_that_the_provider_does_not_publish(self, company: Company) -> None:
        company.provider.key, company.provider.headers = another_key(), {"kid": "evil"}

        assert "does not publish" in company.refusal(company.sign_in())

    def test_the_public_key_as_a_shared_secret(self, company: Company) -> None:
        """HS256 with the text of the public key as its key, which some libraries took."""
        public = (
            signing_key()
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        honest = company.provider.id_token()
        parts = [b64url(json.dumps({"alg": "HS256", "kid": "first"}).encode()), honest.split(".")[1]]
        mark = hmac.digest(public, ".".join(parts).encode(), "sha256")

        with patch.object(company.provider, "id_token", lambda: ".".join([*parts, b64url(mark)])):
            assert "only signatures by a public key" in company.refusal(company.sign_in())

    def test_new_keys_of_the_provider_are_fetched(self, company: Company) -> None:
        company.sign_in()
        company.browser.post("/accounts/logout/")
        company.provider.headers = {"kid": "second"}
        renewed = company.provider.public_key() | {"kid": "second"}

        with patch.object(company.provider, "public_key", lambda: renewed):
            company.sign_in()

        assert company.is_in

    def test_a_token_that_is_none(self, company: Company) -> None:
        with patch.object(company.provider, "id_token", lambda: "not a token"):
            assert "is not signed by it" in company.refusal(company.sign_in())


class TestTheWayBack:
    def test_without_a_state(self, company: Company) -> None:
        company.start()

        assert "belongs to no sign-in" in company.refusal(company.come_back(code=CODE))

    def test_with_the_state_of_another_browser(self, company: Company) -> None:
        state = company.start()["state"]
        company.browser = type(company.browser)()

        assert "belongs to no sign-in" in company.refusal(company.come_back(code=CODE, state=state))

    @pytest.mark.slow
    def test_a_second_time(self, company: Company) -> None:
        state = company.start()["state"]
        company.come_back(code=CODE, state=state)
        company.browser.post("/accounts/logout/")

        assert "belongs to no sign-in" in company.refusal(company.come_back(code=CODE, state=state))

    def test_with_a_code_that_the_provider_does_not_know(self, company: Company) -> None:
        state = company.start()["state"]

        assert "did not take the code" in company.refusal(company.come_back(code="guess", state=state))

    def test_after_a_refusal_of_the_provider(self, company: Company) -> None:
        state = company.start()["state"]

        assert "cancelled" in company.refusal(company.come_back(error="access_denied", state=state))

    def test_of_a_provider_that_is_not_in_the_file(self, company: Company) -> None:
        assert company.browser.get("/accounts/oidc/another/login/").status_code == 404

    def test_a_flood_of_strangers_leaves_a_row_a_minute_and_is_counted(self, company: Company) -> None:
        for number in range(5):
            company.come_back(code=CODE, state=f"guess {number}")

        assert AuditEntry.objects.filter(action="sign_in.refused").count() == 1
        assert b"driftline_sign_ins_refused_total 5.0" in Client().get("/metrics").content


class TestTheProvidersDescription:
    def test_of_another_issuer(self, company: Company) -> None:
        company.provider.discovery["issuer"] = "https://evil.example"

        answer = company.browser.get("/accounts/oidc/company/login/")

        assert "calls itself https://evil.example" in company.refusal(answer)

    def test_with_an_address_that_runs_script(self, company: Company) -> None:
        company.provider.discovery["authorization_endpoint"] = "javascript:alert(1)"

        assert "no web page" in company.refusal(company.browser.get("/accounts/oidc/company/login/"))

    def test_that_cannot_be_read(self, company: Company) -> None:
        company.provider.discovery = {"issuer": 7}

        assert "cannot be read" in company.refusal(company.browser.get("/accounts/oidc/company/login/"))

    def test_at_an_address_that_must_not_be_called(self, company: Company, settings: Any) -> None:
        settings.OUTBOUND_ALLOW = []

        answer = company.browser.get("/accounts/oidc/company/login/")

        assert company.refusal(answer).endswith(
            "is at an address that Driftline does not call: 127.0.0.1 is not a public address; the operator can allow "
            "its network in DRIFTLINE_OUTBOUND_ALLOW."
        )
        assert company.provider.asked == []

    def test_of_a_provider_that_does_not_answer(self, company: Company) -> None:
        company.configure(issuer="http://127.0.0.1:1")

        assert "cannot be asked" in company.refusal(company.browser.get("/accounts/oidc/company/login/"))


def test_what_the_provider_answers_about_another_person(company: Company) -> None:
    company.provider.discovery["userinfo_endpoint"] = f"{company.provider.url}/userinfo"
    company.provider.userinfo = {"sub": "eve-2", "email": "eve@bank.example", "email_verified": True}

    assert "about another person" in company.refusal(company.sign_in())


def test_groups_and_address_may_come_from_the_answer_about_the_person(company: Company) -> None:
    company.provider.discovery["userinfo_endpoint"] = f"{company.provider.url}/userinfo"
    company.provider.userinfo = {
        "sub": "ada-1", "email": "ada@bank.example", "email_verified": True, "groups": ["risk"],
    }  # fmt: skip

    company.sign_in(email=None, email_verified=None, groups=None)

    assert company.is_in


def b64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
