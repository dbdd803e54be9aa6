import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from tests.monitors.workflows.mlflow.conftest import SECRET, train, work
from tests.monitors.workflows.mlflow.registry_imports.registry import ManyModels
from tests.monitors.workflows.remote.service import Service

type Api = Callable[..., tuple[int, Any]]


@pytest.fixture
def registry() -> ManyModels:
    return ManyModels()


@pytest.fixture
def service(registry: ManyModels) -> Iterator[Service]:
    with Service(registry) as running:
        yield running


@pytest.fixture
def project(transactional_db: None) -> Project:
    return Project.objects.create(slug="harbour", name="Harbour")


@pytest.fixture
def api(project: Project) -> Api:
    return api_of(project)


def api_of(project: Project, *scopes: str) -> Api:
    """Call the API about the imports of a project."""
    scopes = scopes or ("read", "write", "deploy")
    _, token = create_token(project=project, name="t", scopes=list(scopes), actor="ada")
    client = Client(headers={"Authorization": f"Bearer {token}"})

    def call(method: str, path: str = "", body: Any = None) -> tuple[int, Any]:
        content = "" if body is None else json.dumps(body)
        kind = "application/json" if content else ""
        answer = client.generic(method, f"/api/v1/mlflow-imports{path}", content, kind)
        return answer.status_code, answer.json() if answer.content else None

    return call


def listed(api: Api, service: Service, **more: str) -> int:
    """Have the registry listed, and return the number of the import."""
    status, made = api("POST", body={"url": service.url, "secret": SECRET, **more})
    assert status == 202, made
    work()
    number: int = made["id"]
    return number


def models(api: Api, number: int) -> dict[str, dict[str, Any]]:
    """Read what became of each registered model."""
    _, found = api("GET", f"/{number}/models?limit=100")
    return {one["registered_model"]: one for one in found["items"]}


def imported(api: Api, service: Service, **options: Any) -> dict[str, dict[str, Any]]:
    """List the registry, import of it what the options say, and read what became of each registered model."""
    number = listed(api, service)
    status, started = api("POST", f"/{number}/start", body=options)
    assert status == 200, started
    work()
    return models(api, number)


def outcomes(one: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the number and the outcome of each version, in the order in which they came."""
    return [(version["number"], version["outcome"]) for version in one["versions"]]


@pytest.fixture(scope="session")
def older() -> bytes:
    return train(turned=False, rows=1_000)
