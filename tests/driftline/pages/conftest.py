from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from driftline.accounts.models import Project, User
from driftline.accounts.services import create_project
from inference.registry.models import Model
from tests.flows.world import make_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return tmp_path


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner@bank.example")


@pytest.fixture
def project(owner: User) -> Project:
    return create_project(slug="bank", name="Bank", owner=owner)


@pytest.fixture
def model(project: Project) -> Model:
    return make_model(project)


@pytest.fixture
def client(owner: User) -> Client:
    client = Client()
    client.force_login(owner)
    return client
