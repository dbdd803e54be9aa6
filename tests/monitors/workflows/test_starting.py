"""Which transitions start a run, and which only leave a reason."""

import pytest

from driftline.base.accounts.models import AuditEntry
from driftline.base.errors import Problem
from inference.registry.models import Model, Version
from monitors.rules.models import Rule, RuleState, Transition
from monitors.workflows import services
from monitors.workflows.engine import advance
from monitors.workflows.models import Run, Workflow
from monitors.workflows.schemas import WorkflowOut
from monitors.workflows.starting import starts
from tests.monitors.workflows.conftest import Fire
from tests.worlds.turning_flights import DAY, FIRST_DAY, World


def reason() -> str:
    return AuditEntry.objects.filter(action="run.not_started").latest("pk").after["code"]


def broken_data(model: Model, fire: Fire, *, severity: str = "critical") -> None:
    rule = Rule.objects.create(
        project=model.project,
        model=model,
        name="gaps",
        metric="missing_share",
        threshold=0.5,
        cooldown=DAY,
        notify_within=DAY,
        severity=severity,
    )
    RuleState.objects.create(rule=rule, standing="firing", judged_until=FIRST_DAY + 9 * DAY)


class TestTransition:
    @pytest.mark.slow
    def test_starts_a_run_with_its_steps_and_names_the_rule(self, model: Model, fire: Fire) -> None:
        transition = fire()

        run = starts.handle_transition(transition.pk)

        assert run is not None
        assert run.transition == transition
        assert run.trigger == "rule log loss, retrain"
        assert run.data_until == transition.window_end
        assert [step.name for step in run.steps.order_by("position")] == [
            "snapshot", "check_labels", "check_data", "train", "convert", "validate", "register", "shadow", "gate",
            "rollout", "promote", "watch",
        ]  # fmt: skip
        assert run.needs == ""

    @pytest.mark.slow
    def test_handled_twice_starts_one_run(self, model: Model, fire: Fire) -> None:
        transition = fire()

        starts.handle_transition(transition.pk)
        starts.handle_transition(transition.pk)

        assert Run.objects.count() == 1

    @pytest.mark.parametrize(("kind", "action"), [("resolved", "retrain"), ("opened", "notify")])
    def test_that_asks_for_no_run_is_only_marked_done(
        self, model: Model, fire: Fire, kind: str, action: str
    ) -> None:
        transition = fire(kind, action=action)

        assert starts.handle_transition(transition.pk) is None

        transition.refresh_from_db()
        assert transition.workflows_done_at is not None
        assert not AuditEntry.objects.filter(action="run.not_started").exists()

    @pytest.mark.slow
    def test_is_left_to_a_person_when_autonomy_is_suggest(self, model: Model, fire: Fire) -> None:
        model.autonomy = "suggest"
        model.save()

        assert starts.handle_transition(fire().pk) is None

        assert reason() == "suggested_only"
        assert not Transition.objects.filter(workflows_done_at=None).exists()

    @pytest.mark.slow
    def test_joins_the_run_that_is_under_way(self, model: Model, fire: Fire) -> None:
        services.configure_workflow(model=model, actor="ada", max_runs_a_day=5)
        starts.handle_transition(fire().pk)

        assert starts.handle_transition(fire("still_firing", day=10).pk) is None

        assert Run.objects.count() == 1
        assert reason() == "run_active"

    @pytest.mark.slow
    def test_starts_no_more_runs_a_day_than_the_workflow_allows(self, model: Model, fire: Fire) -> None:
        first = starts.handle_transition(fire().pk)
        assert first is not None
        services.cancel(run=first, actor="ada")

        assert starts.handle_transition(fire("still_firing").pk) is None
        assert reason() == "daily_cap"
        assert starts.handle_transition(fire("still_firing", day=10).pk) is not None

    def test_starts_none_while_critical_data_quality_fires(self, model: Model, fire: Fire) -> None:
        broken_data(model, fire)

        assert starts.handle_transition(fire().pk) is None

        assert reason() == "broken_data"

    @pytest.mark.slow
    def test_starts_one_while_data_quality_only_warns(self, model: Model, fire: Fire) -> None:
        broken_data(model, fire, severity="warning")

        assert starts.handle_transition(fire().pk) is not None

    @pytest.mark.slow
    def test_starts_one_when_the_broken_data_lie_before_the_training_window(
        self, model: Model, fire: Fire
    ) -> None:
        broken_data(model, fire)
        services.configure_workflow(model=model, actor="ada", training_days=2)

        assert starts.handle_transition(fire(day=12).pk) is not None

    @pytest.mark.slow
    def test_needs_a_champion_with_an_artifact(self, model: Model, fire: Fire) -> None:
        model.deployment.champion = Version.objects.create(model=model, version="theirs")
        model.deployment.save()

        assert starts.handle_transition(fire().pk) is None

        assert reason() == "version_has_no_artifact"


