"""What the audit trail says of sign-ins, passwords, second factors, accounts and memberships."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import AuditEntry, Membership, User
from driftline.base.accounts.services import create_project

pytestmark = pytest.mark.django_db

PASSWORD, NEW = "correct horse battery", "another long password"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("operator@bank.example", PASSWORD)


@pytest.fixture
def client(operator: User) -> Client:
    """A browser in which the operator signed in."""
    client = Client()
    client.post("/accounts/login/", {"login": operator.email, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return client


def entry(action: str) -> tuple[str, str, Any, Any]:
    found = AuditEntry.objects.get(action=action)
    return found.actor, found.subject, found.before, found.after


class TestSignIns:
    def test_are_recorded_with_address_and_method(self, client: Client, operator: User) -> None:
        client.post("/accounts/logout/")

        assert entry("sign_in") == (operator.email, operator.email, None, {"methods": ["password"]})
        assert entry("sign_out") == (operator.email, operator.email, None, None)
        assert AuditEntry.objects.get(action="sign_in").address == "127.0.0.1"

    def test_that_fail_are_recorded_for_accounts_that_exist_and_others(self, operator: User) -> None:
        for email in (operator.email, "nobody@bank.example"):
            Client().post(
                "/accounts/login/", {"login": email, "password": "guess"}, REMOTE_ADDR="203.0.113.9"
            )

        failed = AuditEntry.objects.filter(action="sign_in.failed").order_by("pk")
        assert [row.subject for row in failed] == [operator.email, "nobody@bank.example"]
        assert {(row.actor, row.address) for row in failed} == {("somebody", "203.0.113.9")}
        assert failed[0].after == {"factor": "password"}

    def test_behind_a_proxy_carry_the_clients_address(self, operator: User, settings: Any) -> None:
        settings.TRUSTED_PROXIES = ["127.0.0.0/8"]

        form = {"login": operator.email, "password": PASSWORD}
        Client().post("/accounts/login/", form, HTTP_X_FORWARDED_FOR="203.0.113.9")

        assert AuditEntry.objects.get(action="sign_in").address == "203.0.113.9"

    def test_that_fail_by_the_code_are_recorded(self, operator: User) -> None:
        TOTP.activate(operator, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
        client = Client()
        client.post("/accounts/login/", {"login": operator.email, "password": PASSWORD})
        client.post("/accounts/2fa/authenticate/", {"code": "000"})

        assert entry("sign_in.failed")[3] == {"factor": "code"}
        assert not AuditEntry.objects.filter(action="sign_in").exists()

    def test_that_are_refused_for_their_number_leave_one_row(self, operator: User) -> None:
        """Refusals cost a stranger nothing: a row for each would fill the trail."""
        for _ in range(14):
            Client().post("/accounts/login/", {"login": operator.email, "password": "guess"})

        assert AuditEntry.objects.filter(action="sign_in.failed").count() == 10
        assert entry("sign_in.throttled")[1] == operator.email


class TestPasswords:
    def test_changes_are_recorded(self, client: Client, operator: User) -> None:
        client.post(
            "/accounts/password/change/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
        )

        assert entry("password.change")[0] == operator.email

    def test_requests_for_a_reset_are_recorded(self) -> None:
        Client().post("/accounts/password/reset/", {"email": "Nobody@bank.example"})

        assert entry("password.reset_requested")[:2] == ("somebody", "nobody@bank.example")

    def test_set_by_another_in_the_admin_are_recorded(self, client: Client, operator: User) -> None:
        ada = User.objects.create_user("ada@bank.example")

        client.post(
            f"/admin/accounts/user/{ada.pk}/password/",
            {"password1": NEW, "password2": NEW, "usable_password": "true", "set-password": "1"},
        )

        assert entry("password.set")[:2] == (operator.email, ada.email)

    def test_set_from_the_command_line_are_recorded(self, operator: User, monkeypatch: Any) -> None:
        monkeypatch.setattr("getpass.getpass", lambda prompt: NEW)  # as somebody who types

        call_command("changepassword", operator.email)

        operator.refresh_from_db()
        assert operator.check_password(NEW)
        assert entry("password.set")[:2] == ("command line", operator.email)


class TestSecondFactors:
    def test_removed_in_the_admin_are_recorded_and_secrets_are_not_shown(
        self, client: Client, operator: User
    ) -> None:
        ada = User.objects.create_user("ada@bank.example")
        factor = TOTP.activate(ada, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").instance

        shown = client.get(f"/admin/mfa/authenticator/{factor.pk}/change/")
        client.post(f"/admin/mfa/authenticator/{factor.pk}/delete/", {"post": "yes"})

        assert "gAAAAA" not in shown.content.decode()
        assert Authenticator.objects.count() == 0
        assert entry("mfa.delete")[2] == {"user": ada.email, "type": "totp"}

    def test_are_not_made_or_changed_in_the_admin(self, client: Client) -> None:
        assert client.get("/admin/mfa/authenticator/add/").status_code == 403


class TestPeople:
    def test_accounts_and_rights_are_recorded(self, client: Client, operator: User) -> None:
        form = {"email": "ada@bank.example", "password1": NEW, "password2": NEW, "usable_password": "true"}
        client.post("/admin/accounts/user/add/", form)
        ada = User.objects.get(email="ada@bank.example")
        client.post(
            f"/admin/accounts/user/{ada.pk}/change/",
            {"email": ada.email, "is_active": "on", "is_staff": "on"},
        )

        assert entry("user.create")[:2] == (operator.email, ada.email)
        _, _, before, after = entry("user.change")
        assert (before["is_staff"], after["is_staff"]) == ("False", "True")

    @pytest.mark.filterwarnings("ignore:Overriding get_action_choices")  # the admin's theme does
    def test_memberships_are_recorded_in_the_trail_of_their_project(
        self, client: Client, operator: User
    ) -> None:
        project = create_project(slug="bank", name="Bank", owner=operator)
        ada = User.objects.create_user("ada@bank.example")
        form = {"user": ada.pk, "project": project.pk, "role": Role.VIEWER}

        client.post("/admin/accounts/membership/add/", form)
        membership = Membership.objects.get(user=ada)
        client.post(f"/admin/accounts/membership/{membership.pk}/change/", form | {"role": Role.ADMIN})
        chosen = {"action": "remove_of_list", "_selected_action": membership.pk, "confirmed": "yes"}
        client.post("/admin/accounts/membership/", chosen)

        rows = AuditEntry.objects.filter(action__regex="^member", project=project).order_by("pk")
        assert [row.action for row in rows] == ["membership.create", "membership.change", "member.remove"]
        assert [(row.before or {}).get("role") for row in rows] == [None, "viewer", "admin"]
        assert {row.actor for row in rows} == {operator.email}
