"""Roles on the way back to a release that knows three of them."""

import pytest
from django.db import connection

from driftline.accounts.models import CustomRole, Invitation, Membership, Project, User
from driftline.common.clock import now
from tests.worlds.migrating import leaves, migrate

BEFORE = [("accounts", "0017_allowed_networks_and_rotation")]


@pytest.mark.e2e  # it applies migrations back and again
@pytest.mark.django_db(transaction=True)
def test_members_in_a_role_of_the_project_become_viewers_and_the_others_keep_theirs() -> None:
    project = Project.objects.create(slug="bank", name="Bank")
    CustomRole.objects.create(project=project, name="release-managers", scopes=["read", "deploy"])
    for role, by_hand in [("admin", ""), ("release-managers", "release-managers"), ("editor", "viewer")]:
        user = User.objects.create_user(f"{role}@bank.example")
        Membership.objects.create(project=project, user=user, role=role, role_by_hand=by_hand)
    Invitation.objects.create(project=project, email="a@b.example", role="release-managers", expires_at=now())

    migrate(BEFORE)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT role, role_by_hand FROM accounts_membership ORDER BY id")
            members = cursor.fetchall()
            cursor.execute("SELECT role FROM accounts_invitation")
            invited = cursor.fetchall()
    finally:
        migrate(leaves())

    assert members == [("admin", ""), ("viewer", "viewer"), ("editor", "viewer")]
    assert invited == [("viewer",)]
