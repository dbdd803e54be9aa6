"""A whole run with real data, trainers, intake and PostgreSQL."""

from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from driftline.base.accounts.models import AuditEntry
from inference.registry.deployments import rollback
from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset, Deployment
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.feed.models import FeedEvent
from monitors.rules.models import Transition
from monitors.workflows import selectors, services
from monitors.workflows.context import run_folder
from monitors.workflows.engine import advance
from monitors.workflows.models import Run
from monitors.workflows.schemas import RunOut
from monitors.workflows.starting import starts
from tests.monitors.workflows.conftest import Fire, firing
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow


def started(fire: Callable[[], Transition]) -> Run:
    run = starts.handle_transition(fire().pk)
    assert run is not None
    advance(run_id=run.pk)
    run.refresh_from_db()
    return run


def run_on_too_few_rows(world: World, fire: Fire) -> Run:
    """A run in a world that stayed as it was, with less to learn from than the champion had."""
    services.configure_workflow(model=world.model, actor="ada", training_days=3)
    for day in range(5, 10):
        world.send_day(day, turned=False)
    return started(fire)


class TestRunOfAModelWhoseWorldTurned:
    def test_retrains_shadows_and_promotes_by_itself_when_autonomy_is_auto(
        self, turned_world: World, fire: Fire
    ) -> None:
        run = started(fire)
        assert (run.state, run.needs, run.waiting_for) == ("waiting", "traffic", "0 of 500 labelled pairs")
        turned_world.send_day(11)
        services.wake_runs(run.model)
        run.refresh_from_db()
        assert run.waiting_for == "300 of 500 labelled pairs"
        turned_world.send_day(12)
        services.wake_runs(run.model)
        run.refresh_from_db()
        assert run.needs == ""

        advance(run_id=run.pk)

        run.refresh_from_db()
        described = RunOut.of(selectors.get_run(model=run.model, run_id=run.pk))
        steps = {step.name: step for step in described.steps}
        assert run.state == "promoted", described
        assert all(step.state == "done" and step.attempts == 1 for step in described.steps)
        assert (described.champion, described.challenger) == ("1", "2")
        assert steps["snapshot"].evidence["from_log"] == 1500
        assert steps["snapshot"].evidence["from_reference"] == 1000
        assert steps["validate"].evidence["metrics"]["log_loss"]["difference"] < 0
        gate = steps["gate"].evidence["comparison"]["metrics"]["log_loss"]
        assert gate["upper"] < 0
        assert gate["difference"] < 0
        assert run.verdict["decision"] == "promote"
        deployment = Deployment.objects.get(model=run.model)
        assert (deployment.champion.version, deployment.previous.version) == ("2", "1")
        assert not deployment.shadows.exists()
        reference = Dataset.objects.get(version=run.challenger, kind="reference")
        assert reference.rows == steps["snapshot"].evidence["training_rows"]
        table = pq.read_table(path_of(reference))
        assert table["probability"].null_count == 0
        assert 0.05 < table["carrier"].null_count / reference.rows < 0.15
        assert not run_folder(run.pk).exists()
        lineage = run.challenger.lineage
        assert (lineage["run"], lineage["trigger"], lineage["parent"]) == (run.pk, run.trigger, "1")
        assert lineage["trainer"] == "sklearn_logistic_regression"
        assert lineage["data"]["training_rows"] == reference.rows
        assert lineage["data"]["sha256"] == steps["snapshot"].evidence["sha256"]
        assert lineage["libraries"].keys() >= {"scikit-learn", "onnx"}

    def test_promotes_a_challenger_that_takes_the_champions_one_tensor(self, table_world: World) -> None:
        run = started(firing(table_world.model))
        for day in (11, 12):
            table_world.send_day(day)

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "promoted", RunOut.of(run)
        for side in ("inputs", "outputs", "classes", "features"):
            assert run.challenger.signature[side] == run.champion.signature[side]
        assert run.challenger.signature["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]

    def test_waits_for_a_person_when_autonomy_is_approve(self, turned_world: World, fire: Fire) -> None:
        turned_world.model.autonomy = "approve"
        turned_world.model.save()
        build_reference(Reference.objects.get(model=turned_world.model).pk)
        run = started(fire)
        for day in (11, 12):
            turned_world.send_day(day)

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert (run.state, run.needs) == ("waiting", "person")
        assert Deployment.objects.get(model=run.model).champion == run.champion
        waiting = FeedEvent.objects.get(kind="run.waiting_for_approval")
        assert waiting.text == f"flight-delay: run {run.pk} waits for a person to approve the promotion"
        assert waiting.data["run"]["verdict"]["decision"] == "promote"
        advance(run_id=run.pk)
        assert FeedEvent.objects.filter(kind="run.waiting_for_approval").count() == 1
        services.approve(run=run, actor="ada@example.com")
        advance(run_id=run.pk)
        run.refresh_from_db()
        assert (run.state, run.approved_by) == ("promoted", "ada@example.com")
        assert Deployment.objects.get(model=run.model).champion == run.challenger
        assert list(
            FeedEvent.objects.filter(kind__startswith="run.").order_by("pk").values_list("kind", flat=True)
        ) == ["run.started", "run.waiting_for_approval", "run.promoted"]
        audited = set(AuditEntry.objects.values_list("action", flat=True))
        assert {"run.start", "run.approve", "run.promoted", "deployment.promote"} <= audited
        rebased = AuditEntry.objects.get(action="reference.rebase")
        assert (rebased.before["version"], rebased.after["version"]) == (
            run.champion.version,
            run.challenger.version,
        )
        rollback(model=run.model, expected_generation=None, actor="ada@example.com", reason="worse")
        rolled_back = FeedEvent.objects.get(kind="run.rolled_back")
        assert rolled_back.subject == f"run-{run.pk}"
        assert rolled_back.data["run"]["reason"] == "worse"

    def test_leaves_the_champion_when_a_person_rejects_the_challenger(
        self, turned_world: World, fire: Fire
    ) -> None:
        run = started(fire)

        services.reject(run=run, actor="ada@example.com", reason="not on a Friday")

        run.refresh_from_db()
        deployment = Deployment.objects.get(model=run.model)
        assert run.state == "rejected"
        assert run.finished_at is not None
        assert deployment.champion == run.champion
        assert not deployment.shadows.exists()
        assert {step.name: step.state for step in run.steps.all()}["gate"] == "skipped"

    def test_rejects_a_challenger_that_is_no_better(self, world: World, fire: Fire) -> None:
        run = run_on_too_few_rows(world, fire)
        assert run.state == "waiting", RunOut.of(run)
        for day in range(11, 17):
            world.send_day(day, turned=False)

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "rejected"
        assert Deployment.objects.get(model=run.model).champion == run.champion
        assert run.verdict["decision"] == "reject"

    def test_rejects_before_the_shadow_what_is_clearly_worse_on_the_newest_rows(
        self, world: World, fire: Fire
    ) -> None:
        services.configure_workflow(model=world.model, actor="ada", training_days=6)
        for day in range(4, 9):
            world.send_day(day, turned=True)
        world.send_day(9, turned=False)

        run = started(fire)

        assert run.state == "rejected"
        assert run.steps.get(name="validate").evidence["metrics"]["log_loss"]["lower"] > 0
        assert run.steps.get(name="register").state == "skipped"
        assert run.model.versions.count() == 1

    @pytest.mark.e2e
    def test_looks_again_with_more_pairs_while_it_cannot_tell(self, world: World, fire: Fire) -> None:
        run = run_on_too_few_rows(world, fire)
        for day in (11, 12):
            world.send_day(day, turned=False)
        advance(run_id=run.pk)
        run.refresh_from_db()

        gate = run.steps.get(name="gate")

        assert (run.state, run.needs) == ("waiting", "traffic")
        assert gate.evidence["wanted"] == 630
        assert len(gate.evidence["looks"]) == 1
        advance(run_id=run.pk)
        gate.refresh_from_db()
        assert len(gate.evidence["looks"]) == 1

    @pytest.mark.e2e
    def test_judges_only_pairs_whose_label_had_its_time(self, turned_world: World, fire: Fire) -> None:
        run = started(fire)
        for day in (11, 12):
            turned_world.send_day(day)
        turned_world.model.objectives = {"label_lag_hours": 24}
        turned_world.model.save()

        services.wake_runs(turned_world.model)

        run.refresh_from_db()
        found, rest = run.waiting_for.split(" of ", 1)
        assert run.state == "waiting"
        assert 290 <= int(found) <= 310
        assert "each counted once its label has had 24 h to arrive" in rest

    @pytest.mark.e2e
    def test_ends_when_somebody_else_changed_the_champion(self, turned_world: World, fire: Fire) -> None:
        run = started(fire)
        deployment = Deployment.objects.get(model=run.model)
        deployment.champion = run.challenger
        deployment.save()

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "cancelled"
        assert "became champion" in AuditEntry.objects.get(action="run.cancelled").after["reason"]

    def test_fails_with_a_sentence_when_the_trainer_is_not_allowed(
        self, turned_world: World, fire: Fire, settings: object
    ) -> None:
        settings.TRAINERS = ["lightgbm"]  # type: ignore[attr-defined]

        run = started(fire)

        assert run.state == "failed"
        assert "not allowed" in run.steps.get(name="train").error

    @pytest.mark.e2e
    def test_learns_each_row_once_when_the_reference_was_made_by_a_run(
        self, turned_world: World, fire: Fire
    ) -> None:
        first = started(fire)
        for day in (11, 12):
            turned_world.send_day(day)
        advance(run_id=first.pk)
        first.refresh_from_db()

        second = started(lambda: fire("still_firing", day=13))

        evidence = second.steps.get(name="snapshot").evidence
        assert second.champion == first.challenger
        assert (evidence["from_log"], evidence["from_reference"]) == (2100, 1000)
