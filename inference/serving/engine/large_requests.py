"""Requests of many rows: run in pieces, each in a turn of its own, so that others find theirs in between."""

import logging
import time
from functools import partial
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from inference.prediction_log.spool.record import LoggedBatch
from inference.protocol.results import BatchOutputs
from inference.runtime.session import Array
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.engine.background import BackgroundTasks
from inference.serving.engine.batch_run import PIECE_SECONDS, BatchRun, describe_record, run_in, seconds_left
from inference.serving.engine.completion import Completion
from inference.serving.engine.fair_threads import FairThreads, Worker
from inference.serving.engine.lanes import MAX_BATCH_ROWS, Pending
from inference.serving.engine.refuser import Refuser
from inference.serving.engine.thread_pools import ThreadPools
from inference.serving.responses import Prediction
from inference.serving.routing import Route
from inference.serving.versions.versions import AnswerTooLarge, check_values

LARGE_ROWS = 256  # a request of more rows costs the event loop too much, however fast its model is
log = logging.getLogger(__name__)


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


class LargeAnswer(Struct):
    """All that is to be logged and answered."""

    pieces: list[BatchRun]
    logged: list[LoggedBatch]
    records: list[bytes]
    content: Any
    invalid_outputs: int
    encode_ns: int
    done_ns: int

    def phases(self, pending: Pending, now_ns: int) -> dict[str, int]:
        """Return what each phase took, in nanoseconds; waits between the pieces count as `batch`."""
        began_ns = self.pieces[0].taken_ns
        compute_ns = sum(piece.outcome.run_ns for piece in self.pieces if piece.outcome is not None)
        return {
            "decode": pending.enqueued_ns - pending.received_ns,
            "queue": began_ns - pending.enqueued_ns,
            "batch": self.done_ns - began_ns - compute_ns - self.encode_ns,
            "compute": compute_ns,
            "encode": self.encode_ns,
            "log": now_ns - self.done_ns,
            "total": now_ns - pending.received_ns,
        }


class LargeRequest:
    """A request that is run piece by piece."""

    def __init__(self, route: Route, pending: Pending, *, keyed: bool) -> None:
        self.route = route
        self.pending = pending
        self.keyed = keyed
        self._rows_done = 0
        self._values = 0  # of the answer so far
        self._batch: dict[str, Array] = {}

    async def run(self, threads: FairThreads, max_seconds: float) -> LargeAnswer | Exception:
        """Run all rows; return the answer, or the exception that stopped a piece: Abandoned where nobody waits."""
        pieces: list[BatchRun] = []
        logged: list[LoggedBatch] = []
        records: list[bytes] = []
        while self._rows_done < self.pending.request.rows:
            async with self._turn(threads) as worker:
                piece = await self._run_piece(worker, max_seconds)
                if isinstance(piece, Exception):
                    return piece
                described = await worker.run(partial(describe_record, piece))
            pieces.append(piece)
            logged.append(described[0])
            records.append(described[1])
        async with self._turn(threads) as worker:
            return await worker.run(partial(self._conclude, pieces, logged, records))

    def _turn(self, threads: FairThreads) -> Any:
        return threads.turn(self.route.model.project_id, self.pending.delay_ns)

    def seconds(self) -> float:
        """Predict how long its remaining rows will run."""
        rows = self.pending.request.rows - self._rows_done
        return self.route.version.cost.finite_seconds(rows)

    async def _run_piece(self, worker: Worker, max_seconds: float) -> BatchRun | Exception:
        if self.pending.is_over:
            return Abandoned()
        taken_ns = time.perf_counter_ns()
        if not self._batch:
            tensors = [self.pending.request.tensors]
            self._batch = await worker.run(partial(self.route.version.join, tensors))
        first = self._rows_done
        max_rows = self.route.version.cost.rows_within(PIECE_SECONDS, MAX_BATCH_ROWS)
        rows = min(max_rows, self.pending.request.rows - first)
        batch = {name: values[first : first + rows] for name, values in self._batch.items()}
        piece = BatchRun(self.route, self.keyed, [self.pending], rows, batch, taken_ns, first)
        outcome = await run_in(worker, piece, seconds_left(piece, max_seconds))
        if isinstance(outcome, Exception):
            return outcome
        self._values += outcome.values
        try:
            check_values(self._values)
        except AnswerTooLarge as error:
            return error
        piece.outcome = outcome
        piece.done_ns = time.perf_counter_ns()
        self._rows_done += rows
        return piece

    def _conclude(
        self, pieces: list[BatchRun], logged: list[LoggedBatch], records: list[bytes]
    ) -> LargeAnswer:
        began_ns = time.perf_counter_ns()
        parts = [piece.outcome.outputs for piece in pieces if piece.outcome is not None]
        outputs = BatchOutputs([np.concatenate(arrays) for arrays in zip(*parts, strict=True)])
        request = self.pending.request
        content = self.pending.encode(outputs, 0, request.rows, request)
        done_ns = time.perf_counter_ns()
        encode_ns = done_ns - began_ns + sum(piece.encode_ns for piece in pieces)
        return LargeAnswer(
            pieces=pieces,
            logged=logged,
            records=records,
            content=content,
            invalid_outputs=outputs.finite.count(False),
            encode_ns=encode_ns,
            done_ns=done_ns,
        )


