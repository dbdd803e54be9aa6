"""The hot path: requests in, answers out, one model run for all that wait. Free of any server."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftline.base.ids import new_id
from inference.protocol.dialect import Dialect, InferRequest
from inference.protocol.v2.parameters import NO_FACTS
from inference.runtime.remote.counts import CALLS
from inference.serving.body_budget import BodyBudget
from inference.serving.callers import InferenceCaller
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.counts.request_tally import RequestTally
from inference.serving.engine.admission import AdmissionControl
from inference.serving.engine.background import BackgroundTasks
from inference.serving.engine.completion import Completion
from inference.serving.engine.execution import BatchExecutor
from inference.serving.engine.inbound import Inbound, admit, decode
from inference.serving.engine.lanes import Pending
from inference.serving.engine.large_requests import LARGE_ROWS, LargeRequest, LargeRequests
from inference.serving.engine.load_queue import FindRoute, LoadQueue, RouteRequest
from inference.serving.engine.refuser import Refuser
from inference.serving.engine.scheduling import Scheduler
from inference.serving.engine.shadows import ShadowRunner
from inference.serving.engine.spools import Spools
from inference.serving.engine.thread_pools import ThreadPools
from inference.serving.options import EngineOptions
from inference.serving.plan import Plan, PlanModel, PlanVersion
from inference.serving.refusals import Refusal
from inference.serving.responses import Prediction, Reply
from inference.serving.routing import (
    Admission,
    NotLoaded,
    Route,
    RoutingTable,
    check_times,
    reason_over_budget,
    speak_for_itself,
)
from inference.serving.tracing.options import TraceOptions

if TYPE_CHECKING:
    from inference.serving.engine.request_traces import RequestTraces

LARGE_BODY_BYTES = 64 * 1024  # what is longer is read in a thread


class Engine:
    """Answers requests; belongs to the event loop that made it, and to its thread."""

    def __init__(
        self, home: Path, options: EngineOptions, load_version: Callable[[PlanModel, PlanVersion], None]
    ) -> None:
        """Make an engine in the running event loop; `load_version` brings a version into the next table."""
        self.home = home
        self.options = options
        self.table = RoutingTable(Plan(0, [], []), {}, {})
        self.is_ready = False
        self.metrics = metrics = ServingMetrics(CALLS)
        self.bodies = BodyBudget(options.max_body_bytes)
        self.spools = Spools(home, options, RequestTally(metrics), lambda: self._scheduler.run_ready())
        self.shadows = ShadowRunner(
            self.spools.shadow_writer, metrics, sync=options.fsync == "always", limits=options.shadows
        )
        self._loop = asyncio.get_running_loop()
        self._traces = traces = _open_traces(options.traces)
        self._load_queue = LoadQueue(load_version)
        self._background = background = BackgroundTasks()
        self._pools = pools = ThreadPools(options)
        self._refuser = refuser = Refuser(metrics, options.max_run_seconds)
        completion = Completion(
            self.spools,
            self.shadows,
            metrics,
            refuser,
            pools.computing,
            background,
            options.when_full,
            traces,
        )
        self._large_requests = LargeRequests(
            completion, refuser, metrics, pools, background, options.max_run_seconds, traces
        )
        self._admission_control = AdmissionControl(options, self.spools, self._large_requests, pools, metrics)
        self._executor = BatchExecutor(
            completion,
            refuser,
            pools,
            background,
            options.max_run_seconds,
            lambda lane: self._scheduler.make_ready(lane),
        )
        self._scheduler = Scheduler(self.spools.journal, completion, self._executor)

    # Requests

    def admit(
        self, dialect: Dialect[Any, Any], caller: InferenceCaller, path: bytes
    ) -> Admission | Refusal | None:
        """Find the caller's route or the reason to refuse; None where the version is to be loaded."""
        try:
            return self.table.admit(dialect, caller, path)
        except NotLoaded:
            return None

    def submit[Body, Content](
        self,
        admission: Admission | Refusal | None,
        inbound: Inbound[Body, Content],
        reply: Reply[Content],
    ) -> None:
        """Take a request as it arrived; `reply` is called in the event loop with its one answer."""
        if admission is None:  # it is submitted again once its version is loaded
            submit = partial(self.submit, inbound=inbound, reply=reply)
            self._load_queue.add(
                RouteRequest(partial(admit, inbound), inbound.received_ns, submit), self.table
            )
            return
        if self._traces is not None:
            reply = self._traces.follow(inbound, reply)
        if isinstance(admission, Refusal):
            self._refuser.refuse(admission, reply)
            return
        self.metrics.token_uses.add(admission.token)
        if admission.budget is not None and (refusal := reason_over_budget(admission)) is not None:
            self._refuser.refuse(refusal, reply, admission.route)
        elif isinstance(inbound.body, bytes) and len(inbound.body) > LARGE_BODY_BYTES:
            self._submit_large_body(admission, inbound, reply)
        else:
            request = decode(admission.route, inbound)
            self.enqueue(admission, request, inbound.dialect, reply, inbound.received_ns)

    def _submit_large_body(self, admission: Admission, inbound: Inbound[Any, Any], reply: Reply[Any]) -> None:
        if (refusal := self._admission_control.check_wait(admission.route)) is not None:
            self._refuser.refuse(refusal, reply, admission.route)
        else:
            self._background.start(self._decode_in_thread(admission, inbound, reply))

    async def _decode_in_thread(
        self, admission: Admission, inbound: Inbound[Any, Any], reply: Reply[Any]
    ) -> None:
        async with self._pools.computing.turn(admission.route.model.project_id) as worker:
            request = await worker.run(partial(decode, admission.route, inbound))
        self.enqueue(admission, request, inbound.dialect, reply, inbound.received_ns)

    def enqueue(
        self,
        admission: Admission,
        request: InferRequest | Refusal,
        dialect: Dialect[Any, Any],
        reply: Reply[Any],
        received_ns: int,
    ) -> None:
        """Queue a request that was read for its run, or refuse it."""
        if isinstance(request, Refusal):
            self._refuser.refuse(request, reply, admission.route)
            return
        if admission.tags is not None and (unlike := speak_for_itself(admission, request)) is not None:
            self._refuser.refuse(unlike, reply, admission.route)
            return
        route, key, refusal = admission.route, request.facts.key, None
        prediction_id = key or ""
        if route.canary is not None or request.rows > LARGE_ROWS:
            prediction_id = key or new_id()
            route = route.answering(request, prediction_id)
        if request.facts is not NO_FACTS:
            refusal = check_times(admission, request)
        lane = self._scheduler.lane(route, keyed=key is not None)
        refusal = refusal or self._admission_control.refuse_without_room(lane, request)
        if refusal is not None:
            self._refuser.refuse(refusal, reply, route)
            return
        if admission.budget is not None:
            admission.budget.charge_rows(request.rows)
        pending = Pending(request, prediction_id, route.version.codecs[dialect].encode, reply, received_ns)
        if request.rows > LARGE_ROWS:
            self._large_requests.add(LargeRequest(route, pending, keyed=lane.keyed))
        else:
            lane.put(pending)
            self._scheduler.make_ready(lane)
        if pending.deadline_ns is not None:
            self._refuser.refuse_at_deadline(route, pending, pending.deadline_ns)

    async def ask[Body, Content](
        self, admission: Admission | Refusal | None, inbound: Inbound[Body, Content]
    ) -> Prediction[Content] | Refusal:
        """Take a request as it arrived and wait for its answer."""
        answered: asyncio.Future[Prediction[Content] | Refusal] = self._loop.create_future()
        self.submit(admission, inbound, partial(_set_unless_done, answered))
        return await answered

    async def wait_for_route(self, find: FindRoute) -> Admission | Refusal:
        """Find a route, and wait for its version where that has to be loaded first."""
        admitted: asyncio.Future[Admission | Refusal] = self._loop.create_future()
        proceed = partial(_set_unless_done, admitted)
        self._load_queue.add(RouteRequest(find, time.perf_counter_ns(), proceed), self.table)
        return await admitted

    def check_room(self, route: Route, request: InferRequest) -> Refusal | None:
        """Return why there is no room now for a request with an id of its caller's, or None."""
        return self._admission_control.check_room(self._scheduler.lane(route, keyed=True), request)

    def count_refusal(self, refusal: Refusal, route: Route | None = None) -> Refusal:
        """Count a refusal that is not answered through `submit`, and return it."""
        self._refuser.refuse(refusal, lambda _: None, route)
        return refusal

    # The process

    def adopt(self, table: RoutingTable) -> None:
        """Serve from a new table; requests that are under way keep the version they were admitted to."""
        self.table = table
        self._scheduler.forget_empty_lanes()
        self.shadows.keep_only([shadow for route in table.champions() for shadow in route.shadows])
        self._load_queue.retry(table)

    def load(self) -> dict[str, float]:
        """Describe what waits and what is under way."""
        waiting = self._scheduler.pendings() + self._large_requests.pendings()
        oldest_ns = min((pending.received_ns for pending in waiting), default=None)
        return {
            "requests": len(waiting),
            "rows": sum(pending.request.rows for pending in waiting),
            "oldest_seconds": 0.0 if oldest_ns is None else (time.perf_counter_ns() - oldest_ns) / 1e9,
            "body_bytes": self.bodies.bytes,
            "threads": self._pools.computing.busy,
            "threads_given_up": self._pools.given_up,
            "remote_threads": self._pools.waiting.busy,
        }

    def is_idle(self) -> bool:
        """Return whether every request taken has its answer."""
        is_waited_for = self._background or self._load_queue or not self._scheduler.is_idle()
        return self.spools.journal.is_settled() and not is_waited_for

    def close(self, shadow_seconds: float = 10.0) -> bool:
        """Spool what the shadows still owe and close the spools; the event loop takes no more requests.

        False where a run does not end: the process then has to end without waiting for it.
        """
        have_threads_ended = self._pools.close()
        self._executor.close()
        self.spools.close()
        have_shadows_ended = self.shadows.close(shadow_seconds)
        if have_shadows_ended:
            self.spools.close_shadows()
        if self._traces is not None:
            self._traces.close()
        return have_shadows_ended and have_threads_ended


def _set_unless_done[Result](future: asyncio.Future[Result], result: Result) -> None:
    """Pass the result to whoever still waits for it: a client that left has cancelled the future."""
    if not future.done():
        future.set_result(result)


def _open_traces(options: TraceOptions | None) -> "RequestTraces | None":
    if options is None:
        return None
    from inference.serving.engine.request_traces import RequestTraces  # it loads OpenTelemetry

    return RequestTraces(options)
