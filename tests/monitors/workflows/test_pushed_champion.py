"""A champion that was pushed declares no texts for missing values: what each trainer makes can take its place."""

from typing import Any

import msgspec
import pytest

from inference.registry.deployments import change_deployment, promote, rollback
from inference.registry.models import Deployment, Model
from inference.registry.plan.canary import CanaryWanted
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import Run
from monitors.workflows.starting import starts
from monitors.workflows.trainers.catalogue import SHIPPED
from monitors.workflows.trainers.report import TrainingResult
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(trained: TrainingResult) -> TrainingResult:
    return msgspec.structs.replace(trained, metadata=msgspec.structs.replace(trained.metadata, missing={}))


def retrain(model: Model, trainer: str) -> Run:
    services.configure_workflow(model=model, actor="ada", trainer=trainer)
    run = starts.start_run(model=model, trigger="ada", actor="ada")
    advance(run_id=run.pk)
    run.refresh_from_db()
    assert run.challenger is not None, [step.error for step in run.steps.all()]
    return run


def roll_out_and_back(model: Model, version: str) -> None:
    known: dict[str, Any] = {"model": model, "expected_generation": None, "actor": "ada"}
    change_deployment(canary=CanaryWanted(version, 0.5), **known)
    promote(version=version, **known)
    assert Deployment.objects.get(model=model).champion.version == version  # type: ignore[union-attr]
    rollback(**known)
    assert Deployment.objects.get(model=model).champion.version == "1"  # type: ignore[union-attr]


@pytest.mark.parametrize("trainer", SHIPPED)
def test_of_an_input_a_feature_is_retrained_rolled_out_and_back(turned_world: World, trainer: str) -> None:
    run = retrain(turned_world.model, trainer)

    assert run.challenger is not None
    assert run.challenger.signature["missing"] == {}
    roll_out_and_back(turned_world.model, run.challenger.version)


@pytest.mark.parametrize("trainer", SHIPPED)
def test_of_one_tensor_is_retrained_rolled_out_and_back(table_world: World, trainer: str) -> None:
    run = retrain(table_world.model, trainer)

    assert run.challenger is not None
    roll_out_and_back(table_world.model, run.challenger.version)
