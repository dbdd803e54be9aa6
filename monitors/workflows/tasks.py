"""Celery entry points of workflows."""

from celery import shared_task

from driftline.base.clock import now
from driftline.base.work.task_queue import Task
from monitors.workflows import engine
from monitors.workflows.starting import starts
from monitors.workflows.triggers import due_runs


@shared_task(name=Task.START_WORKFLOW)
def workflow(*, transition_id: int, **_: object) -> None:
    starts.handle_transition(transition_id)


@shared_task(name=Task.ADVANCE_RUN)
def advance(*, run_id: int, **_: object) -> None:
    """Take a run on through its short steps; the long ones have their turn in `driftline.operations.long_work`."""
    engine.advance(run_id=run_id, has_turn=False)


@shared_task(name=Task.START_DUE_RUNS)
def start_due_runs() -> None:
    due_runs.start_due_runs(now())
