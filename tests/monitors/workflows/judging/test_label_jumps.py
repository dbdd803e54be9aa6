"""A run pauses when the labels stop coming as they always came: a class, a token, or their number."""

from collections.abc import Callable
from datetime import date, timedelta

import msgspec
import pytest

from inference.registry.models import Deployment
from inference.signatures import Signature
from monitors.workflows import selectors, services
from monitors.workflows.engine import advance
from monitors.workflows.judging.label_jumps import LabelCounts, count_labels, find_jumps
from monitors.workflows.models import Run
from monitors.workflows.schemas import RunOut
from monitors.workflows.starting import starts
from monitors.workflows.steps.check_labels import NEWEST
from tests.monitors.workflows.conftest import Fire
from tests.worlds.turning_flights import DAY, FIRST_DAY, World

pytestmark = pytest.mark.slow

Tell = Callable[..., None]
HISTORY = range(5, 12)
NEW_DAYS = range(12, 19)
LAST_DAY = NEW_DAYS[-1]


@pytest.fixture
def usual_world(world: World) -> World:
    """A week of labels that one token told, after the five days of the reference."""
    for day in HISTORY:
        world.send_day(day, rows=60)
    return world


def started(fire: Fire, *, day: int = LAST_DAY, kind: str = "opened") -> Run:
    run = starts.handle_transition(fire(kind, day=day).pk)
    assert run is not None
    return gone_on(run)


def gone_on(run: Run) -> Run:
    advance(run_id=run.pk)
    run.refresh_from_db()
    return run


def states(run: Run) -> dict[str, str]:
    return {step.name: step.state for step in run.steps.all()}


class TestBeforeTraining:
    def test_a_jump_of_a_class_pauses_the_run_also_when_autonomy_is_auto(
        self, usual_world: World, fire: Fire
    ) -> None:
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60, always="late")

        run = started(fire)

        assert (run.state, run.needs) == ("waiting", "person")
        assert run.waiting_for.startswith(
            "a person to judge the labels: late is 100% of the 420 labels since "
        )
        assert (states(run)["check_labels"], states(run)["train"]) == ("waiting", "pending")
        (jump,) = run.steps.get(name="check_labels").evidence["jumps"]
        assert (jump["kind"], jump["name"], jump["now"]) == ("class", "late", 1.0)
        assert 0.4 < jump["before"] < 0.6

    def test_a_jump_of_one_tokens_share_pauses_it(self, usual_world: World, fire: Fire) -> None:
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60, source="dl_stranger" if day > 14 else "test")

        run = started(fire)

        assert (run.state, run.needs) == ("waiting", "person")
        jumps = run.steps.get(name="check_labels").evidence["jumps"]
        assert {(jump["kind"], jump["name"]) for jump in jumps} == {
            ("token", "dl_stranger"),
            ("token", "test"),
        }
        assert "sent 57% of the 420 labels since" in {j["name"]: j["sentence"] for j in jumps}["dl_stranger"]

    def test_far_more_labels_than_usual_pause_it(self, world: World, fire: Fire) -> None:
        for day in (*HISTORY, *NEW_DAYS):
            world.send_day(day, rows=400, labelled=0.95 if day in NEW_DAYS else 0.1)

        run = started(fire)

        assert (run.state, run.needs) == ("waiting", "person")
        assert "95% of 2,800 predictions have a label" in run.waiting_for

    def test_labels_that_come_as_always_pause_nothing(self, usual_world: World, fire: Fire) -> None:
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60, labelled=0.4)

        run = started(fire)

        assert (run.state, run.needs) == ("waiting", "traffic")
        assert run.steps.get(name="check_labels").evidence["jumps"] == []

    def test_a_person_lets_it_go_on_and_has_not_approved_the_promotion_by_that(
        self, usual_world: World, fire: Fire
    ) -> None:
        usual_world.model.autonomy = "approve"
        usual_world.model.save()
        services.configure_workflow(
            model=usual_world.model, actor="ada", training_days=14
        )  # without the old truth
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60, source="dl_rotated")
        run = started(fire)
        services.approve(run=run, actor="ada@example.com")

        run = gone_on(run)

        assert (run.state, run.needs, run.approved_by) == ("waiting", "traffic", "")
        assert run.steps.get(name="check_labels").evidence["approved_by"] == "ada@example.com"
        for day in (20, 21):
            usual_world.send_day(day, source="dl_rotated")
        run = gone_on(run)
        assert run.waiting_for == "a person to approve the promotion"
        assert Deployment.objects.get(model=run.model).champion == run.champion

    def test_a_person_ends_it_and_nothing_was_trained(self, usual_world: World, fire: Fire) -> None:
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60, always="late")
        run = started(fire)

        services.reject(run=run, actor="ada@example.com", reason="the labels are wrong")

        assert Run.objects.get().state == "rejected"
        assert run.model.versions.count() == 1

    @pytest.mark.e2e
    def test_the_next_run_does_not_ask_again_what_a_person_has_approved(
        self, usual_world: World, fire: Fire
    ) -> None:
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60, source="dl_rotated")
        first = started(fire)
        services.approve(run=first, actor="ada@example.com")
        services.cancel(run=gone_on(first), actor="ada@example.com")

        second = started(fire, day=LAST_DAY + 2, kind="still_firing")

        assert (second.state, second.needs) == ("waiting", "traffic")


