"""A bucket, a folder, and sources that read them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.connectors.objects import remote_store
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.inference.prediction_log.sources.objects.bucket_server import BucketServer, bucket_server

type MakeObjects = Callable[..., Source]


@pytest.fixture
def bucket(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    settings.OUTBOUND_ALLOW, settings.HOME = ["127.0.0.1/32"], tmp_path
    monkeypatch.setattr(remote_store, "PAUSES_SECONDS", (0, 0))
    with bucket_server() as server:
        yield server


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    """A folder that the operator allows."""
    made = tmp_path / "allowed" / "scores"
    made.mkdir(parents=True)
    settings.SOURCE_FOLDERS = [str(tmp_path / "allowed")]
    return made


@pytest.fixture
def make_objects(model: Model) -> MakeObjects:
    """Make a source of objects; keyword arguments are its settings, `mapping` and `what`."""

    def make(*, what: str = "predictions", mapping: dict[str, Any] | None = None, **where: Any) -> Source:
        return create_source(
            project=model.project,
            model=model,
            actor="ada",
            name="files",
            what=what,
            settings=ObjectsSettings(**where),
            mapping=SourceMapping(**(mapping or {"default_version": "1"})),
            secret="s3cret" if where.get("access_key_id") else "",
        )

    return make


@pytest.fixture
def of_bucket(bucket: BucketServer, make_objects: MakeObjects) -> MakeObjects:
    """Make a source of the bucket."""

    def make(**others: Any) -> Source:
        return make_objects(bucket="scores", endpoint=bucket.address, **others)

    return make
