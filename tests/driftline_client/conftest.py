"""Servers, one of the test's own and the real API, and a model that talks to the former."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import driftline_client
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from driftline_client import ModelHandle
from tests.driftline_client.platform import HASTY, Platform
from tests.driftline_client.server import Recorder, running_server


@pytest.fixture
def server() -> Iterator[Recorder]:
    with running_server() as recorder:
        yield recorder


@pytest.fixture
def flights(server: Recorder) -> Iterator[ModelHandle]:
    handle = driftline_client.model("flights", server.url, "dl_test", "7", delivery=HASTY)
    yield handle
    handle.close(0)


@pytest.fixture
def platform(live_server: Any, transactional_db: None, settings: Any, tmp_path: Path) -> Platform:
    """The real API with its database; needs no mark."""
    settings.HOME = tmp_path
    project = Project.objects.create(slug="airport", name="Airport")
    _, token = create_token(project=project, name="application", scopes=list(Scope), actor="test")
    return Platform(live_server.url, token)


@pytest.fixture(autouse=True)
def without_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep what a developer has stored or set out of the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    for name in ("DRIFTLINE_URL", "DRIFTLINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
