from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(slug="bank", name="Bank")
