"""A step is judged by what serving answered with its share and the log holds of it, and by nothing else."""

from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from unittest.mock import Mock

import pytest
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.periods import floor
from inference.registry.models import Deployment, Model, RowsKept, UnpublishedChange
from inference.registry.plan.publishing import publish_overdue
from monitors.workflows.engine import MAX_ATTEMPTS
from monitors.workflows.rollouts.checks import OF_ROWS
from monitors.workflows.rollouts.plan import PlannedStep, RolloutPlan
from tests.worlds.approvals import count_requests
from tests.worlds.rollouts import RolloutWorld, run_after_gate

CHECKING = import_module("monitors.workflows.steps.rollout")
pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def world(project: Project) -> RolloutWorld:
    """A rollout at its first share."""
    world = run_after_gate(project)
    world.advance()
    return world


class TestRowsThatAreNotFound:
    @pytest.fixture
    def world(self, project: Project) -> RolloutWorld:
        """A step with answered requests, as the counts say, of which the log has no rows."""
        step = PlannedStep(0.05, 600, requests=200)
        world = run_after_gate(project, plan=RolloutPlan(steps=(step, replace(step, weight=0.5))).as_json())
        world.advance()
        world.let_pass(700)
        hour = floor(timezone.now(), "hour")
        count_requests(world.model, hour, answered=800)
        count_requests(world.model, hour, role="canary", answered=250)
        return world

    @pytest.mark.slow
    def test_hold_the_share_until_a_person_decides(self, world: RolloutWorld) -> None:
        world.check()

        assert {world.guard(name)["verdict"] for name in OF_ROWS} == {"inconclusive"}
        assert "their event times may lie before the step" in world.guard("scores")["sentence"]
        assert world.rollout.weight == 0.05

        world.let_pass(90_000)
        world.check()
        assert (world.rollout.state, world.run.needs) == ("paused", "person")

    @pytest.mark.slow
    def test_hold_nothing_where_the_model_keeps_none(self, world: RolloutWorld) -> None:
        Model.objects.filter(pk=world.model.pk).update(rows_kept=RowsKept.NONE)

        world.check()

        assert world.guard("scores")["sentence"].startswith("The model keeps no rows")
        assert world.rollout.weight == 0.5


class TestPublishing:
    def test_no_guard_looks_before_serving_was_given_the_share(self, world: RolloutWorld) -> None:
        UnpublishedChange.objects.create(changed_model=world.model.pk)
        world.send(285, 15, failed=5)

        world.check()

        assert (world.run.state, world.rollout.checked) == ("waiting", 0)

    @pytest.mark.slow
    def test_late_begins_the_step_again(self, world: RolloutWorld) -> None:
        long_before = now() - timedelta(minutes=1)
        Deployment.objects.filter(model=world.model).update(canary_since=long_before)
        rollout = world.rollout
        rollout.counted["served_since"] = long_before.timestamp()
        rollout.save()
        UnpublishedChange.objects.create(changed_model=world.model.pk, at=long_before)
        world.let_pass(700)
        world.send(6_000, 250)  # the champion answered what the challenger was to answer

        publish_overdue()
        world.check()

        assert (world.rollout.weight, world.rollout.checked) == (0.05, 0)
        assert now() - world.rollout.since < timedelta(seconds=600)
        world.send(285, 15, failed=1)
        world.check()
        assert world.rollout.checks[-1]["requests"] == 15


@pytest.mark.slow
def test_errors_that_pass_do_not_add_up_over_the_days_of_a_rollout(
    world: RolloutWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2 * MAX_ATTEMPTS):
        with monkeypatch.context() as broken:
            broken.setattr(CHECKING, "observe", Mock(side_effect=OSError("the disk is busy")))
            with pytest.raises(OSError, match="busy"):
                world.check()
        world.check()

    assert (world.run.state, world.rollout.checked) == ("waiting", 2 * MAX_ATTEMPTS)
