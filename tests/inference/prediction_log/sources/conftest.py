"""A project with a model, and a source of its predictions."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.reader_lease import renewal
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.inference.prediction_log.sources.streams import MemoryStream
from tests.worlds.approvals import make_model

SETTINGS = KafkaSettings(brokers=["127.0.0.1:9999"], topics=["t"])

type MakeSource = Callable[..., Source]


@pytest.fixture(autouse=True)
def no_leases_left() -> Iterator[None]:
    """End the thread that renews leases: it would go on in the database of other tests."""
    yield
    renewal.end()


@pytest.fixture
def model(db: None) -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


@pytest.fixture
def make_source(model: Model, settings: Any) -> MakeSource:
    """Make a source of the model; keyword arguments are its mapping."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]

    def make(name: str = "scores", what: str = "predictions", **mapping: Any) -> Source:
        return create_source(
            project=model.project,
            model=model,
            actor="ada",
            name=name,
            what=what,
            settings=SETTINGS,
            mapping=SourceMapping(**mapping),
        )

    return make


@pytest.fixture
def stream() -> MemoryStream:
    return MemoryStream()
