"""Accounts in the admin: one operator always remains, and one that is switched off has no way in."""

from io import StringIO
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import AuditEntry, Project, User
from driftline.base.accounts.services import create_token

pytestmark = pytest.mark.django_db

RIGHTS = {"is_active": "on", "is_staff": "on", "is_superuser": "on"}


def save(client: Client, person: User, **rights: str) -> Any:
    """Save an account with these rights ticked and no others."""
    url = reverse("admin:accounts_user_change", args=[person.pk])
    return client.post(url, {"email": person.email, **rights})


@pytest.mark.parametrize("right", RIGHTS)
def test_the_only_operator_keeps_every_right(operator: Client, person: User, right: str) -> None:
    User.objects.create_superuser("away@bank.example", is_active=False)

    page = save(operator, person, **{name: on for name, on in RIGHTS.items() if name != right})

    assert page.context["adminform"].form.errors[right] == [
        "operator@bank.example is the only operator; make another one first."
    ]
    person.refresh_from_db()
    assert (person.is_active, person.is_staff, person.is_superuser) == (True, True, True)


def test_one_of_two_operators_may_go(operator: Client, person: User) -> None:
    User.objects.create_superuser("grace@bank.example")

    save(operator, person, is_active="on", is_staff="on")

    person.refresh_from_db()
    assert not person.is_superuser


def test_an_account_that_is_switched_off_has_no_way_in_at_once(operator: Client) -> None:
    ada = User.objects.create_user("ada@bank.example")
    project = Project.objects.create(slug="bank", name="Bank")
    _, token = create_token(project=project, name="t", scopes=["read"], actor="ada", created_by=ada)
    browser = Client()
    browser.force_login(ada)
    UserSession.objects.create(user=ada, session_key=browser.session.session_key, ip="127.0.0.1")

    def reach() -> tuple[int, int]:
        called = Client().get("/api/v1/models", headers={"Authorization": f"Bearer {token}"})
        return called.status_code, browser.get("/accounts/profile/").status_code

    before = reach()
    save(operator, ada)

    assert (before, reach()) == ((200, 200), (401, 302))
    assert not UserSession.objects.exists()


@pytest.mark.slow
def test_who_is_made_an_operator_on_the_command_line_signs_in_and_opens_the_admin(
    person: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse battery")
    call_command("createsuperuser", "--noinput", "--email", "grace@bank.example", stdout=StringIO())
    browser = Client()

    browser.post("/accounts/login/", {"login": "grace@bank.example", "password": "correct horse battery"})

    assert browser.get(reverse("admin:index")).status_code == 200


def test_who_is_made_an_operator_on_the_command_line_is_in_the_audit_trail(person: User) -> None:
    call_command("createsuperuser", "--noinput", "--email", "grace@bank.example", stdout=StringIO())

    made = AuditEntry.objects.get(action="user.create", subject="grace@bank.example")
    assert (made.actor, made.after) == ("command line", {"is_staff": True, "is_superuser": True})


def test_nobody_is_recorded_where_no_operator_was_made(person: User) -> None:
    with pytest.raises(CommandError, match="already taken"):
        call_command("createsuperuser", "--noinput", "--email", person.email, stdout=StringIO())

    assert not AuditEntry.objects.filter(action="user.create").exists()
