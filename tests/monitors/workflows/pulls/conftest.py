import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.registry.models import Model
from inference.registry.services import create_model
from tests.loopback import LoopbackServer
from tests.monitors.workflows.mlflow.conftest import train
from tests.monitors.workflows.pulls.site import Site
from tests.worlds.turning_flights import World

type Api = Callable[..., tuple[int, Any]]


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def store() -> Iterator[Site]:
    """Where the hub keeps its files: another server, as far as secrets go."""
    site = Site()
    with LoopbackServer(site.handler()) as running:
        site.store_url = running.url
        yield site


@pytest.fixture
def hub(store: Site, settings: Any) -> Iterator[Site]:
    site = Site(store_url=store.store_url)
    with LoopbackServer(site.handler()) as running:
        settings.HUGGING_FACE_URL = running.url
        yield site


@pytest.fixture(scope="session")
def better() -> bytes:
    return train(turned=True)


@pytest.fixture
def empty_model(transactional_db: None) -> Model:
    """A model that has no version yet."""
    project = Project.objects.create(slug="harbour", name="Harbour")
    return create_model(project=project, name="flight-delay", task="binary", actor="ada")


@pytest.fixture
def api(table_world: World) -> Api:
    """Call the API about the pulls of the model of `table_world`."""
    return api_of(table_world.model)


def api_of(model: Model) -> Api:
    _, token = create_token(project=model.project, name="t", scopes=["read", "deploy"], actor="ada")
    client = Client(headers={"Authorization": f"Bearer {token}"})

    def call(method: str, path: str = "", body: Any = None, **headers: str) -> tuple[int, Any]:
        content = "" if body is None else json.dumps(body)
        kind = "application/json" if content else ""
        url = f"/api/v1/models/{model.name}/pulls{path}"
        answer = client.generic(method, url, content, kind, headers=headers)
        return answer.status_code, answer.json()

    return call
