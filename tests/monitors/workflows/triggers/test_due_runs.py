"""Runs that start by a schedule or by new labels: each once, within the budget, and with a reason where none starts."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from driftline.base.accounts.models import AuditEntry
from driftline.base.errors import Problem
from inference.registry.models import Dataset, Model
from monitors.definitions.models import Reference
from monitors.summaries.services import summarise
from monitors.workflows import services
from monitors.workflows.models import Run, Workflow
from monitors.workflows.starting import starts
from monitors.workflows.triggers.due_runs import new_labels, start_due_runs, what_would_happen
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.slow

TICKS = int(os.environ.get("DRIFTLINE_CRON_TICKS", "12"))
HOUR = timedelta(hours=1)
DUE = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def watched(world: World) -> World:
    world.send_day(5, rows=40)
    return world


def configure(model: Model, **changes: object) -> Workflow:
    services.configure_workflow(model=model, actor="ada", max_runs_a_day=10_000, **changes)
    return Workflow.objects.get(model=model)


def next_start(model: Model) -> datetime:
    due = Workflow.objects.get(model=model).next_start_at
    assert due is not None
    return due


def end_all() -> None:
    for run in Run.objects.filter(finished_at=None):
        services.cancel(run=run, actor="ada")


def start_in_thread(at: datetime) -> int:
    try:
        return len(start_due_runs(at))
    finally:
        connection.close()


def replace_reference(model: Model) -> Reference:
    """Give the champion a reference in the place of the one that it has, or of a first one."""
    champion = model.deployment.champion
    built = champion.references.filter(state=Reference.State.READY)
    for _ in range(1 if built.exists() else 2):
        champion.references.update(is_active=False)
        file = Dataset.objects.create(
            model=model, version=champion, kind="reference", path="r", rows=1, columns=[]
        )
        reference = Reference.objects.create(
            model=model, version=champion, dataset=file, state=Reference.State.READY, is_active=True
        )
    return reference


def refusals() -> list[str]:
    return [
        entry.after["code"] for entry in AuditEntry.objects.filter(action="run.not_started").order_by("pk")
    ]


class TestSchedule:
    def test_starts_one_run_at_each_tick_though_two_schedulers_look(self, watched: World) -> None:
        model = watched.model
        configure(model, schedule="0 * * * *")

        with ThreadPoolExecutor(2) as schedulers:
            for _ in range(TICKS):
                due = next_start(model)
                started = list(schedulers.map(start_in_thread, [due, due]))
                assert sum(started) == 1
                assert next_start(model) == due + HOUR
                end_all()

        assert Run.objects.count() == TICKS

    def test_starts_nothing_before_it_is_due_and_one_for_all_that_was_missed(self, watched: World) -> None:
        model = watched.model
        configure(model, schedule="0 * * * *")
        due = next_start(model)

        assert start_due_runs(due - timedelta(seconds=1)) == []
        [run] = start_due_runs(due + 30 * HOUR)

        assert run.trigger == "schedule 0 * * * * (UTC)"
        assert next_start(model) == due + 31 * HOUR

    def test_that_meets_a_run_under_way_says_so_and_waits_for_its_next_time(self, watched: World) -> None:
        model = watched.model
        configure(model, schedule="0 * * * *")
        starts.start_run(model=model, trigger="ada", actor="ada")

        assert start_due_runs(next_start(model)) == []

        assert refusals() == ["run_active"]
        assert Run.objects.count() == 1

    def test_keeps_to_the_budget_the_cooldown_and_the_autonomy(self, watched: World) -> None:
        model = watched.model
        configure(model, schedule="0 * * * *", cooldown_hours=2)
        start_due_runs(next_start(model))
        end_all()

        start_due_runs(next_start(model))
        services.configure_workflow(model=model, actor="ada", cooldown_hours=0, max_runs_a_day=1)
        start_due_runs(next_start(model))
        Model.objects.update(autonomy="suggest")
        start_due_runs(next_start(model))

        assert refusals() == ["cooldown", "daily_cap", "suggested_only"]
        assert Run.objects.count() == 1

    def test_is_not_held_up_by_the_cooldown_of_a_run_by_hand(self, watched: World) -> None:
        model = watched.model
        configure(model, schedule="0 * * * *", cooldown_hours=2)
        starts.start_run(model=model, trigger="ada", actor="ada")
        end_all()

        assert len(start_due_runs(next_start(model))) == 1

    def test_is_taken_back_by_an_empty_one(self, watched: World) -> None:
        configure(watched.model, schedule="0 * * * *")

        configure(watched.model, schedule="")

        assert Workflow.objects.get().next_start_at is None
        assert start_due_runs(datetime(2040, 1, 1, tzinfo=UTC)) == []

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"schedule": "daily"}, "/workflow/schedule"),
            ({"schedule": "0 0 30 2 *"}, "/workflow/schedule"),
            ({"schedule": "0 3 * * *", "schedule_zone": "Mars/Olympus"}, "/workflow/schedule_zone"),
            ({"every_labels": 0}, "/workflow/every_labels"),
            ({"cooldown_hours": -1}, "/workflow/cooldown_hours"),
        ],
    )
    def test_that_is_none_is_refused(self, model: Model, changes: dict[str, object], pointer: str) -> None:
        with pytest.raises(Problem) as refused:
            services.configure_workflow(model=model, actor="ada", **changes)

        assert refused.value.errors[0].pointer == pointer


class TestNewLabels:
    def test_start_a_run_once_so_many_have_come_that_no_run_has_learnt_from(self, watched: World) -> None:
        model = watched.model
        workflow = configure(model, every_labels=100)
        watched.send_day(6, rows=90)
        summarise(model.pk)
        assert start_due_runs(datetime.now(UTC)) == []
        watched.send_day(7, rows=20)
        summarise(model.pk)

        [run] = start_due_runs(datetime.now(UTC))

        assert run.trigger == "110 new labelled rows"
        run.steps.filter(name="train").update(state="done")
        end_all()
        assert start_due_runs(datetime.now(UTC)) == [], "the run learnt from them"
        assert new_labels(workflow) == 0

    def test_that_cannot_start_one_rest_for_a_day(self, watched: World) -> None:
        model = watched.model
        configure(model, every_labels=10)
        watched.send_day(6, rows=90)
        summarise(model.pk)
        Model.objects.update(autonomy="suggest")
        at = datetime.now(UTC)

        for minutes in (0, 10, 20):
            start_due_runs(at + timedelta(minutes=minutes))

        assert refusals() == ["suggested_only"]
        Model.objects.update(autonomy="auto")
        assert len(start_due_runs(at + timedelta(days=1))) == 1


def test_the_page_says_what_would_happen(watched: World) -> None:
    model = watched.model
    configure(model, schedule="0 * * * *", every_labels=500)

    ready = what_would_happen(model)
    starts.start_run(model=model, trigger="ada", actor="ada")
    busy = what_would_happen(model)

    assert ready[0].startswith("A run that starts now learns from labelled rows up to ")
    assert ready[1].startswith("The schedule starts the next one at ")
    assert ready[2] == "0 of 500 new labelled rows have come that start one."
    assert busy[0] == f"No run can start now: {model} has a run under way; wait for it or cancel it."


class TestNewReference:
    def test_starts_one_run_when_it_takes_the_place_of_another(self, watched: World) -> None:
        model = watched.model
        configure(model, on_new_reference=True)
        assert start_due_runs(DUE) == []

        replace_reference(model)

        with ThreadPoolExecutor(2) as schedulers:
            started = list(schedulers.map(start_in_thread, [DUE, DUE]))
        assert sum(started) == 1
        assert Run.objects.get().trigger == "a new reference of the champion"
        end_all()
        assert start_due_runs(DUE) == []

    def test_starts_none_for_one_that_was_there_before(self, watched: World) -> None:
        replace_reference(watched.model)
        configure(watched.model, on_new_reference=True)

        assert start_due_runs(DUE) == []

    def test_starts_none_for_what_a_run_stored_with_its_promotion(self, watched: World) -> None:
        model = watched.model
        configure(model, on_new_reference=True)
        reference = replace_reference(model)
        run = Run.objects.create(
            model=model, champion=reference.version, data_until=DUE, trigger="ada", state="promoted"
        )
        run.steps.create(position=11, name="promote", evidence={"reference": reference.dataset_id})

        assert start_due_runs(DUE) == []
