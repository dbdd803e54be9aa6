"""One run of a model for the requests that it answers together, and what the log keeps of it."""

import asyncio
import threading
import time
from functools import partial
from typing import Any

from msgspec import Struct

from driftline.base.ids import new_ids, row_ids
from inference.prediction_log.spool.record import LoggedBatch, encode_record
from inference.protocol.v2.parameters import NO_FACTS
from inference.runtime.session import Array, RunOptions
from inference.serving.engine.fair_threads import Worker, WorkHangs
from inference.serving.engine.lanes import Lane, Pending
from inference.serving.routing import Route
from inference.serving.versions.versions import LoadedVersion, Outcome

PIECE_SECONDS = 0.01  # of a run in a thread, after which another project has its turn
GRACE_SECONDS = 5.0  # for a run to end after its time is up
MAX_LOOP_SECONDS = 0.1
FEW_SECONDS, MANY_TIMES = 1.0, 20.0


class BatchRun(Struct):
    """Requests that one run answers together, or a part of one request's rows, which then begins at `first_row`.

    Times are in nanoseconds.
    """

    route: Route
    keyed: bool
    pendings: list[Pending]
    rows: int
    batch: dict[str, Array]
    taken_ns: int  # when its requests stopped to wait
    first_row: int = 0
    done_ns: int = 0
    encode_ns: int = 0
    outcome: Outcome | None = None
    contents: list[Any] | None = None

    @property
    def hops(self) -> int:
        """Return how often the request among them was forwarded that was so most often."""
        return max([pending.request.hops for pending in self.pendings])

    def drop_those_over(self) -> None:
        """Take out the requests that do not wait for an answer any more, with their rows."""
        if not any(pending.is_over for pending in self.pendings):
            return
        places: list[int] = []
        start = 0
        for pending in self.pendings:
            stop = start + pending.request.rows
            if not pending.is_over:
                places += range(start, stop)
            start = stop
        self.pendings = [pending for pending in self.pendings if not pending.is_over]
        self.rows = len(places)
        self.batch = {name: values[places] for name, values in self.batch.items()}
        if self.outcome is not None and places:
            self.outcome = self.route.version.keep_rows(self.outcome, places)

    def claim(self) -> None:
        """Promise the requests their answer: no deadline counts any more."""
        for pending in self.pendings:
            pending.is_over = True
            if pending.timer is not None:
                pending.timer.cancel()


def take_run(lane: Lane, max_rows: int) -> BatchRun | None:
    """Take what a lane's next run is to answer; None where nobody waits any more."""
    taken_ns = time.perf_counter_ns()
    pendings = lane.take_batch(max_rows)
    if not pendings:
        return None
    unnamed = [pending for pending in pendings if not pending.prediction_id]
    for pending, prediction_id in zip(unnamed, new_ids(len(unnamed)), strict=True):
        pending.prediction_id = prediction_id
    rows = sum([pending.request.rows for pending in pendings])
    batch = lane.route.version.join([pending.request.tensors for pending in pendings])
    return BatchRun(lane.route, lane.keyed, pendings, rows, batch, taken_ns)


class RunEnded(Exception):
    """A run was ended because it took too long."""


def try_read(version: LoadedVersion, answer: list[Array] | Exception, began_ns: int) -> Outcome | Exception:
    """Read what a version's own process gave for a run that began then."""
    if isinstance(answer, Exception):
        return answer
    try:
        return version.read(answer, began_ns)
    except Exception as error:
        return error


class LoopRuns:
    """Runs on the event loop, watched: one that takes a hundred times its prediction is ended from a thread."""

    def __init__(self) -> None:
        self._options = RunOptions()
        self._began = 0.0  # 0: none is under way
        self._stopping = threading.Event()
        threading.Thread(target=self._watch, name="loop-runs", daemon=True).start()

    def run(self, version: LoadedVersion, batch: dict[str, Array]) -> Outcome | Exception:
        """Run a batch; RunEnded where it had to be ended, which is to be tried again in a thread."""
        outcome: Outcome | Exception
        self._began = time.monotonic()
        try:
            outcome = version.run(batch, self._options)
        except Exception as error:  # whatever the model raises belongs to its requests
            outcome = error
        self._began = 0.0
        if self._options.terminate:
            self._options = RunOptions()
            if isinstance(outcome, Exception):
                version.cost.expect(MAX_LOOP_SECONDS)
                return RunEnded()
        return outcome

    def _watch(self) -> None:
        while not self._stopping.wait(MAX_LOOP_SECONDS / 2):
            if self._began and time.monotonic() - self._began > MAX_LOOP_SECONDS:
                self._options.terminate = True

    def close(self) -> None:
        """End the watch."""
        self._stopping.set()


