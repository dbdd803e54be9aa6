"""What a training may use: its memory is declared for each workflow, its time is the same for all."""

from importlib import import_module

import pytest

from driftline.base.errors import Problem
from inference.registry.models import Model
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import Workflow
from monitors.workflows.starting import starts
from monitors.workflows.trainers.launch import memory_of_machine_mb
from tests.monitors.workflows.conftest import Fire
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


def refusal(model: Model, memory_mb: int) -> str:
    with pytest.raises(Problem) as refused:
        services.configure_workflow(model=model, actor="ada", memory_mb=memory_mb)
    assert refused.value.errors[0].pointer == "/workflow/memory_mb"
    return refused.value.detail


class TestDeclaring:
    def test_more_than_the_machine_has_is_refused_with_what_it_has(self, model: Model) -> None:
        there = memory_of_machine_mb()
        assert refusal(model, there + 1) == (
            f"memory_mb is {there + 1:,}; this machine has {there:,}. Use less, or train elsewhere."
        )

    def test_less_than_the_libraries_need_is_refused(self, model: Model) -> None:
        assert "use 512 or more" in refusal(model, 100)

    def test_what_the_machine_has_is_taken(self, model: Model) -> None:
        services.configure_workflow(model=model, actor="ada", memory_mb=512)
        assert Workflow.of(model).memory_mb == 512


class TestTraining:
    def test_on_a_machine_with_less_fails_by_name(self, turned_world: World, fire: Fire) -> None:
        Workflow.objects.filter(model=turned_world.model).update(memory_mb=memory_of_machine_mb() * 2)
        run = starts.handle_transition(fire().pk)
        assert run is not None

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "failed"
        failed = run.steps.get(state="failed")
        assert failed.name == "train"
        assert "lets a training use" in failed.error

    def test_that_passes_its_deadline_fails_with_what_to_do(
        self, turned_world: World, fire: Fire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_module("monitors.workflows.steps.train"), "TRAINING_SECONDS", 0.01)
        run = starts.handle_transition(fire().pk)
        assert run is not None

        advance(run_id=run.pk)

        assert run.steps.get(state="failed").error == (
            "The trainer passed its deadline of 0.01 s and was ended. Train on fewer days, with a quicker trainer or "
            "parameters that cost less, or in a pipeline."
        )
