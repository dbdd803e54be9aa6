"""A person's own account: its name, the state of what is theirs, and signing out elsewhere."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from driftline.accounts.models import AuditEntry, Project, User
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
