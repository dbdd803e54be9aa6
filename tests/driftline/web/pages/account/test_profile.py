"""A person's own account: its name, the state of what is theirs, and signing out elsewhere."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.core import mail
from django.core.cache import cache
from django.test import Client

from driftline.base.accounts.models import AuditEntry, Project, User
from monitors.digests.models import Digest
from tests.markup import markup
from tests.pages_client import PagesClient

PASSWORD = "correct horse battery"
PAGE, SESSIONS = "/accounts/profile/", "/accounts/sessions/"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any, db: None) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


def sign_in(owner: User, **headers: str) -> Client:
    """Sign in through the form, from a browser of its own."""
    owner.set_password(PASSWORD)
    owner.save()
    client = PagesClient(headers=headers)
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    return client


class TestProfile:
    def test_says_what_is_on(self, client: Client, owner: User) -> None:
        before = markup(client.get(PAGE))
        Digest.objects.create(user=owner, every="week")

        shown = markup(client.get(PAGE))

        assert ("Your password alone signs you in." in shown, "You get none." in before) == (True, True)
        assert ("Every week at 8:00 UTC" in shown, "Bank" in shown) == (True, True)

    def test_changes_the_name_with_an_audit_row(self, client: Client, owner: User, project: Project) -> None:
        client.post(PAGE, {"name": "Grace   Hopper"})

        entry = AuditEntry.objects.get(action="user.rename")
        assert (entry.before, entry.after) == ("", "Grace Hopper")
        assert "Grace Hopper" in markup(client.get("/settings/members"))

    def test_wants_a_sign_in(self, db: None) -> None:
        assert Client().get(PAGE).status_code == 302


class TestSessions:
    def test_are_listed_and_all_others_end(self, owner: User, project: Project, db: None) -> None:
        owner = User.objects.get(pk=owner.pk)
        elsewhere = sign_in(owner, user_agent="Old phone")
        owner = User.objects.get(pk=owner.pk)
        here = PagesClient(headers={"user-agent": "Desk"})
        here.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
        listed, counted = markup(here.get(SESSIONS)), markup(here.get(PAGE))

        here.post(SESSIONS)

        assert ("Old phone" in listed, "Desk" in listed) == (True, True)
        assert "This one, and 1 other." in counted
        assert (here.get(PAGE).status_code, elsewhere.get(PAGE).status_code) == (200, 302)
        assert AuditEntry.objects.get(action="sessions.end").after == {"count": 1}

    def test_that_no_list_has_end_too(self, owner: User, db: None) -> None:
        other = PagesClient()
        other.force_login(User.objects.create_user("eve@bank.example"))
        here = sign_in(User.objects.get(pk=owner.pk))
        unlisted = PagesClient()
        unlisted.force_login(User.objects.get(pk=owner.pk))

        offered = "Sign out everywhere else" in markup(here.get(SESSIONS))
        here.post(SESSIONS)

        assert offered
        assert (here.get(PAGE).status_code, unlisted.get(PAGE).status_code) == (200, 302)
        assert other.get(PAGE).status_code == 200
        assert AuditEntry.objects.get(action="sessions.end").after == {"count": 1}

    def test_of_a_peer_without_an_address_are_kept(self, owner: User, db: None) -> None:
        owner = User.objects.get(pk=owner.pk)
        owner.set_password(PASSWORD)
        owner.save()
        client = Client()

        answer = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD}, REMOTE_ADDR="")

        assert (answer.status_code, client.get(PAGE).status_code) == (302, 200)


class TestPagesOfAnAccount:
    def test_name_what_is_done_with_an_address(self, owner: User) -> None:
        client = sign_in(User.objects.get(pk=owner.pk))

        added = markup(
            client.post("/accounts/email/", {"email": "ada@home.example", "action_add": ""}, follow=True)
        )

        assert "A link to confirm the address was sent to ada@home.example." in added
        assert all(word in added for word in ("Make it the main one", "Send the link again", "not confirmed"))
        (letter,) = mail.outbox
        assert letter.subject == "[Driftline] Confirm your e-mail address"
        assert f"The account {owner.email} on Driftline" in letter.body
        assert "has added this address" in letter.body
        link = re.search(r"http\S+", letter.body.split("yours:")[1])
        assert link is not None
        asked = markup(client.get(urlsplit(link[0]).path))
        assert f"Is ada@home.example an address of the account {owner.email}?" in " ".join(asked.split())

    def test_ask_who_it_is_before_a_factor_changes(self, owner: User) -> None:
        client = sign_in(User.objects.get(pk=owner.pk))
        session = client.session
        session["account_authentication_methods"] = []
        session.save()

        assert "Confirm that it is you" in markup(client.get("/accounts/reauthenticate/"))

    def test_show_recovery_codes_and_ask_before_new_ones(self, owner: User) -> None:
        client = sign_in(User.objects.get(pk=owner.pk))
        TOTP.activate(User.objects.get(pk=owner.pk), "JBSWY3DPEHPK3PXP")
        RecoveryCodes.activate(User.objects.get(pk=owner.pk))
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})

        shown = markup(client.get("/accounts/2fa/recovery-codes/"))
        asked = markup(client.get("/accounts/2fa/recovery-codes/generate/"))

        assert "10 of 10 codes are unused." in shown
        assert 'id="recovery_codes"' in shown
        assert "The codes that you have now stop working." in asked
        assert "Make new codes" in asked

    @pytest.mark.parametrize(
        ("path", "says"),
        [("/accounts/inactive/", "ask one of them"), ("/accounts/signup/", "You need an invitation")],
    )
    def test_without_a_way_in_say_what_to_do(self, db: None, path: str, says: str) -> None:
        shown = markup(Client().get(path))

        assert says in shown
        assert 'href="/accounts/login/' in shown
