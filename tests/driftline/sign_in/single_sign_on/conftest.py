"""A provider, a file that names it, and a browser that signs in by it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.utils.html import strip_tags

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.sign_in.single_sign_on.configuration import ProviderSettings, RoleRule, SignInSettings
from tests.driftline.sign_in.single_sign_on.hostile_provider import CLIENT, CODE, SECRET, HostileProvider


@pytest.fixture
def provider() -> Iterator[HostileProvider]:
    with HostileProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_kept(settings: Any, db: None) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    cache.clear()


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner@bank.example", "correct horse battery")


@pytest.fixture
def fraud(owner: User) -> Project:
    return create_project(slug="fraud", name="Fraud", owner=owner)


RULES = (RoleRule("risk", "fraud", "viewer"), RoleRule("leads", "fraud", "editor", ("Duty",)))


class Company:
    """The file of the operator and a browser, of which a test changes what it is about."""

    def __init__(self, provider: HostileProvider, settings: Any) -> None:
        self.provider, self._settings = provider, settings
        self.browser = Client()
        self.configure()

    def configure(self, *, passwords_for: tuple[str, ...] | None = None, **changed: Any) -> ProviderSettings:
        """Write the file anew."""
        values = {
            "id": "company", "name": "Example Ltd", "issuer": self.provider.url, "client_id": CLIENT,
            "secret": SECRET, "roles": RULES,
        }  # fmt: skip
        one = ProviderSettings(**values | changed)
        self._settings.SIGN_IN = SignInSettings((one,), passwords_for)
        return one

    def start(self, **query: str) -> dict[str, str]:
        """Press the button of the sign-in, and return what the provider is asked."""
        answer = self.browser.get("/accounts/oidc/company/login/", query)
        assert answer.status_code == 302, strip_tags(answer.content.decode())
        return self.provider.note_start(answer["Location"])

    def come_back(self, **parameters: str) -> HttpResponse:
        return self.browser.get("/accounts/oidc/company/login/callback/", parameters)

    def sign_in(self, **claims: Any) -> HttpResponse:
        """Go to the provider and come back with what it says."""
        self.provider.claims = claims
        state = self.start()["state"]
        return self.come_back(code=CODE, state=state)

    def refusal(self, answer: HttpResponse) -> str:
        """Return the sentence of a sign-in that did not happen."""
        assert answer.status_code == 403
        assert not self.is_in
        return " ".join(strip_tags(answer.content.decode().split("</h1>")[1].split("</p>")[0]).split())

    @property
    def is_in(self) -> bool:
        return "_auth_user_id" in self.browser.session


@pytest.fixture
def company(provider: HostileProvider, settings: Any, db: None, fraud: Project) -> Company:
    return Company(provider, settings)
