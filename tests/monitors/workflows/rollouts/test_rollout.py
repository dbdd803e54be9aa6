"""A challenger takes over by growing shares, and leaves no share behind where a guard or a person stops it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from driftline.base.accounts.models import AuditEntry, Project
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.periods import floor
from inference.prediction_log.models import RequestCount
from inference.registry.deployments import change_deployment, promote, rollback
from inference.registry.models import Deployment, DeploymentChange
from inference.registry.plan.canary import CanaryWanted
from monitors.feed.models import FeedEvent
from monitors.workflows import services
from monitors.workflows.models import Rollout
from monitors.workflows.rollouts.checks import OF_ONE_STEP, chance_of
from monitors.workflows.rollouts.plan import Guard, PlannedStep, RolloutPlan
from monitors.workflows.rollouts.services import pause_rollout, resume_rollout, roll_back_run
from monitors.workflows.starting import starts
from tests.worlds.approvals import count_requests
from tests.worlds.rollouts import STAGED, RolloutWorld, run_after_gate

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def project() -> Project:
    return Project.objects.create(slug="bank", name="Bank")


@pytest.fixture
def world(project: Project) -> RolloutWorld:
    """A rollout at its first share."""
    world = run_after_gate(project)
    world.advance()
    return world


def state_of(world: RolloutWorld) -> tuple[Any, ...]:
    """Return champion, canary, its weight and shadows."""
    found = world.deployment
    return (
        found.champion.version,
        found.canary.version if found.canary else None,
        found.canary_weight,
        [shadow.version for shadow in found.shadows.all()],
    )


def complete_step(world: RolloutWorld, champion: int = 800, canary: int = 250) -> None:
    world.let_pass(700)
    world.send(champion, canary)
    world.check()


def promoted(world: RolloutWorld) -> RolloutWorld:
    complete_step(world)
    complete_step(world)
    return world


class TestSteps:
    def test_begins_with_the_first_share_in_place_of_copies(self, world: RolloutWorld) -> None:
        assert state_of(world) == ("1", "2", 0.05, [])
        assert (world.run.state, world.run.needs) == ("waiting", "traffic")
        assert world.run.waiting_for.startswith("the rollout at 5.0%: 10 min and 200 rows")

    def test_stays_at_its_share_until_time_and_rows_have_come(self, world: RolloutWorld) -> None:
        world.let_pass(700)
        world.send(2_000, 150)
        world.check()
        assert world.rollout.weight == 0.05
        assert "of which 150 have come" in world.run.waiting_for

        world.send(500, 60)
        world.check()

        assert state_of(world) == ("1", "2", 0.5, [])

    def test_counts_each_row_of_a_batch(self, world: RolloutWorld) -> None:
        world.let_pass(700)
        world.send(2_000, 0)
        for _ in range(5):
            world.send_request(rows=40)

        world.check()

        assert (world.rollout.answered["rows"], world.rollout.answered["requests"]) == (200, 5)
        assert world.rollout.weight == 0.5

    def test_counts_requests_where_the_plan_names_them(self, project: Project) -> None:
        step = PlannedStep(0.05, 600, requests=200)
        world = run_after_gate(project, plan=RolloutPlan(steps=(step,)).as_json())
        world.advance()
        world.let_pass(700)
        world.send(2_000, 150)
        canary = RequestCount.objects.filter(model=world.model, role="canary", outcome="answered")
        canary.update(requests=1)  # of 150 rows

        world.check()

        assert world.rollout.weight == 0.05
        assert "of which 1 have come" in world.run.waiting_for

    def test_ends_in_a_promotion_watched_beside_the_old_champion(self, world: RolloutWorld) -> None:
        promoted(world)

        assert state_of(world) == ("2", None, None, ["1"])
        assert (world.run.state, world.rollout.state) == ("waiting", "watching")
        assert [one["weight"] for one in world.rollout.history] == [0.05, 0.5, 1.0]

    def test_without_steps_promotes_at_once(self, project: Project) -> None:
        world = run_after_gate(project, plan=RolloutPlan().as_json())

        world.advance()

        assert world.run.state == "promoted"
        assert state_of(world) == ("2", None, None, [])

    def test_asks_a_person_before_the_first_share_unless_it_may_start_alone(self, project: Project) -> None:
        world = run_after_gate(project, autonomy="approve")
        world.advance()
        assert (world.run.needs, state_of(world)) == ("person", ("1", None, None, ["2"]))

        services.approve(run=world.run, actor="ada@bank.example")
        world.advance()

        assert state_of(world) == ("1", "2", 0.05, [])

    def test_waits_while_another_version_is_the_canary(self, project: Project) -> None:
        world = run_after_gate(project)
        third = world.model.versions.create(
            version="3", sha256="3" * 64, signature=world.run.champion.signature
        )
        change_deployment(
            model=world.model, canary=CanaryWanted(third.version, 0.1), expected_generation=None, actor="ada"
        )

        world.advance()

        assert world.run.waiting_for == "a person to end the canary, version 3"
        assert world.deployment.canary == third


class TestGuards:
    def test_a_challenger_that_fails_a_fifth_of_its_requests_answers_none_after_one_check(
        self, world: RolloutWorld
    ) -> None:
        world.send(285, 15, failed=3)

        world.check()

        assert world.run.state == "rolled_back"
        assert state_of(world) == ("1", None, None, [])
        assert (world.rollout.state, world.rollout.weight) == ("aborted", 0.0)
        assert world.guard("failures")["verdict"] == "fail"
        event = FeedEvent.objects.get(kind="run.rolled_back")
        assert "the guard failures failed at 5.0%: 20.00% of 15 requests failed" in event.text
        assert ["Guard failures", world.guard("failures")["sentence"]] in event.facts

    def test_one_change_of_the_deployment_ends_the_share(self, world: RolloutWorld) -> None:
        before = world.deployment.generation
        world.send(285, 15, failed=5)

        world.check()

        assert world.deployment.generation == before + 1

    def test_an_outage_of_both_sides_stops_nothing(self, world: RolloutWorld) -> None:
        world.send(950, 50, failed=10, champion_failed=190)

        world.check()

        assert (world.run.state, world.guard("failures")["verdict"]) == ("waiting", "pass")

    def test_malformed_requests_which_never_reach_it_hide_no_failure(self, world: RolloutWorld) -> None:
        count_requests(world.model, floor(timezone.now(), "hour"), invalid=5_000)
        world.send(285, 15, failed=3)

        world.check()

        assert world.run.state == "rolled_back"
        assert "0.00% of the champion's 285" in world.guard("failures")["sentence"]

    def test_failures_of_earlier_steps_count_on(self, world: RolloutWorld) -> None:
        world.let_pass(700)
        world.send(4_000, 210, failed=1)
        world.check()
        assert world.rollout.weight == 0.5, world.rollout.checks[-1]

        world.send(200, 200, failed=8)
        world.check()

        assert world.run.state == "rolled_back"

    def test_outputs_that_are_not_finite_stop_it(self, world: RolloutWorld) -> None:
        world.send(950, 150, probabilities=None)

        world.check()

        assert world.guard("not_finite")["verdict"] == "fail"
        assert world.run.state == "rolled_back"

    def test_answers_that_take_far_longer_stop_it(self, world: RolloutWorld) -> None:
        world.send(950, 150, latency_ms=40.0)

        world.check()

        found = world.guard("latency")
        assert (found["verdict"], found["value"], found["unit"]) == ("fail", 40.0, "ms")
        assert world.run.state == "rolled_back"

    def test_a_stall_in_which_neighbours_wait_together_stops_nothing(self, world: RolloutWorld) -> None:
        world.send(950, 250)
        world.send(10, 18, latency_ms=157.0)

        world.check()

        assert (world.run.state, world.guard("latency")["verdict"]) == ("waiting", "pass")

    def test_answers_of_which_a_tenth_takes_longer_stop_it(self, world: RolloutWorld) -> None:
        for _ in range(30):
            world.send(90, 27)
            world.send(10, 3, latency_ms=40.0)

        world.check()

        assert world.guard("latency")["verdict"] == "fail"

    def test_one_slow_request_of_many_rows_is_one_slow_answer(self, world: RolloutWorld) -> None:
        world.send(950, 150)
        world.send_request(rows=60, latency_ms=40.0)

        world.check()

        assert (world.run.state, world.guard("latency")["verdict"]) == ("waiting", "pass")

    def test_a_slowdown_that_nobody_notices_passes(self, world: RolloutWorld) -> None:
        world.send(950, 150, latency_ms=4.0)

        world.check()

        assert world.guard("latency")["verdict"] == "pass"

    def test_classes_that_it_predicts_far_more_often_than_in_the_shadow_stop_it(
        self, world: RolloutWorld
    ) -> None:
        world.send(2_000, 1_000, prediction="1", probabilities=0.9)

        world.check()

        assert world.guard("class_shares")["verdict"] == "fail"
        assert world.guard("scores")["verdict"] == "fail"
        assert world.run.state == "rolled_back"

    def test_one_that_only_reports_changes_nothing(self, project: Project) -> None:
        world = run_after_gate(project, plan=STAGED | {"report_only": ["latency"]})
        world.advance()
        world.send(950, 150, latency_ms=40.0)

        world.check()

        found = world.guard("latency")
        assert (world.run.state, found["verdict"], found["report_only"]) == ("waiting", "fail", True)

    def test_without_traffic_says_so_and_stays(self, world: RolloutWorld) -> None:
        world.check()

        assert {one["verdict"] for one in world.rollout.checks[-1]["guards"]} == {"no_traffic"}
        assert world.rollout.weight == 0.05

    def test_keys_that_are_split_otherwise_than_its_weight_says_stop_it(self, world: RolloutWorld) -> None:
        Deployment.objects.filter(model=world.model).update(canary_since=now() - timedelta(minutes=1))
        world.send(600, 300)

        world.check()

        assert world.guard("split")["verdict"] == "fail"
        assert world.run.state == "rolled_back"

    def test_steps_share_the_chance_of_error_of_guards_that_begin_anew_with_each(
        self, world: RolloutWorld
    ) -> None:
        errors = [chance_of(world.rollout, guard) * (2 if guard in OF_ONE_STEP else 1) for guard in Guard]

        assert sum(errors) == pytest.approx(0.01)

    def test_labels_that_show_it_worse_stop_it(self, world: RolloutWorld) -> None:
        world.send(3_000, 2_000, labelled=True)

        world.check()

        assert world.guard("quality")["verdict"] == "pass"
        world.send(3_000, 2_000, labelled=True, wrong=0.5)
        world.check()
        found = world.guard("quality")
        assert (found["verdict"], world.run.state) == ("fail", "rolled_back"), found


class TestPausing:
    def test_asks_a_person_where_a_step_does_not_get_what_it_needs(self, world: RolloutWorld) -> None:
        world.let_pass(90_000)

        world.check()

        assert (world.rollout.state, world.run.needs) == ("paused", "person")
        assert FeedEvent.objects.filter(kind="run.waiting_for_approval").count() == 1
        assert world.rollout.weight == 0.05

    def test_takes_the_next_step_where_the_person_lets_it(self, world: RolloutWorld) -> None:
        world.let_pass(90_000)
        world.check()

        services.approve(run=world.run, actor="ada@bank.example")
        world.advance()

        assert state_of(world) == ("1", "2", 0.5, [])

    def test_keeps_its_share_while_a_person_has_paused_it(self, world: RolloutWorld) -> None:
        pause_rollout(run=world.run, actor="ada@bank.example")

        complete_step(world)

        assert world.rollout.weight == 0.05
        assert world.run.waiting_for == "a person to resume it: paused at 5.0% by ada@bank.example"

    def test_goes_on_as_planned_after_a_person_paused_it(self, world: RolloutWorld) -> None:
        pause_rollout(run=world.run, actor="ada@bank.example")

        resume_rollout(run=world.run, actor="ada@bank.example")
        world.advance()

        assert (world.rollout.state, world.rollout.weight) == ("progressing", 0.05)
        assert {"run.pause", "run.resume"} <= set(AuditEntry.objects.values_list("action", flat=True))

    def test_rolls_back_while_paused_where_a_guard_fails(self, world: RolloutWorld) -> None:
        pause_rollout(run=world.run, actor="ada@bank.example")
        world.send(285, 15, failed=5)

        world.check()

        assert world.run.state == "rolled_back"

    def test_cannot_be_resumed_where_it_is_not_paused(self, world: RolloutWorld) -> None:
        with pytest.raises(Problem, match="is not paused"):
            resume_rollout(run=world.run, actor="ada@bank.example")


class TestRollingBack:
    def test_by_a_person_ends_the_share(self, world: RolloutWorld) -> None:
        roll_back_run(run=world.run, actor="ada@bank.example", reason="complaints")

        world.run.refresh_from_db()
        assert world.run.state == "rolled_back"
        assert state_of(world) == ("1", None, None, [])
        assert FeedEvent.objects.get(kind="run.rolled_back").actor == "ada@bank.example"

    def test_by_a_person_after_the_promotion_brings_the_old_champion_back(self, world: RolloutWorld) -> None:
        promoted(world)

        roll_back_run(run=world.run, actor="ada@bank.example")

        world.run.refresh_from_db()
        assert world.run.state == "rolled_back"
        assert state_of(world) == ("1", None, None, [])

    def test_of_the_deployment_ends_the_run_that_promoted(self, world: RolloutWorld) -> None:
        promoted(world)
        rollback(model=world.model, expected_generation=None, actor="ada@bank.example", reason="complaints")

        world.advance()

        assert world.run.state == "rolled_back"
        event = FeedEvent.objects.get(kind="run.rolled_back")
        assert (event.actor, event.data["run"]["reason"]) == ("ada@bank.example", "complaints")

    def test_by_promoting_the_old_champion_is_of_who_did_so(self, world: RolloutWorld) -> None:
        promoted(world)
        promote(
            model=world.model, version="1", expected_generation=None, actor="bob@bank.example", reason="fees"
        )
        change_deployment(model=world.model, shadows=[], expected_generation=None, actor="ada@bank.example")

        world.advance()

        reported = FeedEvent.objects.get(kind="run.rolled_back")
        assert (reported.actor, reported.data["run"]["reason"]) == ("bob@bank.example", "fees")

    def test_of_a_canary_is_of_who_ended_it(self, world: RolloutWorld) -> None:
        change_deployment(
            model=world.model, without_canary=True, expected_generation=None, actor="bob@bank.example"
        )
        change_deployment(
            model=world.model, shadows=["2"], expected_generation=None, actor="ada@bank.example"
        )

        world.advance()

        assert FeedEvent.objects.get(kind="run.rolled_back").actor == "bob@bank.example"

    def test_of_a_run_that_has_ended_is_noted_in_its_rollout(self, world: RolloutWorld) -> None:
        promoted(world)
        resume_rollout(run=world.run, actor="ada@bank.example")
        world.advance()
        assert world.run.state == "promoted"

        rollback(model=world.model, expected_generation=None, actor="ada@bank.example", reason="complaints")

        last = world.rollout.history[-1]
        assert (last["weight"], last["reason"], world.rollout.state) == (0.0, "complaints", "aborted")

    def test_of_a_run_that_has_ended_marks_it(self, project: Project) -> None:
        world = run_after_gate(project, plan=RolloutPlan().as_json())
        world.advance()

        rollback(model=world.model, expected_generation=None, actor="ada@bank.example")

        world.run.refresh_from_db()
        assert world.run.state == "rolled_back"

    def test_follows_where_somebody_ends_the_canary_by_hand(self, world: RolloutWorld) -> None:
        change_deployment(model=world.model, without_canary=True, expected_generation=None, actor="ada")

        world.advance()

        assert world.run.state == "rolled_back"
        assert state_of(world) == ("1", None, None, [])

    def test_follows_where_somebody_splits_the_requests_by_another_key(self, world: RolloutWorld) -> None:
        by_country = CanaryWanted("2", 0.05, "tag:country")
        change_deployment(model=world.model, canary=by_country, expected_generation=None, actor="ada")

        world.advance()

        assert world.run.state == "rolled_back"
        assert "version 2 at 5.0% by tag:country" in world.rollout.history[-1]["reason"]

    def test_lets_no_run_start_by_itself_for_a_day(self, world: RolloutWorld) -> None:
        roll_back_run(run=world.run, actor="ada@bank.example")

        assert starts.start_automatic_run(world.model, "rule") is None
        assert AuditEntry.objects.get(action="run.not_started").after["code"] == "rolled_back"

    def test_of_a_run_without_a_rollout_is_refused(self, project: Project) -> None:
        world = run_after_gate(project, autonomy="approve")
        world.advance()

        with pytest.raises(Problem, match="no rollout of it is under way"):
            roll_back_run(run=world.run, actor="ada@bank.example")


def test_cancelling_ends_the_share_and_keeps_the_champion(world: RolloutWorld) -> None:
    services.cancel(run=world.run, actor="ada@bank.example")

    world.run.refresh_from_db()
    assert world.run.state == "cancelled"
    assert state_of(world) == ("1", None, None, [])


def test_ends_where_somebody_promotes_another_version(world: RolloutWorld) -> None:
    world.model.versions.create(version="3", sha256="3" * 64, signature=world.run.champion.signature)
    promote(model=world.model, version="3", expected_generation=None, actor="ada")

    world.advance()

    assert world.run.state == "cancelled"
    assert state_of(world) == ("3", None, None, [])
    assert DeploymentChange.objects.filter(model=world.model, kind="promote").count() == 1


class TestChecks:
    @pytest.fixture
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The runs for which a task was sent."""
        sent: list[int] = []
        monkeypatch.setattr(
            "monitors.workflows.services.enqueue", lambda task, **asked: sent.append(asked["run_id"])
        )
        return sent

    def test_that_are_due_are_asked_for_whenever_the_model_is_judged(
        self, world: RolloutWorld, sent: list[int]
    ) -> None:
        services.wake_runs(world.model)
        assert sent == []

        Rollout.objects.update(next_check_at=now())
        services.wake_runs(world.model)

        assert sent == [world.run.pk]
