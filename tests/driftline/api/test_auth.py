"""Who is let in, and what is remembered of it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from driftline.base import ttl_cache
from driftline.base.accounts.access import http_auth
from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import ApiToken, Membership, User
from driftline.base.accounts.services import create_project, revoke_token
from driftline.base.accounts.signals import tokens_changed
from inference.registry.models import Model
from tests.driftline.api.conftest import Api
from tests.driftline.api.shape import assert_problem


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic eDp5", "dl_x", "Bearer dl_x y", "Bearer \x00"]
)
def test_a_malformed_header_looks_like_an_unknown_token(header: str, api: Api) -> None:
    answer = Client().get("/api/v1/models", headers={"Authorization": header} if header else {})

    assert_problem(answer, 401, "invalid_token")


def test_a_revoked_token_is_refused_at_once(api: Api) -> None:
    known = api.get("/models")

    revoke_token(token=api.token, actor="test", now=timezone.now())

    assert known.status_code == 200
    assert_problem(api.get("/models"), 401, "invalid_token")


def test_a_token_that_expires_while_it_is_known_is_refused(api: Api) -> None:
    api.get("/models")

    with pytest.MonkeyPatch.context() as patch:
        ApiToken.objects.update(expires_at=timezone.now() + timedelta(hours=1))
        tokens_changed.send(sender=ApiToken)
        known = api.get("/models")
        patch.setattr(http_auth, "now", lambda: timezone.now() + timedelta(hours=2))
        expired = api.get("/models")

    assert known.status_code == 200
    assert_problem(expired, 401, "invalid_token")


@pytest.mark.slow
def test_a_use_is_noted_at_most_once_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttl_cache, "SECONDS", 0)

    def last_used() -> datetime | None:
        return ApiToken.objects.get(pk=api.token.pk).last_used_at

    api.get("/models")
    first = last_used()
    api.get("/models")

    assert first is not None
    assert last_used() == first
    ApiToken.objects.update(last_used_at=first - timedelta(seconds=61))
    api.get("/models")
    assert (last_used() or datetime.min.replace(tzinfo=UTC)) > first - timedelta(seconds=1)


class TestPeople:
    @pytest.fixture
    def person(self, api: Api) -> User:
        user = User.objects.create_user("viewer@example.com")
        Membership.objects.create(project=api.project, user=user, role=Role.VIEWER)
        return user

    @pytest.mark.slow
    def test_read_their_first_project_or_the_one_they_name(self, person: User, flights: Model) -> None:
        create_project(slug="second", name="Second", owner=person)
        client = Client()
        client.force_login(person)

        told = {
            slug: len(client.get("/api/v1/models", headers={"Driftline-Project": slug}).json()["items"])
            for slug in ("ours", "second")
        }

        assert told == {"ours": 1, "second": 0}
        assert len(client.get("/api/v1/models").json()["items"]) == 1

    def test_see_no_project_of_others(self, person: User, stranger: Api) -> None:
        client = Client()
        client.force_login(person)

        answer = client.get("/api/v1/models", headers={"Driftline-Project": "theirs"})

        assert_problem(answer, 403, "no_project")

    def test_cannot_write_with_a_session(self, person: User, flights: Model) -> None:
        client = Client()
        client.force_login(person)

        answer = client.patch("/api/v1/models/flights", {"description": "x"}, "application/json")

        assert_problem(answer, 401, "invalid_token")
