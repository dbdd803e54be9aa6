"""The end of runs: their records in the log, the answers, the shadows' copies, and their place in the counts."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from operator import sub
from typing import Any, Literal, Protocol

from inference.prediction_log.spool.record import LoggedBatch
from inference.protocol.results import BatchOutputs
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.engine.background import BackgroundTasks
from inference.serving.engine.batch_run import BatchRun, describe_record
from inference.serving.engine.fair_threads import FairThreads
from inference.serving.engine.lanes import Pending
from inference.serving.engine.refuser import Refuser
from inference.serving.engine.shadows import ShadowRunner, ShadowWork
from inference.serving.engine.spools import Spools
from inference.serving.refusals import Refusal, overloaded
from inference.serving.responses import Prediction
from inference.serving.routing import Route
from inference.serving.versions.versions import Outcome

MAX_LOOP_VALUES = 32 * 1024
"""Of an answer that is written in the event loop, or of images that are measured there: about a millisecond of JSON."""
log = logging.getLogger(__name__)


class RunTraces(Protocol):
    """Where answered requests are traced, where they are."""

    def record(self, run: BatchRun, now_ns: int) -> None:
        """Record the requests that one run has answered."""


class Completion:
    """Logs, answers and counts; belongs to the event loop."""

    def __init__(
        self,
        spools: Spools,
        shadows: ShadowRunner,
        metrics: ServingMetrics,
        refuser: Refuser,
        threads: FairThreads,
        background: BackgroundTasks,
        when_full: Literal["refuse", "drop"],
        traces: RunTraces | None,
    ) -> None:
        self._spools = spools
        self._journal = spools.journal
        self._shadows = shadows
        self._metrics = metrics
        self._refuser = refuser
        self._threads = threads
        self._background = background
        self._when_full = when_full
        self._traces = traces

    def complete(self, run: BatchRun, outcome: Outcome) -> None:
        """Log a run that has its outcome, and answer its requests; what takes long to write happens in a thread."""
        run.done_ns = time.perf_counter_ns()
        self._metrics.series(*run.route.labels).observe_run(run.rows)
        run.route.version.recent.note(run.batch, run.rows)
        run.outcome = outcome
        run.drop_those_over()
        if not run.pendings:
            return
        measured = run.route.version.measured_values(run.batch)
        if max(outcome.values, measured) > MAX_LOOP_VALUES:
            run.claim()
            run.contents = []  # nobody else is to write them
            self._background.start(self._complete_in_thread(run))
        else:
            self._log(run, *describe_record(run))

    async def _complete_in_thread(self, run: BatchRun) -> None:
        """Write a long answer, or one to large images, and its record in a thread."""
        try:
            async with self._threads.turn(run.route.model.project_id) as worker:
                logged, record = await worker.run(partial(describe_record, run))
                invalid_outputs = await worker.run(partial(encode_contents, run))
        except Exception as error:  # the callers must not wait for ever
            log.exception("a long answer could not be written")
            for pending in run.pendings:
                self._refuser.refuse_failed(run.route, pending, error)
            return
        self._metrics.series(*run.route.labels).invalid_outputs += invalid_outputs
        self._log(run, logged, record)
        self._journal.flush()

    def _log(self, run: BatchRun, logged: LoggedBatch, record: bytes) -> None:
        self.log_and_answer(run.pendings, run.rows, [record], partial(self._answer, run), [(run, logged)])

    def log_and_answer(
        self,
        pendings: Sequence[Pending],
        rows: int,
        records: Sequence[bytes],
        answer: Callable[[bytes], None],
        for_shadows: Sequence[tuple[BatchRun, LoggedBatch]],
    ) -> None:
        """Call `answer` with the state of the log once the records are safe; no deadline counts from here on."""
        for pending in pendings:
            pending.is_over = True
            if pending.timer is not None:
                pending.timer.cancel()
        if self._spools.is_full and self._when_full == "drop":
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
                self._refuser.refuse(unlogged("The spool cannot be written", route), pending.reply, route)

        self._journal.write(records, settle)

    def flush(self) -> None:
        """Start to bring to the disk what was logged."""
        self._journal.flush()

    def write_contents(self, run: BatchRun) -> list[Any]:
        """Write the answers' contents, once."""
        if run.contents is None and run.outcome is not None:
            self._metrics.series(*run.route.labels).invalid_outputs += encode_contents(run)
        return run.contents or []

    def _answer(self, run: BatchRun, log_state: bytes) -> None:
        for pending, content in zip(run.pendings, self.write_contents(run), strict=True):
            pending.reply(Prediction(content, run.route, pending.prediction_id, log_state))
        self._observe(run)

    def _observe(self, run: BatchRun) -> None:
        """Count what each phase took of these answers."""
        assert run.outcome is not None
        series = self._metrics.series(*run.route.labels)
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

    def _offer_to_shadows(self, run: BatchRun, logged: LoggedBatch) -> None:
        assert run.outcome is not None
        for shadow in run.route.shadows:
            share = run.route.model.shadow_shares.get(shadow.plan.version, 1.0)
            work = ShadowWork(
                shadow, run.route.version, run.batch, logged, run.outcome.run_us, share, run.hops
            )
            self._shadows.offer(work, spool_is_full=self._spools.is_full)


def encode_contents(run: BatchRun) -> int:
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
