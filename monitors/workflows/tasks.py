"""Celery entry points of workflows."""

from celery import shared_task

from driftline.common.clock import now
from driftline.common.task_queue import Task
from monitors.workflows import engine, services
from monitors.workflows.mlflow import following
from monitors.workflows.remote import snapshot_store, stopping
from monitors.workflows.triggers import due_runs


@shared_task(name=Task.START_WORKFLOW)
def workflow(*, transition_id: int, **_: object) -> None:
    services.handle_transition(transition_id)


@shared_task(name=Task.ADVANCE_RUN)
def advance(*, run_id: int, **_: object) -> None:
    """Take a run on through its short steps; the long ones have their turn in `driftline.long_work`."""
    engine.advance(run_id=run_id, has_turn=False)


@shared_task(name=Task.START_DUE_RUNS)
def start_due_runs() -> None:
    due_runs.start_due_runs(now())


@shared_task(name=Task.STOP_PIPELINE)
def stop_pipeline(*, training_id: int, **_: object) -> None:
    stopping.stop_pipeline(training_id)


@shared_task(name=Task.POLL_MLFLOW)
def poll_mlflow(*, connection_id: int, **_: object) -> None:
    following.poll(connection_id)


@shared_task(name=Task.REMOVE_PARTS)
def remove_parts(*, training_id: int, **_: object) -> None:
    snapshot_store.remove_due_parts(training_id)
