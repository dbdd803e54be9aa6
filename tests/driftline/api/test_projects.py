"""Projects over the API: listed, made, renamed, archived and restored."""

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.access.scopes import Role, Scope
from driftline.base.accounts.members import change_role
from driftline.base.accounts.models import ApiToken, AuditEntry, Membership, Project, User
from driftline.base.accounts.quotas import set_quotas
from driftline.base.accounts.services import create_project, rotate_token
from driftline.base.clock import now
from inference.registry.models import Model
from tests.driftline.api.conftest import Api, caller

pytestmark = pytest.mark.django_db


def owner_of(api: Api) -> User:
    return User.objects.get(email=f"owner@{api.project.slug}.example")


@pytest.fixture
def personal(api: Api) -> Api:
    """A token with every scope that the owner made."""
    ApiToken.objects.update(created_by=owner_of(api))
    return api


class TestList:
    def test_shows_a_token_its_own_project(self, api: Api, stranger: Api) -> None:
        listed = api.get("/projects").json()["items"]

        assert [(one["slug"], one["name"], one["archived_at"]) for one in listed] == [("ours", "Ours", None)]
        assert api.get("/projects/ours").json() == listed[0]
        assert api.get("/projects/theirs").status_code == 404

    def test_shows_who_is_signed_in_all_of_theirs(self, api: Api, stranger: Api) -> None:
        owner = owner_of(api)
        create_project(slug="a-second", name="A second", owner=owner)
        browser = Client()
        browser.force_login(owner)

        listed = browser.get("/api/v1/projects").json()["items"]

        assert [one["slug"] for one in listed] == ["a-second", "ours"]
        assert browser.get("/api/v1/projects/a-second").json()["name"] == "A second"
        assert browser.get("/api/v1/projects/theirs").status_code == 404


class TestMaking:
    def test_makes_who_made_the_token_its_admin(self, personal: Api) -> None:
        answer = personal.post("/projects", {"name": "Card  fraud"})

        made = Project.objects.get(slug="card-fraud")
        assert (answer.status_code, answer.json()["name"]) == (201, "Card fraud")
        assert answer.json()["url"].endswith("/p/card-fraud")
        assert (made.memberships.get().user, made.memberships.get().role) == (owner_of(personal), Role.ADMIN)
        entry = AuditEntry.objects.get(action="project.create", subject="card-fraud")
        assert (entry.actor, entry.token_name) == (f"token {ApiToken.objects.get().prefix}…", "test")
        assert entry.after == {"admin": "owner@ours.example"}
        assert personal.get("/projects/card-fraud").status_code == 404

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"name": " "}, "/name"),
            ({"name": "x", "slug": "No Slug"}, "/slug"),
            ({"name": "x", "slug": "ours"}, "/slug"),
        ],
    )
    def test_refuses_what_cannot_be(self, personal: Api, body: dict[str, str], pointer: str) -> None:
        answer = personal.post("/projects", body)

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert Project.objects.count() == 1

    def test_by_a_token_that_no_person_made_is_refused(self, api: Api) -> None:
        answer = api.post("/projects", {"name": "Card fraud"})

        assert (answer.status_code, answer.json()["code"]) == (403, "token_of_nobody")

    def test_by_a_token_to_which_somebody_else_gave_a_new_secret_is_refused(self, personal: Api) -> None:
        token = ApiToken.objects.get()
        of_maker = rotate_token(token=token, scopes=Scope, actor="owner@ours.example", now=now())
        by_its_maker = replace(personal, text=of_maker).post("/projects", {"name": "First"})
        of_another = rotate_token(token=token, scopes=Scope, actor="steward@ours.example", now=now())

        answer = replace(personal, text=of_another).post("/projects", {"name": "Second"})

        assert by_its_maker.status_code == 201
        assert (answer.status_code, answer.json()["code"]) == (403, "token_of_another")

    def test_gives_the_quotas_of_the_project_of_the_token_unless_an_operator_makes_it(
        self, personal: Api
    ) -> None:
        set_quotas(project=personal.project, actor="operator", max_models=5, max_bytes=10**9)

        made = personal.post("/projects", {"name": "Bounded"}).json()
        User.objects.update(is_staff=True)
        free = personal.post("/projects", {"name": "Free"}).json()

        names = ("max_models", "max_rows_per_second", "max_bytes")
        assert [made[name] for name in names] == [5, None, 10**9]
        assert [free[name] for name in names] == [None] * 3
        entry = AuditEntry.objects.get(action="project.create", subject="bounded")
        assert entry.after == {"admin": "owner@ours.example", "max_models": 5, "max_bytes": 10**9}

    def test_by_a_token_of_who_administers_nothing_any_more_is_refused(self, personal: Api) -> None:
        other = User.objects.create_user("second@ours.example")
        Membership.objects.create(project=personal.project, user=other, role=Role.ADMIN)
        member = Membership.objects.get(user=owner_of(personal))
        change_role(member=member, role=Role.EDITOR, scopes=set(Scope), actor="second")

        answer = personal.post("/projects", {"name": "Card fraud"})

        assert (answer.status_code, Project.objects.count()) == (403, 1)


class TestChanging:
    def test_renames_with_an_audit_row(self, api: Api) -> None:
        answer = api.send("PATCH", "/projects/ours", {"name": "Card fraud"})

        entry = AuditEntry.objects.get(action="project.rename")
        assert (answer.status_code, answer.json()["name"]) == (200, "Card fraud")
        assert (entry.before, entry.after) == ({"name": "Ours"}, {"name": "Card fraud"})

    def test_archives_and_restores_with_the_same_token(self, api: Api, flights: Model) -> None:
        archived = api.send("PATCH", "/projects/ours", {"archived": True})
        refused = api.send("PATCH", "/models/flights", {"description": "d"})
        read = api.get("/projects").json()["items"]
        restored = api.send("PATCH", "/projects/ours", {"archived": False})

        assert archived.json()["archived_at"] is not None
        assert (refused.status_code, refused.json()["code"]) == (403, "project_archived")
        assert read[0]["archived_at"] == archived.json()["archived_at"]
        assert (restored.status_code, restored.json()["archived_at"]) == (200, None)
        actions = AuditEntry.objects.filter(action__startswith="project.").order_by("pk")
        assert [one.action for one in actions] == ["project.create", "project.archive", "project.restore"]

    def test_changes_nothing_of_a_request_that_is_refused(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "driftline.base.accounts.projects.list_active_work", lambda _: ["run 7 of flights"]
        )

        answer = api.send("PATCH", "/projects/ours", {"name": "New", "archived": True})

        assert (answer.status_code, answer.json()["code"]) == (409, "project_active")
        assert (Project.objects.get().name, Project.objects.get().archived_at) == ("Ours", None)

    @pytest.mark.parametrize("body", [{"name": "Ours"}, {"archived": True}])
    def test_of_another_project_is_not_found(self, api: Api, stranger: Api, body: dict[str, Any]) -> None:
        answer = api.send("PATCH", "/projects/theirs", body)

        assert (answer.status_code, Project.objects.get(slug="theirs").archived_at) == (404, None)

    def test_needs_the_scope_admin(self, api: Api) -> None:
        editor = caller("ours", "read", "write", "deploy")

        assert editor.send("PATCH", "/projects/ours", {"archived": True}).status_code == 403
