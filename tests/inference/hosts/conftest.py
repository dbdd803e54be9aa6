from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline.base.accounts.models import Project
from inference.hosts.services import add_host
from inference.registry.files.artifacts import receive
from inference.registry.lineage import Lineage
from inference.registry.models import Model, Version
from inference.registry.plan.publishing import publish
from inference.registry.services import create_model
from inference.registry.versions import Contents, register
from tests.driftline.api.uploads import onnx_file
from tests.inference.hosts.joined import JoinedHost
from tests.inference.onnx_models import summing_signature

type AddVersion = Callable[[], Version]
type Join = Callable[..., JoinedHost]


@pytest.fixture
def main_home(live_server: Any, transactional_db: None, settings: Any, tmp_path: Path) -> Path:
    """The main server's home, with its keys and an empty plan."""
    settings.HOME = tmp_path / "main"
    for name in ("hash_key", "log_key", "endpoint_key"):
        path: Path = settings.HOME / "keys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}-of-the-main-server")
    publish()
    return tmp_path / "main"


@pytest.fixture
def model(main_home: Path) -> Model:
    project = Project.objects.create(slug="bank", name="Bank")
    return create_model(project=project, name="delay", task="regression", actor="test")


@pytest.fixture
def add_version(model: Model, main_home: Path) -> AddVersion:
    """Add a version that sums two features; the first becomes champion."""
    remarks = count()

    def add() -> Version:
        with receive(main_home, BytesIO(onnx_file(remark=str(next(remarks))))) as arrived:
            stored = arrived.keep()
        details = {
            "size": stored.size,
            "path": stored.path,
            "signature": msgspec.to_builtins(summing_signature(2)),
        }
        contents = Contents({"sha256": stored.sha256}, details, {})
        return register(model=model, name=None, contents=contents, lineage=Lineage(), actor="test")[0]

    return add


@pytest.fixture
def join(main_home: Path, live_server: Any, tmp_path: Path) -> Iterator[Join]:
    """Join with a token from a folder of that name; connections end with the test."""
    joined: list[JoinedHost] = []

    def begin(token: str, folder: str = "host") -> JoinedHost:
        joined.append(JoinedHost(tmp_path / folder, live_server.url, token))
        return joined[-1]

    yield begin
    for host in joined:
        host.close()


@pytest.fixture
def host(join: Join) -> JoinedHost:
    """A host that may join."""
    _, token = add_host(name="serving-2", actor="test")
    return join(token)
