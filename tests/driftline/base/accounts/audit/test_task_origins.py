"""What a worker does is recorded under the request or the run that it does it for."""

from dataclasses import dataclass
from typing import Any

import pytest
from celery import signals

from driftline.base.accounts.audit.origin import Origin, acting_from, current_origin
from driftline.base.accounts.audit.task_origins import HEADER


@dataclass(eq=False)
class StubTask:
    """As much of a task as the signals hand on."""

    request: dict[str, Any]
    name: str = "test"


def correlation_in_task(asked: dict[str, Any], **arguments: Any) -> str:
    """Begin and end a task as Celery does; gives the correlation of what it does meanwhile."""
    task = StubTask(asked)
    signals.task_prerun.send(sender=task, task_id="t-1", task=task, args=(), kwargs=arguments)
    within = current_origin().correlation
    signals.task_postrun.send(sender=task, task_id="t-1", task=task, args=(), kwargs=arguments)
    return within


def test_a_ring_carries_the_request_to_the_worker() -> None:
    headers: dict[str, Any] = {}
    with acting_from(Origin(address="192.0.2.7", correlation="asked")):
        signals.before_task_publish.send(sender="test", headers=headers, body=())

    assert headers == {HEADER: "asked"}
    assert correlation_in_task(headers) == "asked"


@pytest.mark.parametrize(
    ("asked", "arguments", "expected"),
    [({}, {}, "task-t-1"), ({HEADER: "asked"}, {"run_id": 7}, "run-7"), ({}, {"model_id": 7}, "task-t-1")],
)
def test_a_task_names_its_run_else_who_asked_else_itself(
    asked: dict[str, Any], arguments: dict[str, Any], expected: str
) -> None:
    assert correlation_in_task(asked, **arguments) == expected
    assert current_origin() == Origin()


def test_a_ring_outside_a_request_carries_nothing() -> None:
    headers: dict[str, Any] = {}

    signals.before_task_publish.send(sender="test", headers=headers, body=())

    assert headers == {}