async def run_in(worker: Worker, run: BatchRun, seconds: float) -> Outcome | Exception:
    """Run a batch in a thread, for at most so many seconds: then it is ended, or given up."""
    options = RunOptions()
    options.hops = run.hops
    timer = asyncio.get_running_loop().call_later(seconds, setattr, options, "terminate", True)
    try:
        return await worker.run(partial(run.route.version.run, run.batch, options), seconds + GRACE_SECONDS)
    except WorkHangs:
        run.route.version.note_hang()
        return RunEnded()
    except Exception as error:  # whatever the model raises belongs to its requests
        return RunEnded() if options.terminate else error
    finally:
        timer.cancel()


def seconds_left(run: BatchRun, max_seconds: float) -> float:
    """Return how long a run may take: at most `max_seconds`, or until the last of its requests is past its deadline.

    Requests that share a run are not to wait for a neighbour whose values never end: they get a run each once
    theirs has taken much longer than predicted. Another server that is slow is so for all of them.
    """
    if len(run.pendings) > 1 and run.route.version.remote is None:
        predicted = run.route.version.cost.seconds(run.rows)
        max_seconds = min(max_seconds, max(FEW_SECONDS, MANY_TIMES * predicted))
    last_ns = 0
    for pending in run.pendings:
        if pending.deadline_ns is None:
            return max_seconds
        last_ns = max(last_ns, pending.deadline_ns)
    return min(max((last_ns - time.perf_counter_ns()) / 1e9, 0.0), max_seconds)


def describe_record(run: BatchRun) -> tuple[LoggedBatch, bytes]:
    """Describe a run that has its outcome as the log keeps it, also encoded."""
    assert run.outcome is not None
    began_ns = time.perf_counter_ns()
    logged = describe(run, run.outcome)
    record = encode_record(logged)
    run.encode_ns += time.perf_counter_ns() - began_ns
    return logged, record


def describe(run: BatchRun, outcome: Outcome) -> LoggedBatch:
    """Describe a run as the log keeps it."""
    pendings = run.pendings
    client_ids = _each_row(run, [pending.request.client_id for pending in pendings])
    event_times = _each_row(run, [pending.received_us for pending in pendings])
    subjects: list[str | None] = []
    tags: list[dict[str, str] | None] = []
    facts = [pending.request.facts for pending in pendings]
    if facts.count(NO_FACTS) < len(facts):
        event_times = _event_times(run)
        subjects = _each_row(run, [fact.subject for fact in facts])
        tags = _each_row(run, [fact.tags for fact in facts])
    ids = _ids(run)
    return LoggedBatch(
        model_id=run.route.model.id,
        version_id=run.route.version.plan.id,
        role=run.route.role,
        generation=run.route.model.generation,
        ids=ids,
        client_ids=client_ids if any(client_ids) else None,
        keyed=run.keyed,
        event_time_us=event_times,
        received_us=pendings[0].received_us,
        latency_us=_each_row(run, [(run.done_ns - pending.received_ns) // 1000 for pending in pendings]),
        features=run.route.version.features(run.batch, outcome.outputs),
        prediction=outcome.prediction,
        probabilities=outcome.probabilities,
        subjects=subjects if any(subjects) else None,
        tags=tags if any(tags) else None,
        thumbnails=run.route.version.thumbnails(run.batch, ids),
    )


def _each_row[Value](run: BatchRun, values: list[Value]) -> list[Value]:
    """Repeat what each request says of all its rows, once for each of them in the run."""
    if len(values) == run.rows:
        return values
    counts = [min(pending.request.rows, run.rows) for pending in run.pendings]
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def _ids(run: BatchRun) -> list[str]:
    if {pending.request.rows for pending in run.pendings} == {1}:
        return [pending.prediction_id for pending in run.pendings]
    return [
        row_id
        for pending in run.pendings
        for row_id in row_ids(pending.prediction_id, pending.request.rows, *_span(run, pending))
    ]


def _event_times(run: BatchRun) -> list[int]:
    times: list[int] = []
    for pending in run.pendings:
        start, stop = _span(run, pending)
        given = pending.request.facts.event_times_us
        times += [pending.received_us] * (stop - start) if given is None else given[start:stop]
    return times


def _span(run: BatchRun, pending: Pending) -> tuple[int, int]:
    """Return which rows of a request are in a run."""
    return run.first_row, run.first_row + min(pending.request.rows, run.rows)
