"""Who gets in by a provider, with which account, and what they become in projects."""

from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount

from driftline.base.accounts.access.scopes import SCOPES_OF_ROLE, Role
from driftline.base.accounts.members import change_role
from driftline.base.accounts.models import AuditEntry, CustomRole, Invitation, Membership, Project, User
from driftline.base.accounts.teams import create_team
from driftline.base.clock import now
from driftline.sign_in.password_reset import send_reset_mails
from driftline.sign_in.single_sign_on.configuration import RoleRule
from tests.driftline.sign_in.single_sign_on.conftest import Company

pytestmark = pytest.mark.django_db

ADA = "ada@bank.example"


def actions(subject: str = ADA) -> list[str]:
    return list(AuditEntry.objects.filter(subject=subject).order_by("pk").values_list("action", flat=True))


def role_of(email: str = ADA) -> str | None:
    return Membership.objects.filter(user__email=email).values_list("role", flat=True).first()


class TestAccounts:
    def test_are_made_on_the_first_sign_in_and_found_on_the_next(self, company: Company) -> None:
        company.sign_in()
        company.browser.post("/accounts/logout/")
        company.sign_in(email="ada.byron@bank.example")

        ada = User.objects.get(email=ADA)
        assert company.browser.session["_auth_user_id"] == str(ada.pk)
        assert not ada.has_usable_password()
        assert actions() == ["user.create", "member.join", "sign_in", "sign_out", "sign_in"]
        assert AuditEntry.objects.filter(action="sign_in").last().after == {"methods": ["company"]}

    def test_of_the_same_address_are_not_taken_over(self, company: Company) -> None:
        User.objects.create_user(ADA, "correct horse battery")

        answer = company.sign_in()

        assert "not linked with Example Ltd" in company.refusal(answer)
        assert not SocialAccount.objects.exists()
        assert actions() == ["sign_in.refused"]

    def test_of_the_same_address_are_linked_where_the_operator_trusts_the_provider(
        self, company: Company
    ) -> None:
        company.configure(link_verified_emails=True)
        ada = User.objects.create_user("Ada@bank.example", "correct horse battery")

        company.sign_in()

        assert company.browser.session["_auth_user_id"] == str(ada.pk)
        assert "user.link" in actions("Ada@bank.example")

    def test_are_not_linked_by_an_address_that_nobody_checked(self, company: Company) -> None:
        company.configure(link_verified_emails=True)
        User.objects.create_user(ADA, "correct horse battery")

        assert "has not checked" in company.refusal(company.sign_in(email_verified=False))

    def test_stay_with_who_had_the_address_first(self, company: Company) -> None:
        company.configure(link_verified_emails=True)
        company.sign_in()
        company.browser.post("/accounts/logout/")

        answer = company.sign_in(sub="ada-the-second")

        assert "linked with another person" in company.refusal(answer)

    def test_that_are_switched_off_stay_off(self, company: Company) -> None:
        company.sign_in()
        company.browser.post("/accounts/logout/")
        User.objects.filter(email=ADA).update(is_active=False)

        assert "switched off" in company.refusal(company.sign_in())

    def test_are_not_made_for_another_domain(self, company: Company) -> None:
        company.configure(email_domains=("bank.example",))

        assert "none of the domains" in company.refusal(company.sign_in(email="ada@evil.example"))

    def test_are_made_for_the_invited_without_a_group(self, company: Company, fraud: Project) -> None:
        Invitation.objects.create(
            project=fraud, email=ADA, role="editor", created_by="owner", expires_at=now()
        )

        company.sign_in(groups=[])

        assert company.is_in
        assert role_of() is None

    def test_of_a_provider_that_checks_addresses_without_saying_so(self, company: Company) -> None:
        company.configure(emails_are_verified=True)

        company.sign_in(email_verified=None)

        assert company.is_in