class LargeTraces(Protocol):
    """Where answered large requests are traced, where they are."""

    def record_large(self, large: LargeRequest, answer: LargeAnswer, now_ns: int) -> None:
        """Record a large request that was answered."""


class LargeRequests:
    """The large requests that are under way; belongs to the event loop."""

    def __init__(
        self,
        completion: Completion,
        refuser: Refuser,
        metrics: ServingMetrics,
        pools: ThreadPools,
        background: BackgroundTasks,
        max_run_seconds: float,
        traces: LargeTraces | None,
    ) -> None:
        self._completion = completion
        self._refuser = refuser
        self._metrics = metrics
        self._pools = pools
        self._background = background
        self._max_run_seconds = max_run_seconds
        self._traces = traces
        self._by_project: dict[int, set[LargeRequest]] = {}

    def add(self, large: LargeRequest) -> None:
        """Begin to run a request, and answer it when all its pieces have run."""
        self._by_project.setdefault(large.route.model.project_id, set()).add(large)
        self._background.start(self._run(large))

    def seconds(self, project_id: int) -> float:
        """Predict how long the large requests of a project will still run."""
        return sum(large.seconds() for large in self._by_project.get(project_id, ()))

    def pendings(self) -> list[Pending]:
        """List the requests that are under way."""
        return [large.pending for requests in self._by_project.values() for large in requests]

    async def _run(self, large: LargeRequest) -> None:
        try:
            outcome: LargeAnswer | Exception = await large.run(
                self._pools.for_route(large.route), self._max_run_seconds
            )
        except Exception as error:  # such as pieces of unequal width: the caller must not wait for ever
            log.exception("a large request failed")
            outcome = error
        finally:
            self._remove(large)
        if large.pending.is_over:
            return
        if isinstance(outcome, Exception):
            self._refuser.refuse_failed(large.route, large.pending, outcome)
        else:
            self._log(large, outcome)

    def _remove(self, large: LargeRequest) -> None:
        project_id = large.route.model.project_id
        self._by_project[project_id].discard(large)
        if not self._by_project[project_id]:
            del self._by_project[project_id]

    def _log(self, large: LargeRequest, answer: LargeAnswer) -> None:
        series = self._metrics.series(*large.route.labels)
        for piece in answer.pieces:
            series.observe_run(piece.rows)
        series.invalid_outputs += answer.invalid_outputs
        self._completion.log_and_answer(
            [large.pending],
            large.pending.request.rows,
            answer.records,
            partial(self._answer, large, answer),
            list(zip(answer.pieces, answer.logged, strict=True)),
        )
        self._completion.flush()

    def _answer(self, large: LargeRequest, answer: LargeAnswer, log_state: bytes) -> None:
        pending = large.pending
        pending.reply(Prediction(answer.content, large.route, pending.prediction_id, log_state))
        series = self._metrics.series(*large.route.labels)
        series.requests += 1
        now_ns = time.perf_counter_ns()
        series.observe_phases(answer.phases(pending, now_ns))
        if self._traces is not None:
            self._traces.record_large(large, answer, now_ns)
