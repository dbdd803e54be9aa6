"""The requests that wait for one route, in the order in which they are to be run."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from inference.protocol.dialect import InferRequest
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.parameters import NO_FACTS
from inference.serving.responses import Reply
from inference.serving.routing import Route

MAX_BATCH_ROWS = 1024
USUAL_PRIORITY = 5
LOWEST_PRIORITY = 10  # all above wait as long
LEVEL_NS = 500_000_000  # what a level of priority is worth in waiting: so nobody waits for ever

type Encode[Content] = Callable[[BatchOutputs, int, int, InferRequest], Content]


class Pending(Struct, eq=False):
    """A request that waits for its answer; `encode` writes that from a batch's outputs.

    Times are of the process's monotonic clock. `is_over` tells that it has its answer, or needs none any more.
    `prediction_id` is empty until its run is taken where nothing asks for it before: ids are made a batch at a time.
    `delay_ns` is how much later one of priority 0 could come and still go first. `is_alone` tells that it may be the
    one that the model cannot answer.
    """

    request: InferRequest
    prediction_id: str
    encode: Encode[Any]
    reply: Reply[Any]
    received_ns: int
    received_us: int = 0
    enqueued_ns: int = 0
    deadline_ns: int | None = None
    delay_ns: int = USUAL_PRIORITY * LEVEL_NS
    timer: asyncio.TimerHandle | None = None
    is_over: bool = False
    is_alone: bool = False

    def __post_init__(self) -> None:
        self.received_us = time.time_ns() // 1000
        self.enqueued_ns = time.perf_counter_ns()
        facts = self.request.facts
        if facts is NO_FACTS:
            return
        if facts.timeout_us is not None:
            self.deadline_ns = self.received_ns + facts.timeout_us * 1000
        self.delay_ns = min(facts.priority or USUAL_PRIORITY, LOWEST_PRIORITY) * LEVEL_NS

    def rank_ns(self) -> int:
        """Return its place among others; smaller goes first."""
        return self.received_ns + self.delay_ns


class Lane:
    """The requests that wait for one route; those with ids of their callers' are logged apart."""

    def __init__(self, route: Route, *, keyed: bool) -> None:
        self.route = route
        self.keyed = keyed
        self.waiting: deque[Pending] = deque()
        self.rows = 0
        self.is_ready = False  # it stands in the engine's list
        self.waits_for_thread = False
        self._is_ordered = True
        self._holds_lone = False
        self._last_rank_ns = 0  # of all that wait

    def put(self, pending: Pending) -> None:
        """Add a request to those that wait."""
        rank_ns = pending.received_ns + pending.delay_ns
        if rank_ns >= self._last_rank_ns or not self.waiting:
            self._last_rank_ns = rank_ns
        else:
            self._is_ordered = False
        self.waiting.append(pending)
        self.rows += pending.request.rows

    def put_back(self, pendings: list[Pending]) -> None:
        """Make requests of a run that failed wait again, each for a run of its own."""
        self._holds_lone = True
        for pending in reversed(pendings):
            pending.is_alone = True
            self.waiting.appendleft(pending)
            self.rows += pending.request.rows

    def seconds(self, more_rows: int = 0) -> float:
        """Predict how long all that waits, and so many rows more, will run; 0 while nothing is known."""
        cost = self.route.version.cost
        rows = self.rows + more_rows
        if 0 < rows <= MAX_BATCH_ROWS:
            return cost.finite_seconds(rows)
        runs, rest = divmod(rows, MAX_BATCH_ROWS)
        return runs * cost.finite_seconds(MAX_BATCH_ROWS) + (cost.finite_seconds(rest) if rest else 0.0)

    def take_batch(self, max_rows: int) -> list[Pending]:
        """Take what is to be run together: at least one request, up to so many rows."""
        if not self._is_ordered:
            self.waiting = deque(sorted(self.waiting, key=Pending.rank_ns))
            self._is_ordered = True
        waiting = self.waiting
        if self.rows <= max_rows and not self._holds_lone:
            batch = [pending for pending in waiting if not pending.is_over]
            waiting.clear()
            self.rows = 0
            return batch
        batch = []
        rows = 0
        while waiting:
            pending = waiting[0]
            if not pending.is_over:
                if batch and (pending.is_alone or rows + pending.request.rows > max_rows):
                    break
                batch.append(pending)
                rows += pending.request.rows
            waiting.popleft()
            self.rows -= pending.request.rows
            if pending.is_alone and batch:
                break
        self._holds_lone = self._holds_lone and bool(waiting)
        return batch
