"""Accounts that a provider keeps by SCIM: made, changed, switched off, on, and removed."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from driftline.base.accounts.access.scopes import Role, Scope
from driftline.base.accounts.models import ApiToken, AuditEntry, DirectoryToken, Membership, Project, User
from driftline.base.accounts.services import create_token
from driftline.base.clock import now
from driftline.sign_in.password_reset import send_reset_mails
from inference.registry.plan.publishing import _tokens as tokens_of_the_plan
from tests.driftline.sign_in.directory.conftest import Directory

pytestmark = pytest.mark.django_db

ADA = "ada@bank.example"


class TestUsers:
    def test_are_made_and_read_back(self, directory: Directory) -> None:
        sent = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "userName": "abyron",
            "externalId": "00u1",
            "name": {"givenName": "Ada", "familyName": "Byron"},
            "emails": [{"value": "private@bank.example"}, {"value": "Ada@bank.example", "primary": True}],
            "active": True,
            "title": "Countess",
        }

        made = directory.send("POST", "Users", sent)

        user = User.objects.get(email=ADA)
        assert (user.get_full_name(), user.has_usable_password(), user.is_active) == (
            "Ada Byron",
            False,
            True,
        )
        assert made["Location"] == made.document["meta"]["location"]
        read = directory.send("GET", f"Users/{user.pk}").document
        assert read == made.document
        assert (read["userName"], read["externalId"]) == ("abyron", "00u1")
        assert AuditEntry.objects.get(action="user.create", subject=ADA).actor == "single sign-on company"

    def test_are_looked_for_by_name_and_id(self, directory: Directory) -> None:
        ada = directory.make_user(ADA, externalId="00u1")
        directory.make_user("grace@bank.example", externalId="00u2")

        for condition in ('userName eq "ADA@bank.example"', 'externalId eq "00u1"', f'id eq "{ada}"'):
            listed = directory.send("GET", f"Users?filter={condition}").document
            assert [one["id"] for one in listed["Resources"]] == [ada]

    @pytest.mark.parametrize(
        "condition", ['userName co "a"', 'title eq "a"', "userName eq a", "((", "active pr"]
    )
    def test_are_not_looked_for_otherwise(self, directory: Directory, condition: str) -> None:
        answer = directory.send("GET", f"Users?filter={condition}")

        assert (answer.status_code, answer.document["scimType"]) == (400, "invalidFilter")

    def test_are_listed_in_pages(self, directory: Directory) -> None:
        made = [directory.make_user(f"person{number}@bank.example") for number in range(3)]

        page = directory.send("GET", "Users?startIndex=2&count=1").document
        none = directory.send("GET", "Users?count=0").document

        assert [one["id"] for one in page["Resources"]] == [made[1]]
        assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (3, 2, 1)
        assert (none["totalResults"], none["Resources"]) == (3, [])

    def test_of_others_are_out_of_reach(self, directory: Directory, owner: User) -> None:
        assert directory.send("GET", "Users").document["totalResults"] == 0
        for method, body in (("GET", None), ("DELETE", None), ("PUT", {"userName": "eve@bank.example"})):
            assert directory.send(method, f"Users/{owner.pk}", body).status_code == 404
        taken = directory.send("POST", "Users", {"userName": owner.email})
        assert (taken.status_code, taken.document["scimType"]) == (409, "uniqueness")

    def test_of_others_are_taken_over_where_the_operator_trusts_the_provider(
        self, directory: Directory, owner: User
    ) -> None:
        directory.configure(link_verified_emails=True)

        assert directory.make_user("Owner@bank.example") == str(owner.pk)

    def test_are_changed_whole_and_in_parts(self, directory: Directory) -> None:
        ada = directory.make_user(ADA, displayName="Ada")

        directory.send("PUT", f"Users/{ada}", {"userName": ADA, "displayName": "Ada B", "active": True})
        whole = User.objects.get(pk=ada).get_full_name()
        answer = directory.patch(
            f"Users/{ada}",
            {"op": "Replace", "path": "displayName", "value": "Ada Lovelace"},
            {"op": "add", "path": 'emails[type eq "work"].value', "value": "lovelace@bank.example"},
            {"op": "replace", "value": {"externalId": "00u9", "nickName": "ada"}},
        )

        user = User.objects.get(pk=ada)
        assert answer.status_code == 200
        assert whole == "Ada B"
        assert (user.get_full_name(), user.email, user.external_id) == (
            "Ada Lovelace", "lovelace@bank.example", "00u9",
        )  # fmt: skip

    def test_stay_on_or_off_where_nothing_is_sent_of_it(self, directory: Directory) -> None:
        ada = directory.make_user(ADA)
        directory.patch(f"Users/{ada}", {"op": "replace", "path": "active", "value": False})

        directory.send("PUT", f"Users/{ada}", {"userName": ADA, "displayName": "Ada B"})

        assert not User.objects.get(pk=ada).is_active

    def test_with_another_address_are_reached_by_the_old_one_no_more(self, directory: Directory) -> None:
        ada = directory.make_user(ADA)
        user = User.objects.get(pk=ada)
        EmailAddress.objects.create(user=user, email=ADA, verified=True, primary=True)
        browser = Client()
        browser.force_login(user)
        UserSession.objects.create(user=user, session_key=browser.session.session_key, ip="127.0.0.1")

        directory.patch(
            f"Users/{ada}",
            {"op": "replace", "path": 'emails[type eq "work"].value', "value": "lovelace@bank.example"},
        )

        assert not EmailAddress.objects.exists()
        assert browser.get("/accounts/profile/").status_code == 302

    def test_of_operators_keep_their_address(self, directory: Directory) -> None:
        ada = directory.make_user(ADA)
        User.objects.filter(pk=ada).update(is_superuser=True)

        answer = directory.send("PUT", f"Users/{ada}", {"userName": "eve@bank.example"})

        assert (answer.status_code, User.objects.get(pk=ada).email) == (409, ADA)

    def test_of_domains_that_do_not_sign_in_by_the_provider_are_refused(self, directory: Directory) -> None:
        directory.configure(email_domains=("Bank.example",))
        directory.make_user(ADA)

        answer = directory.send("POST", "Users", {"userName": "eve@elsewhere.example"})

        assert answer.status_code == 400
        assert "none of the domains that sign in by Example Ltd" in answer.document["detail"]

    def test_choose_no_password_that_would_outlive_their_account_at_the_provider(
        self, directory: Directory, owner: User, mailoutbox: list[Any]
    ) -> None:
        directory.make_user(ADA)

        send_reset_mails(ADA)
        send_reset_mails(owner.email)

        assert [mail.to for mail in mailoutbox] == [[owner.email]]

    def test_are_removed_and_may_come_back(self, directory: Directory) -> None:
        ada = directory.make_user(ADA)

        removed = directory.send("DELETE", f"Users/{ada}")

        assert removed.status_code == 204
        assert directory.send("GET", f"Users/{ada}").status_code == 404
        assert not User.objects.get(email=ADA).is_active
        assert directory.make_user(ADA) == ada
        assert User.objects.get(email=ADA).is_active

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 400),
            ({"userName": ""}, 400),
            ({"userName": "no address"}, 400),
            ({"userName": "a" * 300 + "@bank.example"}, 400),
            ({"userName": "a" * 60 + "@" + ".".join(["b" * 60] * 4)}, 400),
            ({"userName": "ada\n@bank.example"}, 400),
            ({"userName": ADA, "emails": "ada"}, 400),
            ({"userName": ADA, "active": "perhaps"}, 400),
            ({"userName": ["ada"]}, 400),
            ([], 400),
            (b"{", 400),
            (b'{"userName": "a\\u0000@bank.example"}', 422),
        ],
    )
    def test_that_cannot_be_are_refused(self, directory: Directory, body: Any, status: int) -> None:
        answer = directory.send("POST", "Users", body)

        assert answer.status_code == status
        assert answer.document["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert answer.document["detail"].endswith(".")
        assert User.objects.count() == 1

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "move", "path": "active", "value": False},
            {"op": "remove"},
            {"op": "replace", "path": "emails[", "value": False},
            {"op": "replace", "path": "active", "value": None},
            {"op": "replace", "path": "userName", "value": {"a": 1}},
            {"op": "replace", "path": "active.x", "value": 1},
            {"op": "replace", "value": "active"},
            {"op": "replace", "path": 'userName[type eq "work"].value', "value": "eve@bank.example"},
            {"op": "add", "path": "emails", "value": ["eve@bank.example"]},
            "replace",
        ],
    )
    def test_are_not_changed_by_a_patch_that_cannot_be(self, directory: Directory, operation: Any) -> None:
        ada = directory.make_user(ADA)

        assert directory.patch(f"Users/{ada}", operation).status_code == 400
        assert User.objects.get(pk=ada).is_active


class TestSwitchingOff:
    @pytest.mark.slow
    @pytest.mark.parametrize("value", [False, "False"])
    def test_signs_out_everywhere_and_refuses_the_persons_tokens(
        self, directory: Directory, fraud: Project, value: Any
    ) -> None:
        ada = directory.make_user(ADA)
        user = User.objects.get(pk=ada)
        Membership.objects.create(project=fraud, user=user, role=Role.EDITOR)
        _, token = create_token(project=fraud, name="t", scopes=[Scope.READ], actor=ADA, created_by=user)
        browser = Client()
        browser.force_login(user)
        browser.get("/accounts/profile/")
        UserSession.objects.create(user=user, session_key=browser.session.session_key, ip="127.0.0.1")

        def reach() -> tuple[int, int]:
            called = Client().get("/api/v1/models", headers={"Authorization": f"Bearer {token}"})
            return called.status_code, browser.get("/accounts/profile/").status_code

        before = reach()
        directory.patch(f"Users/{ada}", {"op": "replace", "path": "active", "value": value})
        off, in_plan = reach(), len(tokens_of_the_plan())
        directory.patch(f"Users/{ada}", {"op": "replace", "value": {"active": True}})

        assert (before, off, in_plan) == ((200, 200), (401, 302), 0)
        assert reach() == (200, 302)
        assert ApiToken.objects.get().revoked_at is None
        entry = AuditEntry.objects.get(action="user.deactivate")
        assert (entry.subject, entry.after) == (ADA, {"tokens": 1})

    @pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
    def test_the_last_admin_is_refused(self, directory: Directory, fraud: Project, method: str) -> None:
        ada = directory.make_user(ADA)
        Membership.objects.all().delete()
        Membership.objects.create(project=fraud, user_id=int(ada), role=Role.ADMIN)
        bodies = {
            "PATCH": {"Operations": [{"op": "replace", "path": "active", "value": False}]},
            "PUT": {"userName": ADA, "active": False},
            "DELETE": None,
        }

        answer = directory.send(method, f"Users/{ada}", bodies[method])

        assert answer.status_code == 409
        assert answer.document["detail"] == (
            f"{ADA} is the only admin of fraud; make somebody else an admin there first."
        )
        assert User.objects.get(pk=ada).is_active

    def test_the_last_operator_is_refused(self, directory: Directory) -> None:
        ada = directory.make_user(ADA)
        User.objects.filter(pk=ada).update(is_superuser=True, is_staff=True)

        assert "only operator" in directory.send("DELETE", f"Users/{ada}").document["detail"]


class TestTokens:
    def test_of_nobody_open_nothing(self, directory: Directory, fraud: Project) -> None:
        _, of_a_project = create_token(project=fraud, name="t", scopes=Scope, actor="owner")

        for token in ("", "dl_guess", of_a_project):
            answer = directory.send("GET", "Users", token=token)
            assert answer.status_code == 401
            assert answer["WWW-Authenticate"].startswith("Bearer")

    def test_for_scim_open_nothing_else(self, directory: Directory) -> None:
        answer = Client().get("/api/v1/models", headers={"Authorization": f"Bearer {directory.token}"})

        assert answer.status_code == 401

    def test_end_when_they_are_revoked(self, directory: Directory, capsys: Any) -> None:
        call_command("scim_token", "revoke", DirectoryToken.objects.get().prefix)

        assert directory.send("GET", "Users").status_code == 401

    def test_are_made_by_a_command_for_a_provider_of_the_file(
        self, directory: Directory, capsys: Any
    ) -> None:
        call_command("scim_token", "create", "--provider", "company")
        token = capsys.readouterr().out.splitlines()[-1]
        call_command("scim_token", "list")

        assert directory.send("GET", "Users", token=token).status_code == 200
        assert token[:11] in capsys.readouterr().out
        with pytest.raises(CommandError, match="it has: company"):
            call_command("scim_token", "create", "--provider", "another")

    def test_in_an_address_are_refused(self, directory: Directory) -> None:
        assert directory.send("GET", f"Users?token={directory.token}").status_code == 400

    def test_of_a_provider_that_left_the_file_end(self, directory: Directory) -> None:
        directory.configure(id="another")

        assert directory.send("GET", "Users").status_code == 401


def test_a_session_of_a_person_opens_nothing_here(directory: Directory, owner: User) -> None:
    browser = Client()
    browser.force_login(owner)

    assert browser.get("/scim/v2/Users").status_code == 401


def test_a_method_that_there_is_not_names_those_that_there_are(directory: Directory) -> None:
    answer = directory.send("PATCH", "Users", {})

    assert (answer.status_code, answer["Allow"]) == (405, "GET, POST")

    def test_may_be_used_from_their_networks_alone(self, directory: Directory, capsys: Any) -> None:
        prefix = directory.token[:11]

        call_command("scim_token", "allow", prefix, "203.0.113.0/24")
        refused = [directory.send("GET", "Users") for _ in range(2)]
        call_command("scim_token", "allow", prefix, "203.0.113.0/24,127.0.0.0/8")

        assert {answer.status_code for answer in refused} == {403}
        assert "may not be used from 127.0.0.1" in refused[0].document["detail"]
        assert directory.send("GET", "Users").status_code == 200
        call_command("scim_token", "list")
        assert "from 203.0.113.0/24, 127.0.0.0/8 alone" in capsys.readouterr().out
        entries = AuditEntry.objects.filter(action__startswith="scim_token").order_by("pk")
        assert list(entries.values_list("action", flat=True)) == [
            "scim_token.create", "scim_token.allow", "scim_token.refused", "scim_token.allow",
        ]  # fmt: skip

    def test_are_made_with_their_networks(self, directory: Directory, capsys: Any) -> None:
        call_command("scim_token", "create", "--provider", "company", "--allow", "2001:db8::/32")
        token = capsys.readouterr().out.splitlines()[-1]

        assert directory.send("GET", "Users", token=token).status_code == 403

    def test_refuse_what_is_no_network(self, directory: Directory) -> None:
        with pytest.raises(CommandError, match="is not a network"):
            call_command("scim_token", "allow", directory.token[:11], "the office")

    def test_get_a_new_secret_beside_which_the_old_one_is_valid_for_a_while(
        self, directory: Directory, capsys: Any
    ) -> None:
        call_command("scim_token", "rotate", directory.token[:11])
        new = capsys.readouterr().out.splitlines()[-1]

        assert new[:11] == directory.token[:11]
        both = [directory.send("GET", "Users", token=token).status_code for token in (new, directory.token)]
        DirectoryToken.objects.update(previous_until=now())
        later = [directory.send("GET", "Users", token=token).status_code for token in (new, directory.token)]
        assert (both, later) == ([200, 200], [200, 401])

    def test_end_at_once_where_a_rotation_has_no_overlap(self, directory: Directory, capsys: Any) -> None:
        call_command("scim_token", "rotate", directory.token[:11], "--overlap-hours", "0")
        new = capsys.readouterr().out.splitlines()[-1]

        assert directory.send("GET", "Users").status_code == 401
        assert directory.send("GET", "Users", token=new).status_code == 200
        entry = AuditEntry.objects.get(action="scim_token.rotate")
        assert (entry.subject, entry.after) == (new[:11], {"previous_valid_until": None})

    @pytest.mark.parametrize("hours", ["-1", "721"])
    def test_refuse_an_overlap_out_of_bounds(self, directory: Directory, hours: str) -> None:
        with pytest.raises(CommandError, match="use a number from 1 to 720"):
            call_command("scim_token", "rotate", directory.token[:11], f"--overlap-hours={hours}")

    def test_that_were_revoked_are_not_rotated(self, directory: Directory) -> None:
        call_command("scim_token", "rotate", directory.token[:11])
        call_command("scim_token", "revoke", directory.token[:11])

        with pytest.raises(CommandError, match="No valid token begins with"):
            call_command("scim_token", "rotate", directory.token[:11])
        assert directory.send("GET", "Users").status_code == 401