class TestRoles:
    def sign_in_again(self, company: Company, *groups: str) -> None:
        company.browser.post("/accounts/logout/")
        company.sign_in(groups=list(groups))
        assert company.is_in

    def test_follow_the_groups_at_each_sign_in(self, company: Company) -> None:
        company.sign_in(groups=["risk"])
        first = role_of()
        self.sign_in_again(company, "risk", "leads")
        raised = role_of()
        self.sign_in_again(company)

        assert (first, raised, role_of()) == ("viewer", "editor", None)
        assert [action for action in actions() if action.startswith("member")] == [
            "member.join", "member.role", "member.remove",
        ]  # fmt: skip
        assert AuditEntry.objects.get(action="member.remove").actor == "single sign-on company"

    def test_that_a_person_gave_are_never_taken(self, company: Company, fraud: Project) -> None:
        company.sign_in(groups=["risk"])
        member = Membership.objects.get(user__email=ADA)
        change_role(member=member, role="editor", scopes=SCOPES_OF_ROLE[Role.ADMIN], actor="owner")

        self.sign_in_again(company, "risk")
        below = role_of()
        self.sign_in_again(company)

        assert (below, role_of()) == ("editor", "editor")

    def test_that_a_group_raised_come_back_to_what_a_person_gave(
        self, company: Company, fraud: Project
    ) -> None:
        company.configure(link_verified_emails=True)
        ada = User.objects.create_user(ADA, "correct horse battery")
        Membership.objects.create(project=fraud, user=ada, role=Role.VIEWER)

        company.sign_in(groups=["leads"])
        raised = role_of()
        self.sign_in_again(company)

        assert (raised, role_of()) == ("editor", "viewer")

    def test_of_the_last_admin_stay(self, company: Company, fraud: Project) -> None:
        company.configure(roles=(RoleRule("chiefs", "fraud", Role.ADMIN),))
        company.sign_in(groups=["chiefs"])
        Membership.objects.exclude(user__email=ADA).delete()

        self.sign_in_again(company, "risk")

        assert role_of() == "admin"
        assert "member.last_admin_kept" in actions()

    def test_of_a_project_that_does_not_exist_are_skipped(self, company: Company) -> None:
        company.configure(
            roles=(RoleRule("risk", "fraud", Role.VIEWER), RoleRule("risk", "no-such", Role.ADMIN))
        )

        company.sign_in()

        assert role_of() == "viewer"

    def test_may_be_the_projects_own(self, company: Company, fraud: Project) -> None:
        CustomRole.objects.create(project=fraud, name="labeller", scopes=["read", "label"])
        company.configure(roles=(RoleRule("risk", "fraud", "labeller"),))

        company.sign_in()

        assert role_of() == "labeller"

    def test_that_the_project_does_not_have_are_skipped(
        self, company: Company, fraud: Project, caplog: pytest.LogCaptureFixture
    ) -> None:
        company.configure(roles=(RoleRule("risk", "fraud", "labeller"), RoleRule("risk", "fraud", "viewer")))

        company.sign_in()

        assert role_of() == "viewer"
        assert "role of the sign-in file is unknown" in caplog.messages

    def test_that_are_all_unknown_leave_the_membership_as_it_is(
        self, company: Company, caplog: pytest.LogCaptureFixture
    ) -> None:
        company.configure(roles=(RoleRule("risk", "fraud", Role.EDITOR),))
        company.sign_in()
        company.configure(roles=(RoleRule("risk", "fraud", "editr"),))

        self.sign_in_again(company, "risk")
        misspelt = role_of()
        self.sign_in_again(company)

        assert (misspelt, role_of()) == ("editor", None)
        assert "role of the sign-in file is unknown" in caplog.messages

    @pytest.mark.parametrize(
        ("of_groups", "given"),
        [
            (("viewer", "labeller"), "labeller"),
            (("labeller", "viewer"), "labeller"),
            (("labeller", "editor"), "editor"),
            (("labeller", "releaser"), "labeller"),
            (("releaser", "labeller"), "releaser"),
            (("labeller", "releaser", "admin"), "admin"),
        ],
    )
    def test_of_several_groups_are_the_one_with_all_scopes_of_the_other_else_the_first(
        self, company: Company, fraud: Project, of_groups: tuple[str, ...], given: str
    ) -> None:
        CustomRole.objects.create(project=fraud, name="labeller", scopes=["read", "label"])
        CustomRole.objects.create(project=fraud, name="releaser", scopes=["read", "deploy"])
        company.configure(roles=tuple(RoleRule("risk", "fraud", role) for role in of_groups))

        company.sign_in()

        assert role_of() == given

    def test_that_a_person_gave_stay_beside_one_with_other_scopes(
        self, company: Company, fraud: Project
    ) -> None:
        CustomRole.objects.create(project=fraud, name="releaser", scopes=["read", "deploy"])
        company.configure(link_verified_emails=True, roles=(RoleRule("risk", "fraud", "releaser"),))
        ada = User.objects.create_user(ADA, "correct horse battery")
        Membership.objects.create(project=fraud, user=ada, role=Role.EDITOR)

        company.sign_in()

        assert role_of() == "editor"

    def test_bring_teams_and_take_only_those_again(
        self, company: Company, fraud: Project, owner: User
    ) -> None:
        duty = create_team(project=fraud, name="Duty", emails=[], actor="owner")
        night = create_team(project=fraud, name="Night", emails=[], actor="owner")
        company.sign_in(groups=["leads"])
        ada = Membership.objects.get(user__email=ADA)
        night.members.add(ada)
        with_group = {team.name for team in ada.teams.all()}

        self.sign_in_again(company, "risk")

        assert with_group == {"Duty", "Night"}
        assert [team.name for team in ada.teams.all()] == ["Night"]
        assert not duty.members.exists()

    def test_take_teams_back_from_who_has_a_higher_role_by_hand(
        self, company: Company, fraud: Project
    ) -> None:
        duty = create_team(project=fraud, name="Duty", emails=[], actor="owner")
        company.configure(link_verified_emails=True)
        ada = User.objects.create_user(ADA, "correct horse battery")
        Membership.objects.create(project=fraud, user=ada, role=Role.ADMIN)
        company.sign_in(groups=["leads"])
        joined = duty.members.count()

        self.sign_in_again(company)

        assert (joined, duty.members.count(), role_of()) == (1, 0, "admin")

    def test_of_another_provider_stay_with_their_teams(self, company: Company, fraud: Project) -> None:
        night = create_team(project=fraud, name="Night", emails=[], actor="owner")
        company.sign_in(groups=["risk"])
        ada = Membership.objects.get(user__email=ADA)
        night.members.add(ada)
        Membership.objects.update(granted_by="another", granted_teams=["Night"])

        self.sign_in_again(company, "leads")

        assert (role_of(), [team.name for team in ada.teams.all()]) == ("viewer", ["Night"])

    def test_are_named_with_their_provider_on_the_page_of_members(
        self, company: Company, owner: User
    ) -> None:
        company.sign_in()
        company.browser.force_login(owner)

        assert "by company" in company.browser.get("/p/fraud/settings/members").content.decode()