class TestBeforePromoting:
    @pytest.mark.e2e
    def test_pairs_whose_labels_jumped_are_judged_by_a_person(self, usual_world: World, fire: Fire) -> None:
        for day in NEW_DAYS:
            usual_world.send_day(day, rows=60)
        run = started(fire)
        assert run.needs == "traffic"
        for day in (20, 21, 22):
            usual_world.send_day(day, source="dl_stranger")

        run = gone_on(run)

        assert (run.state, run.needs) == ("waiting", "person")
        assert "dl_stranger sent 94% of the 960 labels" in run.waiting_for
        assert run.verdict["decision"] == "promote"
        assert Deployment.objects.get(model=run.model).champion == run.champion
        services.approve(run=run, actor="ada@example.com")
        run = gone_on(run)
        described = RunOut.of(selectors.get_run(model=run.model, run_id=run.pk))
        assert run.state == "promoted", described
        assert run.approved_by == "ada@example.com"


class TestCountLabels:
    def test_counts_what_callers_were_answered_before_a_moment(self, world: World) -> None:
        deployment = world.model.deployment
        deployment.refresh_from_db()
        assert deployment.champion is not None
        deployment.shadows.add(deployment.champion)
        for day in (5, 6, 7):
            world.send_day(day, rows=60)
        signature = msgspec.convert(deployment.champion.signature, Signature)

        counts = count_labels(
            world.model, signature, until=FIRST_DAY + 6 * DAY + DAY / 2, since=FIRST_DAY.date()
        )

        whole, begun = (FIRST_DAY + 5 * DAY).date(), (FIRST_DAY + 6 * DAY).date()
        assert counts.predictions == {whole: 60, begun: pytest.approx(30, abs=1)}
        assert counts.by_token == {whole: {"test": 60}, begun: {"test": 30}}


class TestFindJumps:
    def test_splits_the_labels_of_a_regression_at_their_median(self) -> None:
        first, since = date(2026, 1, 1), date(2026, 1, 21)
        days = {first + timedelta(days=n): {"a high value": 50, "": 50} for n in range(20)}
        days |= {since + timedelta(days=n): {"a high value": 96, "": 4} for n in range(NEWEST.days)}
        signature = Signature(
            features=[], inputs=[], outputs=[], prediction_output=None, probabilities_output=None, classes=[],
            positive_class=None, missing={}, task="regression",
        )  # fmt: skip

        (jump,) = find_jumps(LabelCounts(by_class=days), signature, since=since)

        assert jump.sentence == "a high value is 96% of the 700 labels since 21 Jan 2026, 50% before"
