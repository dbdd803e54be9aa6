from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from inference.registry.models import Model
from tests.pages_client import PagesClient
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import make_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[User]:
    """The owner of the project, both stored once for a module."""
    with rows_of_many_tests(django_db_blocker):
        yield User.objects.create_user("owner@bank.example")


@pytest.fixture(scope="module")
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture
def model(project: Project, db: None) -> Model:
    return make_model(project)


@pytest.fixture
def client(owner: User, project: Project, db: None) -> Client:
    client = PagesClient()
    client.force_login(owner)
    return client
