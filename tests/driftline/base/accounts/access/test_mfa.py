"""Second factors: who must have one, how their secrets are kept, who removes them."""

from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from driftline.base.accounts.access.mfa import lacks_mfa, needs_mfa
from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import AuditEntry, Membership, Project, User
from driftline.base.accounts.services import create_project, create_token
from tests.pages_client import PagesClient

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def staff() -> User:
    return User.objects.create_superuser("staff@bank.example")


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner@bank.example")


@pytest.fixture
def viewer() -> User:
    return User.objects.create_user("viewer@bank.example")


@pytest.fixture
def project(owner: User, viewer: User) -> Project:
    project = create_project(slug="bank", name="Bank", owner=owner)
    Membership.objects.create(project=project, user=viewer, role=Role.VIEWER)
    return project


def signed_in(user: User) -> Client:
    client = PagesClient()
    client.force_login(user)
    return client


class TestWhoNeedsOne:
    @pytest.mark.parametrize(
        ("group", "people"),
        [("none", ""), ("staff", "staff"), ("admins", "staff owner"), ("all", "staff owner viewer")],
    )
    def test_goes_by_the_setting(
        self, group: str, people: str, staff: User, owner: User, viewer: User, project: Project, settings: Any
    ) -> None:
        settings.REQUIRE_MFA = group

        need = {user.email.split("@")[0] for user in (staff, owner, viewer) if needs_mfa(user)}

        assert need == set(people.split())

    def test_recovery_codes_alone_are_no_second_factor(self, staff: User, settings: Any) -> None:
        settings.REQUIRE_MFA = "staff"
        RecoveryCodes.activate(staff)

        assert lacks_mfa(staff)

        TOTP.activate(staff, SECRET)

        assert not lacks_mfa(staff)


class TestRequirement:
    @pytest.fixture(autouse=True)
    def required(self, settings: Any) -> None:
        settings.REQUIRE_MFA = "staff"

    @pytest.mark.parametrize(
        "path", ["/", "/models/", "/admin/", "/settings/tokens", "/accounts/password/change/"]
    )
    def test_leads_to_the_set_up_before_anything_else(self, path: str, staff: User) -> None:
        answer = signed_in(staff).get(path)

        assert answer.headers["Location"] == "/accounts/2fa/totp/activate/"

    def test_leaves_the_set_up_and_the_way_out_open(self, staff: User) -> None:
        client = signed_in(staff)

        assert client.get("/accounts/2fa/").status_code == 200
        assert client.post("/accounts/logout/").headers["Location"] == "/"

    def test_moves_the_whole_page_where_a_part_was_asked_for(self, staff: User) -> None:
        answer = signed_in(staff).get("/demo/progress", headers={"HX-Request": "true"})

        assert answer.headers["HX-Redirect"] == "/accounts/2fa/totp/activate/"

    def test_lets_in_who_has_one(self, staff: User) -> None:
        TOTP.activate(staff, SECRET)

        assert signed_in(staff).get("/admin/").status_code == 200

    def test_is_not_turned_off_by_who_needs_it(self, staff: User) -> None:
        TOTP.activate(staff, SECRET)
        staff.set_password(PASSWORD)
        staff.save()
        client = signed_in(staff)
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})

        client.post("/accounts/2fa/totp/deactivate/")

        assert Authenticator.objects.filter(user=staff, type="totp").exists()

    def test_holds_for_a_session_at_the_api_and_not_for_tokens(self, staff: User) -> None:
        project = create_project(slug="own", name="Own", owner=staff)
        _, token = create_token(project=project, name="t", scopes=["read"], actor="test")

        refused = signed_in(staff).get("/api/v1/models")
        allowed = signed_in(staff).get("/api/v1/models", headers={"Authorization": f"Bearer {token}"})

        assert (refused.status_code, refused.json()["code"]) == (403, "mfa_required")
        assert allowed.status_code == 200


class TestSealing:
    def test_keeps_no_secret_in_the_clear(self, staff: User) -> None:
        totp = TOTP.activate(staff, SECRET)
        codes = RecoveryCodes.activate(staff)

        with connection.cursor() as cursor:
            cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
            (stored,) = cursor.fetchone()

        assert SECRET not in stored
        assert stored.count("gAAAAA") == 2
        assert totp.instance.wrap().instance.data["secret"] != SECRET
        assert len(codes.get_unused_codes()) == 10

    def test_says_so_when_the_key_has_changed(self, staff: User, settings: Any) -> None:
        TOTP.activate(staff, SECRET)
        RecoveryCodes.activate(staff)
        staff.set_password(PASSWORD)
        staff.save()
        settings.SECRET_KEY = "another key, under which nothing here was sealed"
        stranger = Client()
        stranger.post("/accounts/login/", {"login": staff.email, "password": PASSWORD})

        refused = stranger.post("/accounts/2fa/authenticate/", {"code": "123456"})
        page = signed_in(staff).get("/accounts/2fa/")

        assert "DRIFTLINE_SECRET_KEY changed" in refused.content.decode()
        assert (refused.status_code, page.status_code) == (200, 200)


class TestRemovingOne:
    def test_is_done_from_the_command_line_and_audited(self, staff: User) -> None:
        TOTP.activate(staff, SECRET)
        RecoveryCodes.activate(staff)
        said = StringIO()

        call_command("remove_mfa", staff.email, "--dry-run", stdout=said)
        assert Authenticator.objects.count() == 2
        call_command("remove_mfa", staff.email, stdout=said)

        assert Authenticator.objects.count() == 0
        assert f"Removed 2 second factors of {staff.email}: recovery_codes, totp." in said.getvalue()
        entry = AuditEntry.objects.get(action="mfa.remove")
        assert (entry.actor, entry.subject) == ("command line", staff.email)

    def test_needs_an_account(self) -> None:
        with pytest.raises(CommandError, match=r"no account 'nobody@bank\.example'"):
            call_command("remove_mfa", "nobody@bank.example")
