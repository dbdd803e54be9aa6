from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import driftline.celery  # noqa: F401  tasks go to the session's broker
from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import create_project
from inference.runtime.variants.kinds import KINDS
from monitors.optimiser import work


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def project(transactional_db: None) -> Project:
    return create_project(slug="bank", name="Bank", owner=User.objects.create_user("owner@bank.example"))


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have but a few kinds tried: each takes a process and a second."""

    def keep(*kinds: str) -> None:
        monkeypatch.setattr(work, "KINDS", {kind: KINDS[kind] for kind in kinds})

    return keep
