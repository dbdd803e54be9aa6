"""The pages of tokens: a project's, and those that a person made in all their projects."""

import html
import re
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.members import remove_member
from driftline.base.accounts.models import ApiToken, AuditEntry, Membership, Project, User
from driftline.base.accounts.projects import archive_project
from driftline.base.accounts.services import create_project, create_token
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient

PROFILE = "/accounts/profile/"

pytestmark = pytest.mark.usefixtures("db")


def make(project: Project, user: User, name: str = "app", *scopes: str, **more: Any) -> tuple[ApiToken, str]:
    return create_token(
        project=project, name=name, scopes=scopes or ["read"], actor="test", created_by=user, **more
    )


def secret_in(answer: Any) -> str:
    """Find the secret that a page shows."""
    found = re.search(r'id="secret">(dl_\w+)<', answer.content.decode())
    return found[1] if found else ""


def status_of(text: str, address: str = "127.0.0.1") -> int:
    headers = {"Authorization": f"Bearer {text}"}
    return Client().get("/api/v1/models", headers=headers, REMOTE_ADDR=address).status_code


@pytest.fixture
def colleague(project: Project, db: None) -> User:
    """An editor of the project."""
    user = User.objects.create_user("editor@bank.example")
    Membership.objects.create(project=project, user=user, role=Role.EDITOR)
    return user


def pages_of(user: User) -> Client:
    client = PagesClient()
    client.force_login(user)
    return client


class TestOfAProject:
    def test_make_a_token_for_some_addresses(self, client: Client) -> None:
        form = {
            "do": "create",
            "name": "app",
            "scopes": "read",
            "allowed_networks": "10.0.0.0/8, 203.0.113.7\r\n",
        }

        text = secret_in(client.post("/settings/tokens", form))

        assert (status_of(text, "203.0.113.7"), status_of(text)) == (200, 403)
        assert "from 10.0.0.0/8, 203.0.113.7/32" in markup(client.get("/settings/tokens"))

    def test_change_the_addresses_of_a_token(self, client: Client, project: Project, owner: User) -> None:
        token, text = make(project, owner)
        path = f"/settings/tokens/{token.pk}"

        refused = client.post(path, {"do": "allow", "allowed_networks": "10.0.0.1/8"})
        before = status_of(text)
        client.post(path, {"do": "allow", "allowed_networks": "10.0.0.0/8"})

        assert "use 10.0.0.0/8 for all of it" in html.unescape(markup(refused))
        assert (refused.status_code, before, status_of(text)) == (422, 200, 403)
        assert "10.0.0.0/8</textarea>" in markup(client.get(path))

    def test_are_not_made_for_what_is_no_network_and_each_is_named(self, client: Client) -> None:
        form = {
            "do": "create",
            "name": "app",
            "scopes": "read",
            "allowed_networks": "10.0.0.0/33\n::1\noffice",
        }

        refused = client.post("/settings/tokens", form)

        shown = html.unescape(markup(refused))
        assert refused.status_code == 422
        assert all(f">'{wrong}' is not a network" in shown for wrong in ("10.0.0.0/33", "office"))

    def test_give_a_new_secret_and_say_when_the_old_one_ends(
        self, client: Client, project: Project, owner: User
    ) -> None:
        token, old = make(project, owner)

        shown = client.post(f"/settings/tokens/{token.pk}", {"do": "rotate", "overlap_hours": "24"})

        assert [status_of(text) for text in (secret_in(shown), old)] == [200, 200]
        assert "it won't be shown again" in html.unescape(markup(shown))
        again = client.get("/settings/tokens")
        assert "the old secret ends at" in markup(again)
        assert secret_in(shown) not in again.content.decode()

    def test_refuse_an_overlap_that_makes_no_sense(
        self, client: Client, project: Project, owner: User
    ) -> None:
        token, old = make(project, owner)

        refused = client.post(f"/settings/tokens/{token.pk}", {"do": "rotate", "overlap_hours": "-1"})

        assert (refused.status_code, secret_in(refused), status_of(old)) == (422, "", 200)

    def test_show_a_viewer_no_form(self, project: Project, owner: User) -> None:
        token, _ = make(project, owner)
        viewer = viewer_of(project)

        shown = markup(viewer.get(f"/settings/tokens/{token.pk}"))

        assert (
            "Only admins of this project change tokens." in shown,
            "<form method" in shown.split("<main")[1],
        ) == (
            True,
            False,
        )
        assert (
            viewer.post(f"/settings/tokens/{token.pk}", {"do": "rotate", "overlap_hours": "0"}).status_code
            == 403
        )


