from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import QuerySet
from django.db.models.functions import Now
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from driftline.base.accounts.models import Project
from driftline.operations.long_work import run_next
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.workflows.mlflow import services
from monitors.workflows.mlflow.following import ask_now, poll
from monitors.workflows.mlflow.models import MlflowConnection, MlflowVersion
from tests.monitors.workflows.mlflow.registry import NAME, Registry
from tests.monitors.workflows.remote.service import Service
from tests.worlds.turning_flights import DAY, FIRST_DAY, World, flights

SECRET = "driftline:s3cret-s3cret"


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def service(registry: Registry) -> Iterator[Service]:
    with Service(registry) as running:
        yield running


@pytest.fixture
def connection(table_world: World, service: Service) -> MlflowConnection:
    """The model of `table_world` follows `registry`, which has no version yet."""
    return connect(table_world.model, service)[0]


def connect(model: Model, service: Service, **changes: Any) -> tuple[MlflowConnection, str]:
    values = {"url": service.url, "registered_model": NAME, "secret": SECRET}
    return services.connect(model=model, actor="ada", **values | changes)


@pytest.fixture(scope="session")
def better() -> bytes:
    return train(turned=True)


def train(*, turned: bool, columns: int = 2, rows: int = 2_000) -> bytes:
    """Train on one day as a user would, with nothing of Driftline."""
    day = flights(FIRST_DAY + 20 * DAY, rows=rows, turned=turned, seed=99)
    inputs = day[["wind", "load"]].to_numpy()[:, :columns]
    fitted = LogisticRegression().fit(inputs, day["label"])
    shape = FloatTensorType([None, columns])
    content: bytes = to_onnx(
        fitted, initial_types=[("X", shape)], options={"zipmap": False}
    ).SerializeToString()
    return content


def ask(connection: MlflowConnection) -> None:
    """Do what the clock and a worker would: ask where the alias points, and work on what comes of it."""
    ask_now(connection)
    poll(connection.pk)
    work()


def follow(connection: MlflowConnection) -> MlflowVersion:
    """Do the same, and return the newest version that came."""
    ask(connection)
    return MlflowVersion.objects.filter(model=connection.model).latest("pk")


def work() -> None:
    """Do the long work that waits."""
    while run_next():
        pass


def make_due(rows: QuerySet[Any]) -> None:
    """Let the time pass for which work was put off."""
    rows.filter(lease_token=None).update(lease_until=Now() - timedelta(seconds=1))


@pytest.fixture
def empty_model(transactional_db: None) -> Model:
    """A model that has no version yet."""
    project = Project.objects.create(slug="harbour", name="Harbour")
    return create_model(project=project, name="flight-delay", task="binary", actor="ada")
