"""A version's file that somebody downloads."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError

from driftline.base.accounts.models import Project
from inference.registry.files import downloads
from inference.registry.models import Model, Version


def test_a_file_whose_download_cannot_be_audited_is_closed_again(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_database(**_: object) -> None:
        raise InterfaceError("the connection is lost")

    settings.HOME = tmp_path
    (tmp_path / "a.onnx").write_bytes(b"a model")
    version = Version(model=Model(project=Project(slug="bank")), version=1, path="a.onnx", sha256="ab" * 32)
    monkeypatch.setattr(downloads, "record_audit", lose_the_database)

    with pytest.raises(InterfaceError):
        downloads.open_artifact(version=version, actor="test")

    assert not is_open((tmp_path / "a.onnx").resolve())


def is_open(path: Path) -> bool:
    """Whether this process has the file open. `realpath` does not mind what other threads close meanwhile."""
    return any(os.path.realpath(link) == str(path) for link in Path("/proc/self/fd").iterdir())
