from collections.abc import Iterator
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from tests.streams.broker import Broker
from tests.worlds.approvals import make_model


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for the tests of a module, each of which has topics of its own."""
    with Broker.running(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def model(transactional_db: None, settings: Any) -> Model:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    return make_model(Project.objects.create(slug="p", name="P"))
