"""A project's own roles: sets of scopes that nobody widens beyond their own, and that lock nobody out."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from driftline.base.accounts.access import roles
from driftline.base.accounts.access.mfa import needs_mfa
from driftline.base.accounts.access.scopes import SCOPES_OF_ROLE, Role, Scope
from driftline.base.accounts.members import change_role
from driftline.base.accounts.models import AuditEntry, CustomRole, Invitation, Membership, Project, User
from driftline.base.accounts.services import create_project, create_token
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.sign_in.single_sign_on.configuration import ProviderSettings, RoleRule, SignInSettings

pytestmark = pytest.mark.django_db
ALL = frozenset(Scope)


@pytest.fixture
def project() -> Project:
    return create_project(slug="bank", name="Bank", owner=User.objects.create_user("owner@bank.example"))


def made(project: Project, *scopes: str, name: str = "labeller", held: frozenset[str] = ALL) -> CustomRole:
    return roles.create_role(
        project=project, name=name, scopes=["read", *scopes], held=held, actor="owner@bank.example"
    )


def member_in(project: Project, role: str, email: str = "ada@bank.example") -> Membership:
    user = User.objects.create_user(email)
    return Membership.objects.create(project=project, user=user, role=role)


def test_a_member_without_a_project_is_refused_by_the_form_of_the_admin(
    project: Project, client: Client
) -> None:
    operator = User.objects.create_superuser("boss@bank.example", "pw")
    client.force_login(operator)

    answer = client.post(
        "/admin/accounts/membership/add/", {"user": operator.pk, "project": "", "role": "labeller"}
    )

    assert (answer.status_code, "This field is required." in answer.content.decode()) == (200, True)
    assert not Membership.objects.filter(user=operator).exists()


class TestMaking:
    def test_gives_a_name_to_a_set_of_scopes_with_an_audit_row(self, project: Project) -> None:
        role = made(project, "label", "log")

        entry = AuditEntry.objects.get(action="role.create")
        assert (entry.subject, entry.project, entry.after) == (
            "labeller", project, {"scopes": ["log", "label", "read"]},
        )  # fmt: skip
        assert member_in(project, role.name).scopes == {Scope.LOG, Scope.LABEL, Scope.READ}

    @pytest.mark.parametrize("name", ["", " ", "a" * 41, "-x", "a@b", "Labeller!", "a/b"])
    def test_refuses_a_name_that_cannot_be(self, project: Project, name: str) -> None:
        with pytest.raises(Problem, match="letters, digits, spaces") as refused:
            made(project, name=name)

        assert refused.value.errors[0].pointer == "/name"

    @pytest.mark.parametrize("name", ["Labeller", "Risk  Team\n", "9lives", "données"])
    def test_is_named_as_a_team_may_be(self, project: Project, name: str) -> None:
        assert made(project, name=name).name == " ".join(name.split())

    @pytest.mark.parametrize("name", [*Role, "Admin"])
    def test_refuses_the_name_of_a_role_that_every_project_has(self, project: Project, name: str) -> None:
        with pytest.raises(Problem, match=f"Every project has the role {name.lower()} already"):
            made(project, name=name)

    @pytest.mark.parametrize("name", ["labeller", "Labeller"])
    def test_refuses_a_name_that_is_taken(self, project: Project, name: str) -> None:
        made(project)

        with pytest.raises(Problem, match="There is a role labeller already"):
            made(project, name=name)

    def test_refuses_what_is_no_scope(self, project: Project) -> None:
        with pytest.raises(Problem, match="'root' is not a scope; use some of infer, log"):
            made(project, "root")

    def test_refuses_a_role_that_may_not_read(self, project: Project) -> None:
        with pytest.raises(Problem, match="every member sees the project's pages"):
            roles.create_role(project=project, name="blind", scopes=["label"], held=ALL, actor="owner")

    def test_refuses_scopes_that_the_maker_lacks(self, project: Project) -> None:
        with pytest.raises(Problem, match="Changing scopes needs the scope 'deploy'") as refused:
            made(project, "deploy", held=frozenset({"read", "admin"}))

        assert (refused.value.status, CustomRole.objects.count()) == (403, 0)

    def test_refuses_one_role_too_many(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(roles, "MAX_ROLES", 1)
        made(project)

        with pytest.raises(Problem, match="at most 1 roles of its own; delete one first"):
            made(project, name="second")


class TestChanging:
    def test_counts_from_the_next_look_on_with_the_difference_in_the_trail(self, project: Project) -> None:
        role = made(project, "label")
        member = member_in(project, role.name)
        before = member.scopes

        roles.set_scopes(role=role, scopes=["read", "write"], held=ALL, actor="owner")

        entry = AuditEntry.objects.get(action="role.update")
        assert (entry.before, entry.after) == ({"scopes": ["label", "read"]}, {"scopes": ["read", "write"]})
        assert (before, member.scopes) == ({Scope.LABEL, Scope.READ}, {Scope.READ, Scope.WRITE})

    def test_to_the_same_scopes_leaves_no_row(self, project: Project) -> None:
        role = made(project, "label")

        roles.set_scopes(role=role, scopes=["label", "read"], held=ALL, actor="owner")

        assert not AuditEntry.objects.filter(action="role.update").exists()

    def test_adds_nothing_that_the_person_lacks(self, project: Project) -> None:
        role = made(project, "admin", "write")
        held = frozenset({"read", "admin"})

        with pytest.raises(Problem, match="needs the scope 'deploy'"):
            roles.set_scopes(role=role, scopes=["read", "admin", "deploy"], held=held, actor="ada")
        narrowed = roles.set_scopes(role=role, scopes=["read", "admin"], held=held, actor="ada")

        assert narrowed.allowed == {Scope.READ, Scope.ADMIN}

    def test_does_not_take_the_right_to_change_roles_from_oneself(self, project: Project) -> None:
        role = made(project, "admin", "write", name="lead")

        with pytest.raises(Problem, match="lead is your own role") as refused:
            roles.set_scopes(role=role, scopes=["read"], held=ALL, actor="ada", own_role="lead")
        roles.set_scopes(role=role, scopes=["read", "admin"], held=ALL, actor="ada", own_role="lead")
        roles.set_scopes(role=role, scopes=["read"], held=ALL, actor="owner", own_role="admin")

        assert (refused.value.status, refused.value.code) == (409, "own_role")
        assert roles.get_role(project=project, role_id=role.pk).allowed == {Scope.READ}


class TestTheLastAdmin:
    def test_stays_beside_members_in_a_role_with_all_scopes_which_can_be_narrowed(
        self, project: Project
    ) -> None:
        role = made(project, *(ALL - {"read"}), name="lead")
        member_in(project, "lead")
        owner = Membership.objects.get(user__email="owner@bank.example")

        with pytest.raises(Problem, match="is the only admin of Bank; make somebody else an admin first"):
            change_role(member=owner, role="lead", scopes=ALL, actor="owner")
        roles.set_scopes(role=role, scopes=["read"], held=ALL, actor="owner")

        assert owner.scopes == ALL


class TestDeleting:
    def test_a_role_that_nobody_has_leaves_its_scopes_in_the_trail(self, project: Project) -> None:
        roles.delete_role(role=made(project, "label"), actor="owner")

        assert AuditEntry.objects.get(action="role.delete").before == {"scopes": ["label", "read"]}
        assert not CustomRole.objects.exists()

    def test_a_role_in_use_says_by_whom(self, project: Project, settings: Any) -> None:
        role = made(project, "label")
        member_in(project, "labeller")
        kept_below = member_in(project, "admin", "grace@bank.example")
        Membership.objects.filter(pk=kept_below.pk).update(role_by_hand="labeller", granted_by="okta")
        Invitation.objects.create(
            project=project, email="new@bank.example", role="labeller", created_by="owner", expires_at=now()
        )
        rules = (RoleRule("ml-people", "bank", "labeller"), RoleRule("ml-people", "shop", "labeller"))
        provider = ProviderSettings(id="okta", name="Okta", issuer="i", client_id="c", roles=rules)
        settings.SIGN_IN = SignInSettings(providers=(provider,))

        with pytest.raises(Problem) as refused:
            roles.delete_role(role=role, actor="owner")

        assert (refused.value.status, refused.value.code) == (409, "role_in_use")
        assert refused.value.detail == (
            "labeller is in use: 2 members have it; 1 open invitation gives it; the group 'ml-people' of okta in the "
            "sign-in file gives it. Give them another role first."
        )
        assert CustomRole.objects.exists()

    def test_a_role_that_members_of_another_project_have_by_the_same_name(self, project: Project) -> None:
        shop = create_project(slug="shop", name="Shop", owner=User.objects.create_user("owner@shop.example"))
        made(shop, "label")
        member_in(shop, "labeller")

        roles.delete_role(role=made(project, "label"), actor="owner")

        assert CustomRole.objects.get().project == shop


class TestGiving:
    def test_needs_all_scopes_of_the_role(self, project: Project) -> None:
        made(project, "deploy", name="releaser")
        member = member_in(project, "viewer")

        with pytest.raises(Problem, match="Changing role needs the scope 'deploy'"):
            change_role(member=member, role="releaser", scopes={"read", "admin"}, actor="ada")
        given = change_role(member=member, role="releaser", scopes={"read", "admin", "deploy"}, actor="ada")

        assert given.scopes == {Scope.READ, Scope.DEPLOY}

    def test_refuses_a_role_of_another_project(self, project: Project) -> None:
        shop = create_project(slug="shop", name="Shop", owner=User.objects.create_user("owner@shop.example"))
        made(shop, "label")

        with pytest.raises(Problem, match="'labeller' is not a role; use viewer, editor, admin"):
            change_role(member=member_in(project, "viewer"), role="labeller", scopes=ALL, actor="owner")

    def test_a_form_of_the_operators_refuses_a_role_of_another_project(self, project: Project) -> None:
        with pytest.raises(ValidationError, match="Bank has no role 'labeller'"):
            member_in(project, "labeller").clean()

    def test_a_role_that_the_project_does_not_have_allows_nothing(self, project: Project) -> None:
        assert member_in(project, "unknown").scopes == frozenset()

    def test_built_in_roles_are_as_the_table_says(self, project: Project) -> None:
        scopes = {role: member_in(project, role, f"{role}@bank.example").scopes for role in Role}

        assert scopes == dict(SCOPES_OF_ROLE)


class TestWhoAdministers:
    def test_needs_a_second_factor_where_admins_do(self, project: Project, settings: Any) -> None:
        settings.REQUIRE_MFA = "admins"
        made(project, "admin", name="lead")
        made(project, "deploy", name="releaser")

        need = [
            needs_mfa(member_in(project, role, f"{role}@x.example").user) for role in ("lead", "releaser")
        ]

        assert need == [True, False]

    def test_makes_no_token_with_more_scopes_than_their_own(self, project: Project) -> None:
        with pytest.raises(Problem, match="Changing scopes needs the scope 'deploy'") as refused:
            create_token(
                project=project, name="t", scopes=["read", "deploy"], actor="ada", held={"read", "admin"}
            )

        assert (refused.value.status, project.tokens.count()) == (403, 0)