class TestOfAPerson:
    def test_are_listed_over_all_their_projects(self, client: Client, project: Project, owner: User) -> None:
        lab = create_project(slug="lab", name="Lab", owner=owner)
        _, used = make(project, owner, "checkout")
        make(lab, owner, "notebook", allowed_networks=["10.0.0.0/8"])
        make(lab, User.objects.create_user("other@lab.example"), "of somebody else")
        status_of(used)

        shown = markup(client.get(PROFILE))

        assert re.search(r"checkout.*Bank.*ago", shown)
        assert re.search(r"notebook.*Lab.*never.*from 10\.0\.0\.0/8", shown)
        assert "of somebody else" not in shown

    def test_are_revoked_and_rotated_there(self, client: Client, project: Project, owner: User) -> None:
        token, old = make(project, owner)
        path = f"/accounts/profile/tokens/{token.pk}/"

        new = secret_in(client.post(path, {"do": "rotate", "overlap_hours": "0"}))
        rotated = status_of(new), status_of(old)
        client.post(path, {"do": "revoke"})

        assert (rotated, status_of(new)) == ((200, 401), 401)
        assert client.get(path).status_code == 404
        assert "You made none that is valid." in html.unescape(markup(client.get(PROFILE)))
        acts = AuditEntry.objects.filter(action__startswith="token.", actor=owner.email).order_by("pk")
        assert list(acts.values_list("action", flat=True)) == ["token.rotate", "token.revoke"]

    def test_of_others_are_not_found(self, project: Project, owner: User, colleague: User) -> None:
        token, text = make(project, owner)
        path = f"/accounts/profile/tokens/{token.pk}/"
        browser = pages_of(colleague)

        statuses = [browser.get(path).status_code, browser.post(path, {"do": "revoke"}).status_code]

        assert (statuses, status_of(text)) == ([404, 404], 200)

    def test_of_a_project_that_they_left_are_not_found(self, project: Project, colleague: User) -> None:
        """Nobody gets a new secret of a project that is closed to them."""
        token, text = make(project, colleague, "nightly")
        remove_member(member=Membership.objects.get(user=colleague), actor="test")
        browser = pages_of(colleague)
        path = f"/accounts/profile/tokens/{token.pk}/"

        answer = browser.post(path, {"do": "rotate", "overlap_hours": "0"})

        assert (answer.status_code, "nightly" in markup(browser.get(PROFILE))) == (404, False)
        assert (
            status_of(text) == 200
        )  # the project keeps it until an admin revokes it, as the page of removal says

    def test_that_may_do_more_than_their_role_now_are_revoked_but_not_rotated(
        self, project: Project, colleague: User
    ) -> None:
        """Somebody who was an admin made it."""
        token, text = make(project, colleague, "old", "deploy", "read")
        browser = pages_of(colleague)
        path = f"/accounts/profile/tokens/{token.pk}/"

        refused = browser.post(path, {"do": "rotate", "overlap_hours": "0"}, follow=True)
        kept = status_of(text)
        browser.post(path, {"do": "revoke"})

        assert "needs the scope 'deploy'" in html.unescape(markup(refused))
        assert (secret_in(refused), kept, status_of(text)) == ("", 200, 401)

    def test_within_their_role_are_rotated_by_an_editor(self, project: Project, colleague: User) -> None:
        token, _ = make(project, colleague, "labels", "label", "read")

        answer = pages_of(colleague).post(
            f"/accounts/profile/tokens/{token.pk}/", {"do": "rotate", "overlap_hours": "1"}
        )

        assert status_of(secret_in(answer)) == 200

    def test_of_an_archived_project_stay_as_they_are(
        self, client: Client, project: Project, owner: User
    ) -> None:
        token, text = make(project, owner)
        archive_project(project=project, actor="test", now=token.created_at)

        answer = client.post(f"/accounts/profile/tokens/{token.pk}/", {"do": "revoke"}, follow=True)

        assert "is archived and read only" in markup(answer)
        assert status_of(text) == 200

    def test_want_a_sign_in(self, project: Project, owner: User) -> None:
        token, _ = make(project, owner)

        assert Client().post(f"/accounts/profile/tokens/{token.pk}/", {"do": "revoke"}).status_code == 302
