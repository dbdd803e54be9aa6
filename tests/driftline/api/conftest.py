"""Two projects: ours, with a model and a token of every scope, and a stranger's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from django.test import Client
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import ApiToken, Project, User
from driftline.base.accounts.services import create_project, create_token
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.driftline.api.described import assert_described
from tests.shared_rows import rows_of_many_tests


@dataclass(frozen=True)
class Api:
    """A caller of the API with one token."""

    project: Project
    token: ApiToken
    text: str
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request below /api/v1, and check that its answer is as openapi.json describes it.

        `body` is JSON unless it is bytes; headers are written with underscores.
        """
        answer = self._send(method, path, body, **headers)
        assert_described(method, f"/api/v1{path}", answer)
        return answer

    def _send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = named.pop("content-type", "application/json")
        sent = {"Authorization": f"Bearer {self.text}", **named}
        if body is None:
            return self.client.generic(method, f"/api/v1{path}", content_type="", headers=sent)
        if not isinstance(body, bytes):
            body = orjson.dumps(body)
        sent["Content-Type"] = kind  # also without a body, where Django's client would leave it out
        return self.client.generic(method, f"/api/v1{path}", body, content_type=kind, headers=sent)

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)


def caller(slug: str, *scopes: str) -> Api:
    """Make a caller in a project, which is made where it is missing."""
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        owner, _ = User.objects.get_or_create(email=f"owner@{slug}.example")
        project = create_project(slug=slug, name=slug.title(), owner=owner)
    token, text = create_token(project=project, name="test", scopes=scopes or Scope, actor="test")
    return Api(project, token, text)


@pytest.fixture(scope="module")
def shared_api(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Api]:
    """What `api` is, stored once for a module whose tests start from the same world and all use `db`."""
    with rows_of_many_tests(django_db_blocker):
        yield caller("ours")


@pytest.fixture
def api(db: None) -> Api:
    """A token of our project with every scope."""
    return caller("ours")


@pytest.fixture
def stranger(db: None) -> Api:
    """A token of another project with every scope."""
    return caller("theirs")


@pytest.fixture
def flights(api: Api) -> Model:
    """A binary model of our project."""
    return create_model(project=api.project, name="flights", task="binary", actor="test")
