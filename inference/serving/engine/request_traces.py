"""Spans of inference requests: one a request, with an event at the end of each phase. They hold no feature values."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.context import Context

from inference.protocol.dialect import TRACEPARENT
from inference.serving.counts.metrics import PHASES
from inference.serving.engine.batch_run import BatchRun
from inference.serving.engine.inbound import Inbound
from inference.serving.engine.lanes import Pending
from inference.serving.engine.large_requests import LargeAnswer, LargeRequest
from inference.serving.refusals import Refusal
from inference.serving.responses import Prediction, Reply
from inference.serving.routing import Route
from inference.serving.tracing.options import TraceOptions
from inference.serving.tracing.spans import Traces


class TracedReply:
    """Hands an answer on; where that is a refusal it also ends the request's trace."""

    __slots__ = ("_record_refusal", "_reply", "parent", "path", "received_ns")

    def __init__(
        self,
        reply: Reply[Any],
        parent: Context,
        path: bytes,
        received_ns: int,
        record_refusal: "Callable[[TracedReply, Refusal], None]",
    ) -> None:
        self.parent = parent
        self.path = path
        self.received_ns = received_ns
        self._reply = reply
        self._record_refusal = record_refusal

    def __call__(self, result: Prediction[Any] | Refusal) -> None:
        self._reply(result)
        if isinstance(result, Refusal):
            self._record_refusal(self, result)


class RequestTraces:
    """Follows requests from their arrival to their answer; belongs to the event loop."""

    def __init__(self, options: TraceOptions) -> None:
        self._traces = Traces(options)

    def follow(self, inbound: Inbound[Any, Any], reply: Reply[Any]) -> Reply[Any]:
        """Return the reply of a request that is to have a span, or the given one."""
        header = inbound.headers.get(TRACEPARENT)
        parent = self._traces.parent_of(None if header is None else header.decode("latin-1"))
        if parent is None:
            return reply
        return TracedReply(reply, parent, inbound.path, inbound.received_ns, self._record_refusal)

    def record(self, run: BatchRun, now_ns: int) -> None:
        """Record the requests that one run has answered."""
        assert run.outcome is not None
        for pending in run.pendings:
            phases = {
                "decode": pending.enqueued_ns - pending.received_ns,
                "queue": run.taken_ns - pending.enqueued_ns,
                "batch": run.done_ns - run.taken_ns - run.outcome.run_ns,
                "compute": run.outcome.run_ns,
                "encode": run.encode_ns,
                "log": now_ns - run.done_ns - run.encode_ns,
            }
            self._record_answer(run.route, pending, phases, run.rows)

    def record_large(self, large: LargeRequest, answer: LargeAnswer, now_ns: int) -> None:
        """Record a request that was answered in pieces."""
        pending = large.pending
        self._record_answer(large.route, pending, answer.phases(pending, now_ns), pending.request.rows)

    def _record_answer(
        self, route: Route, pending: Pending, phases: Mapping[str, int], batch_rows: int
    ) -> None:
        traced = pending.reply
        if not isinstance(traced, TracedReply):
            return
        started_ns = posix_ns(traced.received_ns)
        at_ns, events = started_ns, []
        for phase in PHASES[:-1]:
            at_ns += phases[phase]
            events.append((phase, at_ns))
        attributes: dict[str, str | int] = {
            "driftline.model": route.model.name,
            "driftline.version": route.version.plan.version,
            "driftline.role": route.role,
            "driftline.rows": pending.request.rows,
            "driftline.batch_rows": batch_rows,
        }
        if pending.request.facts.key is None:  # a key of the caller's own may name a person
            attributes["driftline.prediction_id"] = pending.prediction_id
        self._traces.record(
            f"infer {route.model.name}",
            traced.parent,
            started_ns=started_ns,
            ended_ns=at_ns,
            attributes=attributes,
            events=events,
        )

    def _record_refusal(self, traced: TracedReply, refusal: Refusal) -> None:
        """Record what was not answered, without the sentence: it may quote what the caller sent."""
        self._traces.record(
            "infer",
            traced.parent,
            started_ns=posix_ns(traced.received_ns),
            ended_ns=time.time_ns(),
            attributes={
                "url.path": traced.path[:200].decode("utf-8", "replace"),
                "http.response.status_code": refusal.status,
            },
            failed=refusal.status >= 500,
        )

    def close(self) -> None:
        """Send what waits."""
        self._traces.close()


def posix_ns(monotonic_ns: int) -> int:
    """Return the time of day of a moment on the process's monotonic clock."""
    return time.time_ns() - (time.perf_counter_ns() - monotonic_ns)
