"""Where a lane's next batch runs: on the event loop, in a thread, or in the process of its version."""

import time
from collections.abc import Callable
from functools import partial

from inference.runtime.isolated.errors import RunAbandoned
from inference.runtime.isolated.session import IsolatedSession
from inference.runtime.remote.errors import UpstreamFailed
from inference.runtime.session import Array
from inference.serving.engine.background import BackgroundTasks
from inference.serving.engine.batch_run import (
    PIECE_SECONDS,
    BatchRun,
    LoopRuns,
    RunEnded,
    run_in,
    seconds_left,
    take_run,
    try_read,
)
from inference.serving.engine.completion import Completion
from inference.serving.engine.lanes import MAX_BATCH_ROWS, Lane
from inference.serving.engine.refuser import Refuser
from inference.serving.engine.thread_pools import ThreadPools
from inference.serving.versions.versions import Outcome


class BatchExecutor:
    """Runs batches, and has their requests answered; belongs to the event loop."""

    def __init__(
        self,
        completion: Completion,
        refuser: Refuser,
        pools: ThreadPools,
        background: BackgroundTasks,
        max_run_seconds: float,
        make_ready: Callable[[Lane], None],
    ) -> None:
        """Make an executor; `make_ready` lets a lane in which requests wait have another turn."""
        self.isolated_runs = 0  # under way in processes of their versions
        self._completion = completion
        self._refuser = refuser
        self._pools = pools
        self._background = background
        self._max_run_seconds = max_run_seconds
        self._make_ready = make_ready
        self._loop_runs = LoopRuns()

    def start(self, lane: Lane) -> BatchRun | None:
        """Run a lane's next batch and return it; None where it runs elsewhere, or nobody waits any more."""
        version = lane.route.version
        if version.isolated is not None and version.isolated.try_acquire():
            self._start_isolated(lane, version.isolated)
            return None
        if min(lane.rows, MAX_BATCH_ROWS) > version.cost.inline_rows:
            lane.waits_for_thread = True
            self._background.start(self._run_in_thread(lane))
            return None
        run = take_run(lane, MAX_BATCH_ROWS)
        if run is not None:
            self._finish(lane, run, self._loop_runs.run(version, run.batch), on_loop=True)
        return run

    def _start_isolated(self, lane: Lane, session: IsolatedSession) -> None:
        """Pass a lane's next batch to the process of its version, which was acquired for it."""
        version = lane.route.version
        try:
            run = take_run(lane, version.cost.rows_within(PIECE_SECONDS, MAX_BATCH_ROWS))
        except BaseException:
            session.release()
            raise
        if run is None:
            session.release()
            return
        lane.waits_for_thread = True
        self.isolated_runs += 1
        done = partial(self._finish_isolated, lane, run, time.perf_counter_ns())
        session.begin(run.batch, seconds_left(run, self._max_run_seconds), done)

    def _finish_isolated(
        self, lane: Lane, run: BatchRun, began_ns: int, answer: list[Array] | Exception
    ) -> None:
        self.isolated_runs -= 1
        lane.waits_for_thread = False
        if lane.waiting:
            self.start(lane)  # the process is at work while this one writes answers
        if isinstance(answer, RunAbandoned):
            answer = RunEnded()
        self._finish(lane, run, try_read(run.route.version, answer, began_ns))
        self._completion.flush()
        self._completion.write_contents(run)  # the disk is at work meanwhile

    async def _run_in_thread(self, lane: Lane) -> None:
        """Run a lane's next batch in a thread; it takes whatever has come by when a thread is free."""
        route = lane.route
        delay_ns = min([pending.delay_ns for pending in lane.waiting])
        async with self._pools.for_route(route).turn(route.model.project_id, delay_ns) as worker:
            lane.waits_for_thread = False
            run = take_run(lane, route.version.cost.rows_within(PIECE_SECONDS, MAX_BATCH_ROWS))
            self._make_ready(lane)
            if run is None:
                return
            outcome = await run_in(worker, run, seconds_left(run, self._max_run_seconds))
        self._finish(lane, run, outcome)
        self._completion.flush()

    def _finish(
        self, lane: Lane, run: BatchRun, outcome: Outcome | Exception, *, on_loop: bool = False
    ) -> None:
        if isinstance(outcome, Exception):
            self._retry_or_refuse(lane, run, outcome, on_loop=on_loop)
        else:
            self._completion.complete(run, outcome)

    def _retry_or_refuse(self, lane: Lane, run: BatchRun, error: Exception, *, on_loop: bool) -> None:
        """Find the request that the model cannot answer, so that it does not fail its neighbours.

        What had to be ended on the event loop is tried again in a thread.
        """
        waiting = [pending for pending in run.pendings if not pending.is_over]
        if isinstance(error, UpstreamFailed):
            may_be_one_requests_fault = error.may_be_one_requests_fault
        else:
            may_be_one_requests_fault = not isinstance(error, RunEnded) or run.route.version.remote is None
        is_shared = len(run.pendings) > 1
        if (is_shared and may_be_one_requests_fault) or (on_loop and isinstance(error, RunEnded)):
            lane.put_back(waiting)  # each for a run of its own
            self._make_ready(lane)
            return
        for pending in waiting:
            self._refuser.refuse_failed(run.route, pending, error)

    def close(self) -> None:
        """End the watch over runs on the event loop."""
        self._loop_runs.close()
