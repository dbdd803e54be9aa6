"""Requests of many rows: answered in pieces, each in a thread of its own turn."""

import time
from functools import partial
from typing import Any

import numpy as np
from msgspec import Struct

from inference.prediction_log.spool.record import LoggedBatch
from inference.protocol.results import BatchOutputs
from inference.runtime.session import Array
from inference.serving.engine.batch_run import Run, describe_record, run_in, seconds_left
from inference.serving.engine.fair_threads import FairThreads, Worker
from inference.serving.engine.lanes import MAX_BATCH_ROWS, Pending
from inference.serving.routing import Route
from inference.serving.versions.versions import AnswerTooLarge, check_values

LARGE_ROWS = 256  # a request of more rows costs the event loop too much, however fast its model is
PIECE_SECONDS = 0.01  # of a run in a thread, after which another project has its turn


class LargeAnswer(Struct):
    """All that is to be logged and answered."""

    pieces: list[Run]
    logged: list[LoggedBatch]
    records: list[bytes]
    content: Any
    invalid_outputs: int
    encode_ns: int
    done_ns: int

    def phases(self, pending: Pending, now_ns: int) -> dict[str, int]:
        """Tell what each phase took, in nanoseconds; waits between the pieces count as `batch`."""
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

    async def run(self, threads: FairThreads, most_seconds: float) -> LargeAnswer | Exception:
        """Run all rows; the exception that a piece raised, or what stopped it, is returned.

        Ends early where the request is over, with whatever there is then.
        """
        pieces: list[Run] = []
        logged: list[LoggedBatch] = []
        records: list[bytes] = []
        while self._rows_done < self.pending.request.rows:
            async with self._turn(threads) as worker:
                piece = await self._run_piece(worker, most_seconds)
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

    async def _run_piece(self, worker: Worker, most_seconds: float) -> Run | Exception:
        if self.pending.is_over:
            return Abandoned()
        taken_ns = time.perf_counter_ns()
        if not self._batch:
            tensors = [self.pending.request.tensors]
            self._batch = await worker.run(partial(self.route.version.join, tensors))
        first = self._rows_done
        most_rows = self.route.version.cost.rows_within(PIECE_SECONDS, MAX_BATCH_ROWS)
        rows = min(most_rows, self.pending.request.rows - first)
        batch = {name: values[first : first + rows] for name, values in self._batch.items()}
        piece = Run(self.route, self.keyed, [self.pending], rows, batch, taken_ns, first)
        outcome = await run_in(worker, piece, seconds_left(piece, most_seconds))
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

    def _conclude(self, pieces: list[Run], logged: list[LoggedBatch], records: list[bytes]) -> LargeAnswer:
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


class Abandoned(Exception):
    """Nobody waits for the answer any more."""
