"""After a promotion the old champion answers the same requests: the repair is measured, and harm rolls back."""

import pytest

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.deployments import set_shadows
from monitors.workflows import services
from monitors.workflows.rollouts.services import pause_rollout, resume_rollout
from tests.worlds.rollouts import RolloutWorld, run_after_gate

pytestmark = pytest.mark.django_db

WATCHED = {"steps": [], "watch_seconds": 3_600}


@pytest.fixture
def world(db: None) -> RolloutWorld:
    """A run that has promoted, at the beginning of its watch."""
    world = run_after_gate(Project.objects.create(slug="bank", name="Bank"), plan=WATCHED)
    world.advance()
    return world


def versions(world: RolloutWorld) -> tuple[str, list[str]]:
    found = world.deployment
    return found.champion.version, [shadow.version for shadow in found.shadows.all()]


class TestWatch:
    def test_begins_with_the_old_champion_as_shadow(self, world: RolloutWorld) -> None:
        assert versions(world) == ("2", ["1"])
        assert world.run.waiting_for == (
            "the watch of 1 h: 0 labelled pairs with version 1 as reverse shadow"
        )

    def test_measures_the_repair_and_ends_when_its_time_is_over(self, world: RolloutWorld) -> None:
        world.send_pairs(600, old_is_wrong=0.3)
        world.check()
        assert world.run.state == "waiting"
        assert world.rollout.repair["verdict"] == "better"

        world.let_pass(4_000)
        world.check()

        repair = world.run.steps.get(name="watch").evidence["repair"]
        assert (world.run.state, world.rollout.state) == ("promoted", "succeeded")
        assert versions(world) == ("2", [])
        assert (repair["metric"], repair["pairs"], repair["verdict"]) == ("log_loss", 600, "better")
        assert repair["new"] < repair["old"]
        assert repair["upper"] < 0

    def test_rolls_back_what_is_worse_on_the_same_requests(self, world: RolloutWorld) -> None:
        world.send_pairs(600, new_is_wrong=0.3)

        world.check()

        assert world.run.state == "rolled_back"
        assert versions(world) == ("1", [])
        assert (world.rollout.state, world.rollout.weight) == ("aborted", 0.0)
        assert world.rollout.repair["verdict"] == "worse"

    @pytest.mark.slow
    def test_keeps_a_champion_that_is_as_good(self, world: RolloutWorld) -> None:
        for _ in range(4):
            world.send_pairs(600)
            world.check()

        assert world.run.state == "promoted"  # with the workflow's largest number of pairs
        assert world.rollout.repair["verdict"] == "no clear difference"

    @pytest.mark.slow
    def test_waits_for_the_labels_of_its_time(self, world: RolloutWorld) -> None:
        world.model.objectives = {"label_lag_hours": 48}
        world.model.save()
        world.send_pairs(300)
        world.let_pass(4_000)

        world.check()

        assert world.run.state == "waiting"
        world.let_pass(8 * 86_400)
        world.check()
        assert world.run.state == "promoted"

    @pytest.mark.slow
    def test_without_a_label_ends_without_a_repair(self, world: RolloutWorld) -> None:
        world.let_pass(4_000)

        world.check()

        assert (world.run.state, world.rollout.repair) == ("promoted", None)


class TestPeople:
    @pytest.mark.slow
    def test_may_end_the_watch(self, world: RolloutWorld) -> None:
        resume_rollout(run=world.run, actor="ada@bank.example")

        world.advance()

        assert (world.run.state, versions(world)) == ("promoted", ("2", []))

    def test_cannot_pause_what_has_promoted(self, world: RolloutWorld) -> None:
        with pytest.raises(Problem, match="end the watch or roll it back"):
            pause_rollout(run=world.run, actor="ada@bank.example")

    @pytest.mark.slow
    def test_cannot_cancel_what_has_promoted(self, world: RolloutWorld) -> None:
        with pytest.raises(Problem, match="has promoted its challenger"):
            services.cancel(run=world.run, actor="ada@bank.example")

    @pytest.mark.slow
    def test_end_it_by_taking_the_old_champion_out_of_the_shadows(self, world: RolloutWorld) -> None:
        set_shadows(model=world.model, versions=[], expected_generation=None, actor="ada")

        world.advance()

        assert (world.run.state, versions(world)) == ("promoted", ("2", []))
