"""People who look at pages."""

from django.test import Client

from driftline.base.accounts.models import Membership, Project, Role, User
from tests.pages_client import PagesClient


def viewer_of(project: Project, **options: bool) -> Client:
    """Sign in somebody who may look; `options` are of Django's client."""
    user = User.objects.create_user("viewer@bank.example")
    Membership.objects.create(project=project, user=user, role=Role.VIEWER)
    client = PagesClient(**options)
    client.force_login(user)
    return client