class TestPasswordsAlone:
    def test_open_nothing_where_the_file_says_so(self, company: Company, owner: User) -> None:
        company.configure(passwords_for=("breakglass@bank.example",))

        answer = company.browser.post(
            "/accounts/login/", {"login": owner.email, "password": "correct horse battery"}
        )

        assert not company.is_in
        assert "Passwords are switched off here: sign in with Example Ltd." in answer.content.decode()
        assert AuditEntry.objects.get(action="sign_in.refused").subject == owner.email

    def test_let_the_named_account_in_while_the_provider_is_away(self, company: Company) -> None:
        company.configure(passwords_for=("Breakglass@bank.example",), issuer="http://127.0.0.1:1")
        User.objects.create_superuser("breakglass@bank.example", "correct horse battery")

        company.browser.post(
            "/accounts/login/", {"login": "breakglass@bank.example", "password": "correct horse battery"}
        )

        assert company.is_in

    def test_are_not_reset_by_mail(self, company: Company, owner: User, mailoutbox: list[Any]) -> None:
        company.configure(passwords_for=("breakglass@bank.example",))

        send_reset_mails(owner.email)

        assert mailoutbox == []

    def test_are_not_chosen_by_who_signs_in_by_a_provider(
        self, company: Company, mailoutbox: list[Any]
    ) -> None:
        company.sign_in()

        send_reset_mails(ADA)

        assert mailoutbox == []

    def test_are_not_chosen_by_the_invited(self, company: Company, fraud: Project) -> None:
        from driftline.sign_in.invitations import invite, link_of

        company.configure(passwords_for=("breakglass@bank.example",))
        invitation = invite(
            project=fraud,
            email=ADA,
            role="editor",
            scopes=SCOPES_OF_ROLE[Role.ADMIN],
            actor="owner",
            now=now(),
        )
        link = link_of(invitation).partition("//")[2].partition("/")[2]

        page = company.browser.get(f"/{link}").content.decode()
        company.browser.post(f"/{link}", {"password": "correct horse battery"})

        assert "Sign in to join" in page
        assert not User.objects.filter(email=ADA).exists()


def test_the_page_of_the_sign_in_offers_the_provider(company: Company) -> None:
    page = company.browser.get("/accounts/login/?next=/p/fraud/").content.decode()

    assert "Sign in with Example Ltd" in page
    assert "/accounts/oidc/company/login/?next=%2Fp%2Ffraud%2F" in page
