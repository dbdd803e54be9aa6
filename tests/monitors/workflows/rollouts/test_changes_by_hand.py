"""Whoever changes the deployment by hand while a rollout looks, asks or measures is not overruled by it."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.deployments import change_deployment, promote
from inference.registry.plan.canary import CanaryWanted
from monitors.workflows.rollouts.services import pause_rollout, resume_rollout, roll_back_run
from tests.worlds.rollouts import RolloutWorld, run_after_gate

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

type Meanwhile = Callable[[str, str, Callable[[], object]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Let somebody do something right after a step has called one of its functions, once."""

    def arrange(step: str, name: str, do: Callable[[], object]) -> None:
        module = import_module(f"monitors.workflows.steps.{step}")
        original, pending = getattr(module, name), [do]

        def call(*arguments: Any, **named: Any) -> Any:
            found = original(*arguments, **named)
            if pending:
                pending.pop()()
            return found

        monkeypatch.setattr(module, name, call)

    return arrange


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


def add_third(world: RolloutWorld) -> None:
    world.model.versions.create(version="3", sha256="3" * 64, signature=world.run.champion.signature)


def promote_third(world: RolloutWorld) -> None:
    promote(model=world.model, version="3", expected_generation=None, actor="ada")


def canary_of(world: RolloutWorld) -> tuple[str | None, float | None]:
    found = world.deployment
    return found.canary.version if found.canary else None, found.canary_weight


def test_who_ends_the_canary_while_the_guards_look_ends_the_rollout(
    project: Project, meanwhile: Meanwhile
) -> None:
    world = run_after_gate(project)
    world.advance()
    world.let_pass(700)
    world.send(800, 250)
    meanwhile(
        "rollout",
        "observe",
        lambda: change_deployment(
            model=world.model, without_canary=True, expected_generation=None, actor="ada"
        ),
    )

    world.check()

    assert (world.run.state, canary_of(world)) == ("rolled_back", (None, None))
    assert [one["weight"] for one in world.rollout.history] == [0.05, 0.0]


def test_who_gives_the_share_to_another_version_while_hooks_are_asked_keeps_it_there(
    project: Project, meanwhile: Meanwhile
) -> None:
    world = run_after_gate(project)
    add_third(world)
    world.advance()
    world.let_pass(700)
    world.send(800, 250)
    meanwhile(
        "rollout",
        "refusal_of_hooks",
        lambda: change_deployment(
            model=world.model, canary=CanaryWanted("3", 0.1), expected_generation=None, actor="ada"
        ),
    )

    world.check()

    assert (world.run.state, canary_of(world)) == ("rolled_back", ("3", 0.1))


def test_who_chooses_a_canary_while_the_rollout_begins_keeps_it(
    project: Project, meanwhile: Meanwhile
) -> None:
    world = run_after_gate(project)
    add_third(world)
    meanwhile(
        "rollout",
        "usual_differences",
        lambda: change_deployment(
            model=world.model, canary=CanaryWanted("3", 0.1), expected_generation=None, actor="ada"
        ),
    )

    world.advance()
    assert canary_of(world) == ("3", 0.1)

    world.advance()
    assert world.run.waiting_for == "a person to end the canary, version 3"


def test_who_pauses_after_the_last_step_holds_the_promotion(project: Project, meanwhile: Meanwhile) -> None:
    world = run_after_gate(project)
    world.advance()
    world.let_pass(700)
    world.send(800, 250)
    world.check()
    world.let_pass(700)
    world.send(800, 250)
    meanwhile("promote", "has_result", lambda: pause_rollout(run=world.run, actor="ada@bank.example"))

    world.check()
    assert world.run.waiting_for == "a person to resume it: paused at 50.0% by ada@bank.example"
    assert (world.deployment.champion.version, canary_of(world)) == ("1", ("2", 0.5))

    resume_rollout(run=world.run, actor="ada@bank.example")
    world.advance()
    assert (world.deployment.champion.version, world.rollout.paused_by) == ("2", "")


@pytest.fixture
def watched(project: Project) -> RolloutWorld:
    """A run that has promoted, with a third version beside it."""
    world = run_after_gate(project, plan={"steps": [], "watch_seconds": 3_600})
    add_third(world)
    world.advance()
    return world


def test_who_promotes_a_version_while_the_repair_is_measured_keeps_it_as_champion(
    watched: RolloutWorld, meanwhile: Meanwhile
) -> None:
    watched.send_pairs(600, new_is_wrong=0.3)
    meanwhile("watch", "measure_repair", lambda: promote_third(watched))

    watched.check()

    assert (watched.run.state, watched.deployment.champion.version) == ("promoted", "3")


def test_who_ends_the_watch_while_the_repair_is_measured_does_not_wait_for_the_next_look(
    watched: RolloutWorld, meanwhile: Meanwhile
) -> None:
    watched.send_pairs(600)
    meanwhile("watch", "measure_repair", lambda: resume_rollout(run=watched.run, actor="ada@bank.example"))

    watched.check()

    assert watched.run.state == "promoted"


def test_rolling_a_run_back_leaves_a_later_champion_alone(watched: RolloutWorld) -> None:
    promote_third(watched)

    with pytest.raises(Problem, match="Version 3 became champion meanwhile"):
        roll_back_run(run=watched.run, actor="ada")

    assert watched.deployment.champion.version == "3"
