"""Celery entry points of workflows."""

from celery import shared_task

from driftline.common.clock import now
from driftline.common.task_queue import Task
from monitors.workflows import engine, services, triggers


@shared_task(name=Task.START_WORKFLOW)
def workflow(*, transition_id: int, **_: object) -> None:
    services.handle_transition(transition_id)


@shared_task(name=Task.ADVANCE_RUN)
def advance(*, run_id: int, **_: object) -> None:
    """Take a run on through its short steps; the long ones have their turn in `driftline.long_work`."""
    engine.advance(run_id=run_id, has_turn=False)


@shared_task(name=Task.START_DUE_RUNS)
def start_due_runs() -> None:
    triggers.start_due_runs(now())
