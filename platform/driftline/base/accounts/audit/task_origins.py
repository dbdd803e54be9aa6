"""Carries where an act comes from into Celery tasks, so that what a worker does is found beside what asked for it."""

from contextlib import AbstractContextManager
from typing import Any

from celery import signals

from driftline.base.accounts.audit.origin import (
    MAX_CORRELATION_CHARACTERS,
    Origin,
    acting_from,
    current_origin,
)

HEADER = "driftline_correlation"

_under_way: dict[
    str, AbstractContextManager[None]
] = {}  # by the task's id; a worker process runs one at a time


@signals.before_task_publish.connect
def _pass_on(headers: dict[str, Any] | None = None, **_: object) -> None:
    correlation = current_origin().correlation
    if correlation and headers is not None:
        headers[HEADER] = correlation


@signals.task_prerun.connect
def _begin(task_id: str, task: Any, kwargs: dict[str, Any] | None = None, **_: object) -> None:
    acting = acting_from(Origin(correlation=_correlation_of(task_id, task, kwargs or {})))
    acting.__enter__()
    _under_way[task_id] = acting


@signals.task_postrun.connect
def _end(task_id: str, **_: object) -> None:
    acting = _under_way.pop(task_id, None)
    if acting is not None:
        acting.__exit__(None, None, None)


def _correlation_of(task_id: str, task: Any, arguments: dict[str, Any]) -> str:
    """Name the run that the task works on, else the request that enqueued it, else the task itself."""
    if "run_id" in arguments:
        return f"run-{arguments['run_id']}"
    correlation = task.request.get(HEADER)
    return str(correlation or f"task-{task_id}")[:MAX_CORRELATION_CHARACTERS]
