"""Rows that cannot teach or judge a model stop a run: copies across the split, leaks, broken features, wrong labels."""

import pytest

from inference.registry.models import Deployment
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import Run
from monitors.workflows.starting import starts
from tests.monitors.workflows.conftest import Fire
from tests.worlds.approvals import work
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow

ADA = "ada@example.com"
DAYS = range(5, 12)


def started(fire: Fire, *, day: int = DAYS[-1], kind: str = "opened") -> Run:
    run = starts.handle_transition(fire(kind, day=day).pk)
    assert run is not None
    return gone_on(run)


def gone_on(run: Run) -> Run:
    advance(run_id=run.pk)
    run.refresh_from_db()
    return run


def evidence(run: Run, step: str = "check_data") -> dict[str, object]:
    found: dict[str, object] = run.steps.get(name=step).evidence
    return found


class TestCopies:
    def test_of_training_rows_among_the_rows_held_out_stop_the_run_by_name(
        self, world: World, fire: Fire
    ) -> None:
        for day in DAYS:
            world.send_day(day, like=day if day < 10 else day - 3)

        run = started(fire)

        assert (run.state, run.needs) == ("waiting", "person")
        found = evidence(run)
        assert run.waiting_for == f"a person to judge the data: {found['doubts'][0]}"  # type: ignore[index]
        assert "rows held out repeat a training row (0% is usual)" in run.waiting_for
        assert found["twins"] == found["held_out"]
        assert run.steps.get(name="train").state == "pending"

    def test_are_asked_about_once(self, world: World, fire: Fire) -> None:
        for day in DAYS:
            world.send_day(day, like=day if day < 10 else day - 3)
        first = started(fire)
        services.approve(run=first, actor=ADA)
        first = gone_on(first)
        assert (first.needs, first.approved_by) == ("traffic", "")
        assert evidence(first)["approved_by"] == ADA
        services.cancel(run=first, actor=ADA)

        second = started(fire, day=DAYS[-1] + 2, kind="still_firing")

        assert (second.state, second.needs) == ("waiting", "traffic")

    def test_that_are_few_stop_nothing(self, turned_world: World, fire: Fire) -> None:
        run = started(fire, day=9)
        assert run.needs == "traffic"
        assert evidence(run)["twins"] == 0


def judge_rows(world: World) -> None:
    """Build the reference and measure what was sent, as workers do."""
    build_reference(Reference.objects.get(model=world.model).pk)
    work(world.model)


class TestBrokenFeatures:
    def test_of_the_newest_rows_stop_the_run_by_name(self, world: World, fire: Fire) -> None:
        for day in DAYS:
            world.send_day(day, without_wind=0.6 if day >= 10 else 0.0)
        judge_rows(world)

        run = started(fire)

        assert (run.state, run.needs) == ("waiting", "person")
        assert run.waiting_for.startswith("a person to judge the data: wind is broken since ")
        (doubt,) = evidence(run)["doubts"]  # type: ignore[misc]
        assert "missing" in doubt
        assert doubt.endswith("600 of the rows are of that time")

    def test_that_are_sound_again_stop_nothing(self, world: World, fire: Fire) -> None:
        for day in DAYS:
            world.send_day(day, without_wind=0.6 if day == 7 else 0.0)
        judge_rows(world)

        assert started(fire).needs == "traffic"


@pytest.mark.slow
class TestLeaks:
    def test_name_the_feature_that_knew_the_answer_and_stop_the_promotion(
        self, world: World, fire: Fire
    ) -> None:
        for day in DAYS:
            world.send_day(day, leaks=True)
        run = started(fire)
        assert run.needs == "traffic"
        for day in range(
            13, 18
        ):  # what callers send knows no answer; the truth turned, so the challenger is better
            world.send_day(day)

        run = gone_on(run)

        assert (run.state, run.needs) == ("waiting", "person"), run.verdict
        assert run.waiting_for.startswith(
            "a person to judge a leak: load knows the answer in the training rows only"
        )
        assert evidence(run, "gate")["leak"]["feature"] == "load"  # type: ignore[index]
        assert Deployment.objects.get(model=run.model).champion == run.champion

    def test_are_not_seen_where_the_rows_stay_as_they_were(self, turned_world: World, fire: Fire) -> None:
        run = started(fire, day=9)
        for day in (11, 12):
            turned_world.send_day(day)
        assert gone_on(run).state == "promoted"


@pytest.mark.slow
class TestWrongLabels:
    def test_a_fifth_of_them_flipped_promotes_nothing_by_itself(self, world: World, fire: Fire) -> None:
        for day in DAYS:
            world.send_day(day, turned=False, flipped=0.2)
        run = started(fire)
        assert run.needs == "traffic"
        for day in range(13, 19):
            world.send_day(day, turned=False, flipped=0.2)
            run = gone_on(run)

        assert (run.state, run.needs) == ("waiting", "person"), run.verdict
        assert run.waiting_for.startswith("a person to judge the labels: they contradict the champion on ")
        assert Deployment.objects.get(model=run.model).champion == run.champion
