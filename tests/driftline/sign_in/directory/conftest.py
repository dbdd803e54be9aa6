"""A provider with a token, and a caller that sends what it would."""

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from driftline.sign_in.directory.tokens import create_directory_token
from driftline.sign_in.single_sign_on.configuration import ProviderSettings, RoleRule, SignInSettings

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


class Directory:
    """Sends requests to /scim/v2 as a provider does."""

    def __init__(self, settings: Any) -> None:
        self._settings, self.client = settings, Client()
        self.configure()
        _, self.token = create_directory_token(provider_id="company", actor="command line")

    def configure(self, **changed: Any) -> None:
        values = {
            "id": "company", "name": "Example Ltd", "issuer": "https://login.example.com", "client_id": "driftline",
            "secret": "a secret", "groups_from": "scim",
            "roles": (RoleRule("Risk", "fraud", Role.VIEWER), RoleRule("Leads", "fraud", Role.ADMIN, ("Duty",))),
        }  # fmt: skip
        self._settings.SIGN_IN = SignInSettings((ProviderSettings(**values | changed),))

    def send(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """Send a request and return its answer, with the parsed body as `document`."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = self.token if token is None else token
        answer: Any = self.client.generic(
            method, f"/scim/v2/{path}", content, content_type="application/scim+json",
            headers={"Authorization": f"Bearer {bearer}"},
        )  # fmt: skip
        answer.document = answer.json() if answer.content else None
        return answer

    def make_user(self, email: str = "ada@bank.example", **attributes: Any) -> str:
        """Make an account and return its id."""
        answer = self.send("POST", "Users", {"userName": email, **attributes})
        assert answer.status_code == 201, answer.document
        return str(answer.document["id"])

    def make_group(self, name: str, *members: str) -> str:
        body = {"displayName": name, "members": [{"value": one} for one in members]}
        answer = self.send("POST", "Groups", body)
        assert answer.status_code == 201, answer.document
        return str(answer.document["id"])

    def patch(self, path: str, *operations: dict[str, Any]) -> Any:
        return self.send("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner@bank.example", "correct horse battery")


@pytest.fixture
def fraud(owner: User) -> Project:
    return create_project(slug="fraud", name="Fraud", owner=owner)


@pytest.fixture
def directory(settings: Any, fraud: Project) -> Directory:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()
    return Directory(settings)