class TestPerson:
    @pytest.mark.slow
    def test_starts_a_run_on_the_newest_data(self, world: World) -> None:
        world.send_day(5, rows=10)

        run = starts.start_run(model=world.model, trigger="ada@example.com", actor="ada@example.com")

        assert FIRST_DAY + 5 * DAY < run.data_until < FIRST_DAY + 6 * DAY

    @pytest.mark.slow
    def test_cannot_start_a_run_on_broken_data_either(self, world: World, fire: Fire) -> None:
        world.send_day(5, rows=10)
        broken_data(world.model, fire)

        with pytest.raises(starts.UnableToStart, match="Rule gaps says that the data") as refusal:
            starts.start_run(model=world.model, trigger="ada", actor="ada")

        assert refusal.value.code == "broken_data"
        assert not Run.objects.exists()

    @pytest.mark.slow
    def test_cannot_start_a_second_run(self, world: World) -> None:
        world.send_day(5, rows=10)
        starts.start_run(model=world.model, trigger="ada", actor="ada")

        with pytest.raises(Problem) as refusal:
            starts.start_run(model=world.model, trigger="ada", actor="ada")

        assert (refusal.value.status, refusal.value.code) == (409, "run_active")

    @pytest.mark.slow
    def test_cannot_approve_a_run_that_waits_for_nobody(self, model: Model, fire: Fire) -> None:
        run = starts.handle_transition(fire().pk)
        assert run is not None

        with pytest.raises(Problem, match="nobody has to approve"):
            services.approve(run=run, actor="ada")

    @pytest.mark.slow
    def test_cannot_end_a_run_twice(self, model: Model, fire: Fire) -> None:
        run = starts.handle_transition(fire().pk)
        assert run is not None
        services.cancel(run=run, actor="ada")

        with pytest.raises(Problem, match="is cancelled already"):
            services.reject(run=run, actor="ada")

    @pytest.mark.slow
    def test_learns_how_many_rows_are_missing(self, model: Model, fire: Fire) -> None:
        services.configure_workflow(model=model, actor="ada", min_training_rows=5000)
        run = starts.handle_transition(fire().pk)
        assert run is not None

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "failed"
        assert run.steps.get(name="snapshot").error.startswith("1,000 labelled rows up to ")


class TestWorkflowSettings:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"trainer": "rm -rf"}, "/workflow/trainer"),
            ({"pairs": 0}, "/workflow/pairs"),
            ({"pairs": True}, "/workflow/pairs"),
            ({"pairs": 2000, "max_pairs": 100}, "/workflow/max_pairs"),
            ({"training_days": "7"}, "/workflow/training_days"),
            ({"parameters": []}, "/workflow/parameters"),
            ({"gate": {"objective": "f1"}}, "/workflow/gate/objective"),
            ({"gate": {"colour": 1}}, "/workflow/gate/colour"),
            ({"colour": 1}, "/workflow/colour"),
        ],
    )
    def test_refuses_what_makes_no_sense_and_names_the_field(
        self, model: Model, changes: dict[str, object], pointer: str
    ) -> None:
        with pytest.raises(Problem) as refusal:
            services.configure_workflow(model=model, actor="ada", **changes)

        assert refusal.value.errors[0].pointer == pointer

    def test_can_be_read_back(self, model: Model) -> None:
        services.configure_workflow(model=model, actor="ada", pairs=700, gate={"objective": "roc_auc"})

        described = WorkflowOut.of(Workflow.of(model))

        assert (described.pairs, described.max_pairs, described.gate) == (700, 1500, {"objective": "roc_auc"})
