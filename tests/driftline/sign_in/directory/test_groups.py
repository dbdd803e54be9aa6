"""Groups that a provider keeps by SCIM, and the roles that people have by them, at once."""

import pytest

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import AuditEntry, CustomRole, DirectoryGroup, Membership, Project, User
from driftline.base.accounts.teams import create_team
from driftline.sign_in.single_sign_on.configuration import RoleRule
from tests.driftline.sign_in.directory.conftest import Directory

pytestmark = pytest.mark.django_db

ADA, GRACE = "ada@bank.example", "grace@bank.example"


def roles() -> dict[str, str]:
    people = Membership.objects.exclude(user__email="owner@bank.example")
    return dict(people.values_list("user__email", "role"))


class TestRoles:
    def test_follow_members_that_are_added_and_removed(self, directory: Directory) -> None:
        ada, grace = directory.make_user(ADA), directory.make_user(GRACE)
        risk = directory.make_group("Risk", ada)
        first = roles()
        directory.patch(f"Groups/{risk}", {"op": "add", "path": "members", "value": [{"value": grace}]})
        both = roles()
        directory.patch(f"Groups/{risk}", {"op": "remove", "path": f'members[value eq "{ada}"]'})
        after_path = roles()
        directory.patch(f"Groups/{risk}", {"op": "Remove", "path": "members", "value": [{"value": grace}]})

        assert first == {ADA: "viewer"}
        assert both == {ADA: "viewer", GRACE: "viewer"}
        assert after_path == {GRACE: "viewer"}
        assert roles() == {}

    def test_follow_a_group_that_is_replaced_renamed_or_deleted(self, directory: Directory) -> None:
        ada, grace = directory.make_user(ADA), directory.make_user(GRACE)
        group = directory.make_group("Risk", ada)
        directory.send("PUT", f"Groups/{group}", {"displayName": "Risk", "members": [{"value": grace}]})
        replaced = roles()
        directory.patch(f"Groups/{group}", {"op": "replace", "path": "displayName", "value": "Leads"})
        renamed = roles()
        deleted = directory.send("DELETE", f"Groups/{group}")

        assert replaced == {GRACE: "viewer"}
        assert renamed == {GRACE: "admin"}
        assert (deleted.status_code, roles()) == (204, {})

    def test_may_be_the_projects_own(self, directory: Directory, fraud: Project) -> None:
        CustomRole.objects.create(project=fraud, name="labeller", scopes=["read", "label"])
        directory.configure(roles=(RoleRule("Risk", "fraud", "labeller"),))

        directory.make_group("Risk", directory.make_user(ADA))

        assert roles() == {ADA: "labeller"}

    def test_bring_teams(self, directory: Directory, fraud: Project) -> None:
        team = create_team(project=fraud, name="Duty", emails=[], actor="owner")
        ada = directory.make_user(ADA)

        directory.make_group("Leads", ada)

        assert [one.user.email for one in team.members.all()] == [ADA]

    def test_of_the_last_admin_stay(self, directory: Directory) -> None:
        leads = directory.make_group("Leads", directory.make_user(ADA))
        Membership.objects.filter(user__email="owner@bank.example").delete()

        directory.send("DELETE", f"Groups/{leads}")

        assert roles() == {ADA: Role.ADMIN}
        assert AuditEntry.objects.filter(action="member.last_admin_kept", subject=ADA).exists()

    def test_are_left_to_the_sign_in_where_the_file_says_so(self, directory: Directory) -> None:
        directory.configure(groups_from="claim")

        directory.make_group("Risk", directory.make_user(ADA))

        assert roles() == {}


class TestGroups:
    def test_are_listed_with_or_without_their_members(self, directory: Directory) -> None:
        ada = directory.make_user(ADA)
        risk = directory.make_group("Risk", ada)
        directory.make_group("Leads")

        listed = directory.send("GET", 'Groups?filter=displayName eq "Risk"').document["Resources"]
        short = directory.send("GET", f"Groups/{risk}?excludedAttributes=members").document
        user = directory.send("GET", f"Users/{ada}").document

        assert [one["members"] for one in listed] == [
            [{"value": ada, "$ref": f"http://127.0.0.1:8000/scim/v2/Users/{ada}"}]
        ]
        assert "members" not in short
        assert [one["display"] for one in user["groups"]] == ["Risk"]

    def test_are_renamed_and_given_members_at_once(self, directory: Directory) -> None:
        ada, grace = directory.make_user(ADA), directory.make_user(GRACE)
        group = directory.make_group("Risk", ada)

        directory.send(
            "PUT", f"Groups/{group}", {"displayName": "Leads", "members": [{"value": ada}, {"value": grace}]}
        )

        assert roles() == {ADA: "admin", GRACE: "admin"}

    def test_of_one_name_are_one(self, directory: Directory) -> None:
        directory.make_group("Risk")

        answer = directory.send("POST", "Groups", {"displayName": "Risk"})

        assert (answer.status_code, answer.document["scimType"]) == (409, "uniqueness")

    def test_take_no_strangers(self, directory: Directory, owner: User) -> None:
        for value in (str(owner.pk), "999999", "nobody", "-1"):
            answer = directory.send("POST", "Groups", {"displayName": "Risk", "members": [{"value": value}]})
            assert answer.status_code == 400
        assert not DirectoryGroup.objects.exists()

    def test_that_do_not_exist_are_not_found(self, directory: Directory) -> None:
        assert directory.send("GET", "Groups/7").status_code == 404
        assert directory.patch("Groups/7", {"op": "remove", "path": "members"}).status_code == 404
