"""The end of requests that get no answer: the error that the caller gets, and their place in the counts."""

import asyncio
import time
from typing import Any

from inference.runtime.memory import is_memory_taken
from inference.runtime.remote.errors import UpstreamFailed
from inference.runtime.session import first_line
from inference.serving.counts.metrics import ServingMetrics, fault_of
from inference.serving.engine.batch_run import RunEnded
from inference.serving.engine.lanes import Pending
from inference.serving.refusals import Refusal, overloaded, upstream_failed
from inference.serving.responses import Reply
from inference.serving.routing import Route

_TOO_LATE = "The answer was not ready within the time that 'timeout' allows; allow more, or ask again."


class Refuser:
    """Refuses requests, and counts why; belongs to the running event loop."""

    def __init__(self, metrics: ServingMetrics, max_run_seconds: float) -> None:
        self._metrics = metrics
        self._max_run_seconds = max_run_seconds
        self._loop = asyncio.get_running_loop()

    def refuse(self, refusal: Refusal, reply: Reply[Any], route: Route | None = None) -> None:
        """Reply with a refusal; with the route that was asked, it counts among its faults."""
        self._metrics.refusals[refusal.status] += 1
        if route is not None:
            self._metrics.series(*route.labels).faults[refusal.fault or fault_of(refusal.status)] += 1
        reply(refusal)

    def refuse_at_deadline(self, route: Route, pending: Pending, deadline_ns: int) -> None:
        """Refuse a request at its deadline, unless it is over by then."""
        seconds = max((deadline_ns - time.perf_counter_ns()) / 1e9, 0.0)
        pending.timer = self._loop.call_later(seconds, self._refuse_late, route, pending, _TOO_LATE)

    def _refuse_late(self, route: Route, pending: Pending, sentence: str) -> None:
        if not pending.is_over:
            pending.is_over = True
            self.refuse(Refusal(504, sentence, route.fields), pending.reply, route)

    def refuse_failed(self, route: Route, pending: Pending, error: Exception) -> None:
        """Refuse a request after its run raised an error."""
        if isinstance(error, RunEnded):
            sentence = f"The model took longer than {self._max_run_seconds:g} s; send fewer rows at a time."
            self._refuse_late(route, pending, sentence)
            return
        pending.is_over = True
        self.refuse(_explain(error, route), pending.reply, route)


def _explain(error: Exception, route: Route) -> Refusal:
    """Return why a run failed: for its values, unless another server or want of memory is at fault."""
    if isinstance(error, UpstreamFailed):
        return upstream_failed(error, route.fields)
    if is_memory_taken(error):
        sentence = "The memory that all runs share is taken; ask again, or send fewer rows."
        return overloaded(sentence, route.fields)
    sentence = f"The model cannot answer these values: {first_line(error)}"
    return Refusal(400, sentence, route.fields, fault="model")
