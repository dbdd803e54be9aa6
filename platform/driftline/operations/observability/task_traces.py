"""Spans of Celery tasks, parts of the trace of the API request that enqueued them where Django answered it."""

import os
import time
from typing import Any

from celery import signals
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from inference.serving.tracing.options import TraceOptions
from inference.serving.tracing.spans import Traces, headers_of


class TaskTraces:
    """Listens to Celery; each process makes its own exporter with its first task, as forked ones share no thread."""

    def __init__(self, options: TraceOptions) -> None:
        self._options = options
        self._traces: tuple[int, Traces] | None = None
        self._under_way: dict[str, Span] = {}

    def connect(self) -> None:
        """Listen from now on."""
        signals.before_task_publish.connect(self.pass_on)
        signals.task_prerun.connect(self.begin)
        signals.task_postrun.connect(self.end)
        signals.worker_process_shutdown.connect(self.close)

    def pass_on(self, headers: dict[str, Any], **_: object) -> None:
        """Pass on to the worker which trace the task belongs to."""
        span = trace.get_current_span()
        if span.is_recording():
            headers.update(headers_of(span))

    def begin(self, task_id: str, task: Any, **_: object) -> None:
        """Begin the span of a task."""
        traces = self._of_process()
        parent = traces.parent_of(task.request.get("traceparent"))
        if parent is not None:
            attributes = {"celery.task_id": task_id}
            self._under_way[task_id] = traces.begin(
                task.name, parent, kind=SpanKind.CONSUMER, attributes=attributes, started_ns=time.time_ns()
            )

    def end(self, task_id: str, state: str | None = None, **_: object) -> None:
        """End it with the task's state."""
        span = self._under_way.pop(task_id, None)
        if span is None:
            return
        span.set_attribute("celery.state", state or "")
        if state == "FAILURE":
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self, **_: object) -> None:
        """Send what waits, before Celery ends the process without a clean-up."""
        if self._traces is not None:
            self._traces[1].close()

    def _of_process(self) -> Traces:
        if self._traces is None or self._traces[0] != os.getpid():
            self._traces = os.getpid(), Traces(self._options)
        return self._traces[1]
