from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from tests.worlds.approvals import make_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path / "home"
    settings.HOME.mkdir()
    return Path(settings.HOME)


@pytest.fixture
def model(db: None) -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"))
