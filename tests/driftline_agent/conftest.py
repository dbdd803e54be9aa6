"""A device of its own for each test, and a group of devices with a real server."""

from pathlib import Path
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.edge.models import DeviceGroup
from tests.driftline_agent.device import PlayedDevice
from tests.inference.edge.fleet import make_group


@pytest.fixture
def device(tmp_path: Path) -> PlayedDevice:
    return PlayedDevice(tmp_path)


@pytest.fixture
def group(live_server: Any, transactional_db: None, settings: Any, tmp_path: Path) -> DeviceGroup:
    settings.HOME = tmp_path / "server"
    return make_group(Project.objects.create(slug="ours", name="Ours"))
