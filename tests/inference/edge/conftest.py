"""Groups of devices of two projects."""

from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.edge.models import DeviceGroup
from tests.inference.edge.fleet import make_group


@pytest.fixture
def group(db: None, settings: Any, tmp_path: Path) -> DeviceGroup:
    settings.HOME = tmp_path
    return make_group(Project.objects.create(slug="ours", name="Ours"))


@pytest.fixture
def their_group(db: None, settings: Any, tmp_path: Path) -> DeviceGroup:
    settings.HOME = tmp_path
    return make_group(Project.objects.create(slug="theirs", name="Theirs"), "vans")
