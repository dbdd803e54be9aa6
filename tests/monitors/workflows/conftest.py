import fcntl
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from django.conf import settings
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

import driftline.celery  # noqa: F401  tasks go to the session's broker
from driftline.base.accounts.models import Project
from inference.registry.files.datasets import store_reference
from inference.registry.lineage import Lineage
from inference.registry.models import Model
from inference.registry.services import create_model
from inference.registry.versions import upload_version
from monitors.rules.models import Rule, Transition
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.services import configure_workflow
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.launch import read_result, run_trainer
from monitors.workflows.trainers.report import TrainingResult
from tests.tiers import started_for_all_tests
from tests.worlds.turning_flights import CLASSES, DAY, FEATURES, FIRST_DAY, World, flights

Fire = Callable[..., Transition]
TRAINED_DAYS = 5
AT_ONCE = RolloutPlan().as_json()
"""Tests that are not about rollouts promote at once."""


@pytest.fixture(scope="session")
def old_truth() -> pd.DataFrame:
    """The rows that the champion was trained on, before the truth turned."""
    days = [flights(FIRST_DAY + n * DAY, rows=200, turned=False, seed=1000 + n) for n in range(TRAINED_DAYS)]
    return pd.concat(days, ignore_index=True)


@pytest.fixture(scope="session")
def trained(old_truth: pd.DataFrame) -> TrainingResult:
    """A champion that learnt the old truth, made by the real trainer once for all tests of a run."""
    folder = Path(os.environ["DRIFTLINE_TEST_HOME"]) / "champion"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            with started_for_all_tests():
                train_champion(old_truth, folder)
            (folder / "done").touch()
    return read_result(folder / "work")


def train_champion(rows: pd.DataFrame, folder: Path) -> None:
    rows.to_parquet(folder / "data.parquet")
    job = TrainingJob(
        data=str(folder / "data.parquet"),
        features=FEATURES,
        task="binary",
        classes=CLASSES,
        positive_class="late",
        folds=2,
    )
    run_trainer("sklearn_logistic_regression", job, folder / "work", 600)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    """A home a test: runs of several test processes have the same numbers, which name their folders."""
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def model(transactional_db: None, trained: TrainingResult, old_truth: pd.DataFrame) -> Model:
    project = Project.objects.create(slug="airport", name="Airport")
    model = create_model(
        project=project,
        name="flight-delay",
        task="binary",
        actor="ada@example.com",
        autonomy="auto",
        objectives={"label_lag_hours": 0},
    )
    with trained.model_path.open("rb") as stream:
        upload_version(
            model=model,
            stream=stream,
            metadata=msgspec.json.encode(trained.metadata),
            lineage=Lineage(),
            actor="ada",
        )
    store_reference(
        model=model,
        version="1",
        stream=reference_file(old_truth),
        content_type="application/parquet",
        actor="ada",
    )
    configure_workflow(
        model=model,
        actor="ada",
        trainer="sklearn_logistic_regression",  # no seed: each test comes out the same each time
        min_training_rows=500,
        pairs=500,
        max_pairs=1500,
        rollout=AT_ONCE,
    )
    return model


@pytest.fixture
def table_world(transactional_db: None, old_truth: pd.DataFrame) -> World:
    """A champion made elsewhere that takes one tensor of two numbers, after the truth turned around."""
    numbers = ["wind", "load"]
    champion = LogisticRegression().fit(old_truth[numbers].to_numpy(), old_truth["label"])
    onnx = to_onnx(champion, initial_types=[("X", FloatTensorType([None, 2]))], options={"zipmap": False})
    project = Project.objects.create(slug="airport", name="Airport")
    model = create_model(
        project=project,
        name="flight-delay",
        task="binary",
        actor="ada@example.com",
        autonomy="auto",
        objectives={"label_lag_hours": 0},
    )
    upload_version(
        model=model,
        stream=BytesIO(onnx.SerializeToString()),
        metadata=b'{"features": [{"name": "wind"}, {"name": "load"}], "positive_class": "late"}',
        lineage=Lineage(),
        actor="ada",
    )
    store_reference(
        model=model,
        version="1",
        stream=reference_file(old_truth.drop(columns="carrier")),
        content_type="application/parquet",
        actor="ada",
    )
    configure_workflow(
        model=model,
        actor="ada",
        trainer="sklearn_logistic_regression",
        min_training_rows=500,
        pairs=500,
        max_pairs=1500,
        rollout=AT_ONCE,
    )
    world = World(model, Path(settings.HOME))
    for day in range(TRAINED_DAYS, TRAINED_DAYS + 5):
        world.send_day(day)
    return world


def reference_file(rows: pd.DataFrame) -> BytesIO:
    stream = BytesIO()
    rows.rename(columns={"time": "timestamp"}).to_parquet(stream, index=False)
    stream.seek(0)
    return stream


@pytest.fixture
def world(model: Model) -> World:
    return World(model, Path(settings.HOME))


@pytest.fixture
def turned_world(world: World) -> World:
    """Five days of traffic after the truth turned around."""
    for day in range(TRAINED_DAYS, TRAINED_DAYS + 5):
        world.send_day(day)
    return world


@pytest.fixture
def fire(model: Model) -> Fire:
    """Write a transition of the model's retrain rule, as judging does."""
    return firing(model)


def firing(model: Model) -> Fire:
    """Make the function that writes transitions of a model's retrain rule."""

    def write(kind: str = "opened", *, day: int = 9, action: str = "retrain") -> Transition:
        rule, _ = Rule.objects.get_or_create(
            project=model.project,
            model=model,
            name=f"log loss, {action}",
            metric="log_loss",
            threshold=0.6,
            cooldown=DAY,
            notify_within=DAY,
            action=action,
        )
        return Transition.objects.create(
            rule=rule,
            model=model,
            kind=kind,
            window_start=FIRST_DAY + day * DAY,
            window_end=FIRST_DAY + (day + 1) * DAY,
            value=0.9,
            n=300,
            threshold=0.6,
        )

    return write
