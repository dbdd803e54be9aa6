"""An operator, who is signed in and may do everything in the admin."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import User


@pytest.fixture
def person(settings: Any, tmp_path: Path) -> User:
    settings.HOME = tmp_path
    return User.objects.create_superuser("operator@bank.example")


@pytest.fixture
def operator(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client
