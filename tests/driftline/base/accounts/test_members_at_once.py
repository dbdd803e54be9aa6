"""Members when two requests come at once: an admin remains, an invitation is used once, and a given role exists."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest
from django.db import connection

from driftline.base.accounts.access.roles import create_role, delete_role
from driftline.base.accounts.access.scopes import Role, Scope
from driftline.base.accounts.members import change_role, remove_member
from driftline.base.accounts.models import CustomRole, Membership, Project, User
from driftline.base.accounts.services import create_project
from driftline.base.errors import Problem
from driftline.sign_in import invitations

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    project = create_project(slug="bank", name="Bank", owner=User.objects.create_user("ada@bank.example"))
    Membership.objects.create(
        project=project, user=User.objects.create_user("eve@bank.example"), role=Role.ADMIN
    )
    return project


def at_once(*acts: Callable[[], object]) -> list[str]:
    """Do things in a thread each, begun together, and return the codes of the refusals."""
    ready = Barrier(len(acts))

    def run(act: Callable[[], object]) -> str:
        ready.wait()
        try:
            act()
        except Problem as problem:
            return problem.code
        finally:
            connection.close()
        return ""

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(run, acts))


def test_of_two_admins_who_remove_each_other_one_stays(project: Project) -> None:
    ada, eve = Membership.objects.order_by("pk")

    refused = at_once(
        lambda: remove_member(member=ada, actor="eve@bank.example"),
        lambda: change_role(member=eve, role="viewer", scopes=set(Scope), actor="ada@bank.example"),
    )

    assert refused == ["", "last_admin"]
    assert Membership.objects.filter(project=project, role=Role.ADMIN).count() == 1


def test_a_role_is_not_given_while_it_is_deleted(project: Project) -> None:
    role = create_role(project=project, name="labeller", scopes=["read"], held=set(Scope), actor="ada")
    eve = Membership.objects.get(user__email="eve@bank.example")

    [refused] = filter(None, at_once(
        lambda: delete_role(role=role, actor="ada@bank.example"),
        lambda: change_role(member=eve, role="labeller", scopes=set(Scope), actor="ada@bank.example"),
    ))  # fmt: skip

    eve.refresh_from_db()
    is_there = CustomRole.objects.filter(pk=role.pk).exists()
    assert (refused, eve.role, is_there) in [
        ("role_in_use", "labeller", True),
        ("invalid_parameter", "admin", False),
    ]


def test_of_two_who_open_a_link_at_once_one_makes_the_account(project: Project) -> None:
    now = datetime.now(UTC)
    invitation = invitations.invite(
        project=project, email="guest@shop.example", role="viewer", scopes=set(Scope), actor="test", now=now
    )
    token = invitations.link_of(invitation).rstrip("/").rsplit("/", 1)[1]

    def join(password: str) -> Callable[[], object]:
        return lambda: invitations.accept_with_new_account(token, name="", password=password, now=now)

    refused = at_once(join("correct horse battery"), join("another long password"))

    assert refused == ["", "invitation_used"]
    assert Membership.objects.filter(user__email="guest@shop.example").count() == 1
