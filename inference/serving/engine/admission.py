"""Admission control: which requests there is room for, in the log and among those that wait."""

import time

from inference.protocol.dialect import InferRequest
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.engine.completion import unlogged
from inference.serving.engine.lanes import Lane
from inference.serving.engine.large_requests import LARGE_ROWS, LargeRequests
from inference.serving.engine.spools import Spools
from inference.serving.engine.thread_pools import ThreadPools
from inference.serving.options import EngineOptions
from inference.serving.refusals import Refusal, overloaded, too_many, upstream_failed
from inference.serving.routing import Route
from inference.serving.versions.cost_model import INLINE_SECONDS


class AdmissionControl:
    """Refuses requests that would not be logged, or would wait too long; belongs to the event loop."""

    def __init__(
        self,
        options: EngineOptions,
        spools: Spools,
        large_requests: LargeRequests,
        pools: ThreadPools,
        metrics: ServingMetrics,
    ) -> None:
        self._refuses_unlogged = options.when_full == "refuse"
        self._max_wait_seconds = options.max_wait_seconds
        self._max_wait_ns = round(options.max_wait_seconds * 1e9)
        self._spools = spools
        self._journal = spools.journal
        self._large_requests = large_requests
        self._pools = pools
        self._metrics = metrics

    def refuse_without_room(self, lane: Lane, request: InferRequest) -> Refusal | None:
        """Return why a request is not taken, or None; the rows that a full spool turns away are counted."""
        refusal = self.check_room(lane, request)
        if refusal is not None and self._is_log_full():
            self._metrics.unlogged += request.rows
        return refusal

    def _is_log_full(self) -> bool:
        return self._spools.is_full and self._refuses_unlogged

    def check_room(self, lane: Lane, request: InferRequest) -> Refusal | None:
        """Return why there is no room for a request now, or None."""
        route = lane.route
        if self._is_log_full():
            return unlogged("The spool is full", route)
        since_ns = self._journal.in_flight_since_ns
        if since_ns and time.perf_counter_ns() - since_ns > self._max_wait_ns:
            return overloaded("The disk is too slow to log predictions; ask again.", route.fields)
        if (failure := route.version.refusal(request.hops)) is not None:
            return upstream_failed(failure, route.fields)
        if request.rows > LARGE_ROWS:
            return self.check_wait(route, self._large_requests.seconds(route.model.project_id))
        if lane.rows + request.rows <= route.version.cost.inline_rows:
            return None
        if (ahead := lane.seconds(request.rows)) > INLINE_SECONDS:
            return self.check_wait(route, ahead)
        return None

    def check_wait(self, route: Route, seconds_ahead: float = 0.0) -> Refusal | None:
        """Return why a request must not wait for a thread, with so many seconds of work ahead of it, or None.

        429 says that this project fills its own share of the threads, 503 that others need them too.
        """
        max_seconds = self._max_wait_seconds
        project_id = route.model.project_id
        threads = self._pools.for_route(route)
        wait = max(seconds_ahead / threads.parallel(project_id), threads.oldest_seconds(project_id))
        if wait <= max_seconds:
            return None
        sentence = f"A request would wait about {wait:.0f} s here, and {max_seconds:.0f} s is the most;"
        retry_s = wait - max_seconds
        if threads.is_full_for(project_id) or seconds_ahead / threads.share > max_seconds:
            return too_many(f"{sentence} wait for this project's answers first.", route.fields, retry_s)
        return overloaded(f"{sentence} ask again.", route.fields, retry_s)
