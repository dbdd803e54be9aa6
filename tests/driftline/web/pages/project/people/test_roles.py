"""Roles on pages: the list, a form for one more, other scopes, and deletion."""

import pytest
from django.test import Client

from driftline.base.accounts.access.roles import create_role
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import CustomRole, Membership, Project, User
from driftline.base.accounts.services import create_project
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.pages_client import PagesClient

PAGE = "/settings/roles"


@pytest.fixture
def labeller(project: Project, db: None) -> CustomRole:
    return create_role(
        project=project, name="labeller", scopes=["label", "read"], held=set(Scope), actor="test"
    )


def person_in(project: Project, role: CustomRole | str) -> Client:
    user = User.objects.create_user("ada@bank.example")
    Membership.objects.create(project=project, user=user, role=str(role))
    client = PagesClient()
    client.force_login(user)
    return client


def lead_of(project: Project) -> Client:
    """Sign in somebody who administers, and may neither write nor deploy."""
    return person_in(
        project,
        create_role(project=project, name="lead", scopes=["read", "admin"], held=set(Scope), actor="test"),
    )


class TestList:
    def test_shows_built_in_roles_and_the_projects_own(
        self, client: Client, project: Project, labeller: CustomRole
    ) -> None:
        person_in(project, labeller)

        rows = [
            row.split("</tr>")[0] for row in markup(client.get(PAGE)).split("<tbody>")[1].split("<tr>")[1:]
        ]

        assert [name for row in rows for name in ("viewer", "editor", "admin", "labeller") if f">{name}" in row] == [
            "viewer", "editor", "admin", "labeller",
        ]  # fmt: skip
        assert "label, read" in rows[3]
        assert ">1<" in rows[3]

    def test_offers_a_viewer_nothing_to_change(self, project: Project, labeller: CustomRole) -> None:
        viewer = viewer_of(project)

        shown = markup(viewer.get(PAGE)) + markup(viewer.get(f"{PAGE}/{labeller.pk}"))

        assert "Only admins of this project make and change roles" in shown
        assert ("Scopes…" in shown, "Delete…" in shown) == (False, False)


class TestForm:
    def test_makes_a_role_which_members_and_invitations_are_offered(
        self, client: Client, project: Project
    ) -> None:
        client.post(PAGE, {"name": "labeller", "scopes": ["label", "log"]})

        member = Membership.objects.get(project=project)
        assert CustomRole.objects.get().scopes == ["label", "log", "read"]
        for path in ("/settings/members", f"/settings/members/{member.pk}"):
            assert 'value="labeller"' in markup(client.get(path))

    def test_says_what_is_wrong_at_its_field(self, client: Client, project: Project) -> None:
        answer = client.post(PAGE, {"name": "Labeller!"})

        assert answer.status_code == 422
        assert "letters, digits, spaces, dots, hyphens and underscores" in markup(answer)

    def test_offers_no_scope_that_the_person_lacks(self, project: Project, db: None) -> None:
        lead = lead_of(project)

        shown = markup(lead.get(PAGE)) + markup(lead.get("/settings/tokens"))
        answers = [
            lead.post(PAGE, {"name": "releaser", "scopes": ["deploy"]}),
            lead.post("/settings/tokens", {"do": "create", "name": "t", "scopes": ["deploy"]}),
        ]

        assert ('value="admin"' in shown, 'value="deploy"' in shown) == (True, False)
        assert [answer.status_code for answer in answers] == [422, 422]
        assert not CustomRole.objects.filter(name="releaser").exists()
        assert not project.tokens.exists()

    def test_lets_a_person_invite_and_promote_to_no_role_above_their_own(
        self, client: Client, project: Project
    ) -> None:
        lead = lead_of(project)
        viewer_of(project)
        viewer = Membership.objects.get(user__email="viewer@bank.example")

        answers = [
            lead.post("/settings/members", {"do": "invite", "email": "new@bank.example", "role": "editor"}),
            lead.post(f"/settings/members/{viewer.pk}", {"role": "admin"}),
        ]

        assert [answer.status_code for answer in answers] == [422, 422]
        assert "needs the scope" in markup(answers[0])
        viewer.refresh_from_db()
        assert (viewer.role, project.invitations.count()) == ("viewer", 0)


class TestScopes:
    def test_count_from_the_next_request_on(
        self, client: Client, project: Project, labeller: CustomRole
    ) -> None:
        ada = person_in(project, labeller)
        before = ada.post("/settings/teams", {"name": "first"}).status_code
        client.post(f"{PAGE}/{labeller.pk}", {"scopes": ["admin"]})
        widened = ada.post("/settings/teams", {"name": "second"}).status_code
        client.post(f"{PAGE}/{labeller.pk}", {"scopes": []})
        narrowed = ada.post("/settings/teams", {"name": "third"}).status_code

        assert (before, widened, narrowed) == (403, 302, 403)
        assert list(project.teams.values_list("name", flat=True)) == ["second"]

    def test_of_the_persons_own_role_keep_the_right_to_change_them(self, project: Project, db: None) -> None:
        lead, role = lead_of(project), CustomRole.objects.get()

        answer = lead.post(f"{PAGE}/{role.pk}", {"scopes": []})

        assert answer.status_code == 422
        assert "lead is your own role" in markup(answer)
        assert CustomRole.objects.get().scopes == ["admin", "read"]

    def test_that_the_person_lacks_stay_as_they_are(self, client: Client, project: Project) -> None:
        lead = lead_of(project)
        client.post(PAGE, {"name": "releaser", "scopes": ["deploy"]})
        releaser = CustomRole.objects.get(name="releaser")

        shown = markup(lead.get(f"{PAGE}/{releaser.pk}"))
        lead.post(f"{PAGE}/{releaser.pk}", {"scopes": ["deploy", "admin"]})

        assert 'value="deploy"' in shown
        releaser.refresh_from_db()
        assert releaser.scopes == ["admin", "deploy", "read"]


class TestDeletion:
    def test_asks_and_deletes_what_nobody_has(self, client: Client, labeller: CustomRole) -> None:
        asked = markup(client.get(f"{PAGE}/{labeller.pk}/remove"))

        client.post(f"{PAGE}/{labeller.pk}/remove")

        assert "No member has it" in asked
        assert not CustomRole.objects.exists()

    def test_of_a_role_in_use_is_refused_with_how_many_have_it(
        self, client: Client, project: Project, labeller: CustomRole
    ) -> None:
        person_in(project, labeller)

        asked = markup(client.get(f"{PAGE}/{labeller.pk}/remove"))
        answer = client.post(f"{PAGE}/{labeller.pk}/remove", follow=True)

        assert "It is in use: 1 member has it" in asked
        assert "Yes, delete it" not in asked
        assert "labeller is in use: 1 member has it" in markup(answer)
        assert CustomRole.objects.exists()

    def test_of_another_projects_role_is_not_found(self, client: Client, owner: User) -> None:
        shop = create_project(slug="shop", name="Shop", owner=User.objects.create_user("o@shop.example"))
        theirs = create_role(project=shop, name="labeller", scopes=["read"], held=set(Scope), actor="test")

        statuses = {
            client.get(f"{PAGE}/{theirs.pk}").status_code,
            client.post(f"{PAGE}/{theirs.pk}/remove").status_code,
        }

        assert statuses == {404}
        assert CustomRole.objects.exists()
