"""The end of each request: its record in the log, its answer, the shadows' copy, and its place in the counts."""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import sub
from typing import TYPE_CHECKING, Any, Literal

from inference.prediction_log.spool.record import LoggedBatch
from inference.protocol.results import BatchOutputs
from inference.runtime.memory import is_memory_taken
from inference.runtime.remote.errors import UpstreamFailed
from inference.runtime.session import first_line
from inference.serving.counts.metrics import Series, ServingMetrics, fault_of
from inference.serving.engine.batch_run import Run
from inference.serving.engine.journal import Journal
from inference.serving.engine.lanes import Pending
from inference.serving.engine.large_requests import LargeAnswer, LargeRequest
from inference.serving.engine.shadows import ShadowRunner, ShadowWork
from inference.serving.refusals import Refusal, overloaded, upstream_failed
from inference.serving.responses import Prediction, Reply
from inference.serving.routing import Route

if TYPE_CHECKING:
    from inference.serving.engine.request_traces import RequestTraces

_TOO_LATE = "The answer was not ready within the time that 'timeout' allows; allow more, or ask again."
log = logging.getLogger(__name__)


class Answering:
    """Logs, answers and counts; belongs to the event loop."""

    def __init__(
        self,
        journal: Journal,
        shadows: ShadowRunner,
        metrics: ServingMetrics,
        when_full: Literal["refuse", "drop"],
        traces: "RequestTraces | None" = None,
    ) -> None:
        self.spool_is_full = False
        self._journal = journal
        self._shadows = shadows
        self._metrics = metrics
        self._when_full = when_full
        self._traces = traces

    def refuse(self, refusal: Refusal, reply: Reply[Any], route: Route | None = None) -> None:
        """Answer that there is no answer; with the route that was asked, it counts among its faults."""
        self._metrics.refusals[refusal.status] += 1
        if route is not None:
            self.series(route).faults[refusal.fault or fault_of(refusal.status)] += 1
        reply(refusal)

    def refuse_late(self, route: Route, pending: Pending, sentence: str = _TOO_LATE) -> None:
        """Answer that there will be no answer in time."""
        if not pending.is_over:
            pending.is_over = True
            self.refuse(Refusal(504, sentence, route.fields), pending.reply, route)

    def refuse_values(self, route: Route, pending: Pending, error: Exception) -> None:
        """Answer that the model fails on a request's values, unless it is for want of memory that others hold."""
        pending.is_over = True
        if is_memory_taken(error):
            sentence = "The memory that all runs share is taken; ask again, or send fewer rows."
            self.refuse(overloaded(sentence, route.fields), pending.reply, route)
            return
        sentence = f"The model cannot answer these values: {first_line(error)}"
        self.refuse(Refusal(400, sentence, route.fields, fault="model"), pending.reply, route)

    def refuse_upstream(self, route: Route, pending: Pending, failure: UpstreamFailed) -> None:
        """Answer that the other server gave no answer."""
        pending.is_over = True
        self.refuse(upstream_failed(failure, route.fields), pending.reply, route)

    def log_and_answer(
        self,
        pendings: Sequence[Pending],
        rows: int,
        records: Sequence[bytes],
        answer: Callable[[bytes], None],
        for_shadows: Sequence[tuple[Run, LoggedBatch]],
    ) -> None:
        """Call `answer` with the state of the log once the records are safe; no deadline counts from here on."""
        for pending in pendings:
            pending.is_over = True
            if pending.timer is not None:
                pending.timer.cancel()
        if self.spool_is_full and self._when_full == "drop":
            self._metrics.unlogged += rows
            answer(b"dropped")
            return
        route = for_shadows[0][0].route

        def settle(error: OSError | None) -> None:
            if error is None:
                answer(b"spooled")
                for run, logged in for_shadows:
                    self._offer_to_shadows(run, logged)
                return
            log.error("the spool cannot be written", extra={"error": str(error)})
            self._metrics.unlogged += rows
            if self._when_full == "drop":
                answer(b"dropped")
                return
            for pending in pendings:
                self.refuse(unlogged("The spool cannot be written", route), pending.reply, route)

        self._journal.write(records, settle)

    def write_contents(self, run: Run) -> list[Any]:
        """Write the answers' contents, once."""
        if run.contents is None and run.outcome is not None:
            self.series(run.route).invalid_outputs += encode_contents(run)
        return run.contents or []

    def answer(self, run: Run, log_state: bytes) -> None:
        """Answer the requests of a run."""
        for pending, content in zip(run.pendings, self.write_contents(run), strict=True):
            pending.reply(Prediction(content, run.route, pending.prediction_id, log_state))
        self._observe(run)

    def _observe(self, run: Run) -> None:
        """Count what each phase took of these answers."""
        assert run.outcome is not None
        series = self.series(run.route)
        phases = series.phases
        now_ns = time.perf_counter_ns()
        pendings = run.pendings
        series.requests += len(pendings)
        received_ns = [pending.received_ns for pending in pendings]
        enqueued_ns = [pending.enqueued_ns for pending in pendings]
        phases["decode"].extend(map(sub, enqueued_ns, received_ns))
        phases["queue"].extend(map(sub, repeat(run.taken_ns), enqueued_ns))
        phases["batch"].add(run.done_ns - run.taken_ns - run.outcome.run_ns, len(pendings))
        phases["compute"].add(run.outcome.run_ns, len(pendings))
        phases["encode"].add(run.encode_ns, len(pendings))
        phases["log"].add(now_ns - run.done_ns - run.encode_ns, len(pendings))
        phases["total"].extend(map(sub, repeat(now_ns), received_ns))
        if self._traces is not None:
            self._traces.record(run, now_ns)

    def _offer_to_shadows(self, run: Run, logged: LoggedBatch) -> None:
        assert run.outcome is not None
        for shadow in run.route.shadows:
            share = run.route.model.shadow_shares.get(shadow.plan.version, 1.0)
            work = ShadowWork(
                shadow, run.route.version, run.batch, logged, run.outcome.run_us, share, run.hops
            )
            self._shadows.offer(work, spool_is_full=self.spool_is_full)

    def series(self, route: Route) -> Series:
        """Give the counts of a route."""
        return self._metrics.series(route.model.id, route.version.plan.version, route.role)

    def answer_large(self, large: LargeRequest, answer: LargeAnswer, log_state: bytes) -> None:
        """Answer a large request."""
        pending = large.pending
        pending.reply(Prediction(answer.content, large.route, pending.prediction_id, log_state))
        series = self.series(large.route)
        series.requests += 1
        now_ns = time.perf_counter_ns()
        series.observe_phases(answer.phases(pending, now_ns))
        if self._traces is not None:
            self._traces.record_large(large, answer, now_ns)


def encode_contents(run: Run) -> int:
    """Write the contents of a run's answers; return how many outputs hold a number that is not finite."""
    assert run.outcome is not None
    began_ns = time.perf_counter_ns()
    outputs = BatchOutputs(run.outcome.outputs)
    contents: list[Any] = []
    start = 0
    for pending in run.pendings:
        request = pending.request
        stop = start + request.rows
        contents.append(pending.encode(outputs, start, stop, request))
        start = stop
    run.contents = contents
    run.encode_ns += time.perf_counter_ns() - began_ns
    return outputs.finite.count(False)


def unlogged(what: str, route: Route) -> Refusal:
    """Refuse a prediction that could not be logged."""
    return overloaded(f"{what}, so this prediction could not be logged; ask again.", route.fields)
