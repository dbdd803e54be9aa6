"""The hot path: requests in, answers out, one model run for all that wait. Free of any server."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from msgspec import Struct

from inference.prediction_log.record import LoggedBatch, encode_batch
from inference.prediction_log.spool import SEGMENT_BYTES, SpoolWriter, new_instance_name
from inference.protocol.open_inference import InferRequest
from inference.protocol.parameters import EventTimeRefused, check_event_times
from inference.protocol.results import OutputTexts
from inference.protocol.tensors import InvalidRequest
from inference.runtime.session import Array, first_line
from inference.serving.answers import Answer, Reply, overloaded, refusal
from inference.serving.ids import new_prediction_id, row_ids
from inference.serving.journal import Fsync, Journal
from inference.serving.metrics import Series, ServingMetrics
from inference.serving.plan import Plan, PlanModel, PlanVersion
from inference.serving.routing import Admission, NotLoaded, Route, RoutingTable
from inference.serving.shadows import ShadowRunner, ShadowWork
from inference.serving.versions import LoadedVersion, Outcome

MAX_BATCH_ROWS = 1024
MAX_WAITING_ROWS = 50_000
LOAD_SECONDS = 30.0
log = logging.getLogger(__name__)


class EngineOptions(Struct, frozen=True):
    """How a serving process logs: see DRIFTLINE_SPOOL_FSYNC and DRIFTLINE_SPOOL_MAX_BYTES."""

    fsync: Fsync = "group"
    spool_max_bytes: int = 2 * 1024**3
    when_full: Literal["refuse", "drop"] = "refuse"


class Pending:
    """A request that waits for its answer."""

    __slots__ = ("prediction_id", "received_ns", "received_us", "reply", "request")

    def __init__(self, request: InferRequest, reply: Reply, received_ns: int) -> None:
        self.request = request
        self.reply = reply
        self.received_ns = received_ns
        self.received_us = time.time_ns() // 1000
        self.prediction_id = request.facts.key or new_prediction_id()


class Lane:
    """The requests that wait for one route; those with ids of their callers' are logged apart."""

    def __init__(self, route: Route, *, keyed: bool) -> None:
        self.route = route
        self.keyed = keyed
        self.waiting: deque[Pending] = deque()
        self.is_ready = False  # it stands in the engine's list
        self.is_busy = False  # a run is on its way in a thread

    def take_batch(self) -> list[Pending]:
        """Take what waits, up to the rows of one run, in order."""
        batch: list[Pending] = []
        rows = 0
        while self.waiting and (not batch or rows + self.waiting[0].request.rows <= MAX_BATCH_ROWS):
            pending = self.waiting.popleft()
            rows += pending.request.rows
            batch.append(pending)
        return batch


class Run(Struct):
    """Requests that one run of the model answers together."""

    lane: Lane
    pendings: list[Pending]
    rows: int
    batch: dict[str, Array]
    outcome: Outcome | None = None
    bodies: list[bytes] | None = None


class Parked(Struct):
    """A request for a version that is being loaded."""

    authorization: bytes
    path: bytes
    body: bytes
    received_ns: int
    reply: Reply


class Engine:
    """Answers requests; belongs to the event loop that made it, and to its thread."""

    def __init__(
        self, home: Path, options: EngineOptions, load_version: Callable[[PlanModel, PlanVersion], None]
    ) -> None:
        """Make an engine in the running event loop; `load_version` brings a version into the next table."""
        self.table = RoutingTable(Plan(0, [], []), {}, {})
        self.metrics = ServingMetrics()
        self.options = options
        self.is_ready = False
        self.spool_bytes = 0  # of all processes, as last measured
        self.spool_is_full = False
        self._loop = asyncio.get_running_loop()
        self._load_version = load_version
        segment_bytes = max(min(options.spool_max_bytes // 8, SEGMENT_BYTES), 4096)
        self._writer = SpoolWriter(home, new_instance_name("main"), segment_bytes)
        self._shadow_writer = SpoolWriter(home, new_instance_name("shadow"), segment_bytes)
        self._journal = Journal(self._writer, options.fsync)
        self._shadows = ShadowRunner(self._shadow_writer, self.metrics, sync=options.fsync == "always")
        self._threads = ThreadPoolExecutor(2, "slow-model")
        self._lanes: dict[tuple[Route, bool], Lane] = {}
        self._ready: list[Lane] = []
        self._scheduled = False
        self._waiting_rows = 0
        self._runs_in_threads = 0
        self._parked: list[Parked] = []

    # Requests

    def admit(self, authorization: bytes, path: bytes) -> Admission | Answer | None:
        """Find the caller's route or the answer that refuses it; None where the version is to be loaded."""
        try:
            return self.table.admit(authorization, path)
        except NotLoaded:
            return None

    def submit(
        self,
        admission: Admission | Answer | None,
        authorization: bytes,
        path: bytes,
        body: bytes,
        reply: Reply,
    ) -> None:
        """Take a request; `reply` is called in the event loop with its one answer."""
        received_ns = time.perf_counter_ns()
        if isinstance(admission, Admission):
            self._enqueue(admission, body, reply, received_ns)
        elif admission is None:
            self._park(Parked(authorization, path, body, received_ns, reply))
        else:
            self._refuse(admission, reply)

    def _refuse(self, answer: Answer, reply: Reply) -> None:
        self.metrics.refusals[answer.status] += 1
        reply(answer)

    def _enqueue(self, admission: Admission, body: bytes, reply: Reply, received_ns: int) -> None:
        route = admission.route
        request = self._read(admission, body)
        if isinstance(request, Answer):
            self._refuse(request, reply)
            return
        self._waiting_rows += request.rows
        lane_key = (route, request.facts.key is not None)
        lane = self._lanes.get(lane_key)
        if lane is None:
            lane = self._lanes[lane_key] = Lane(route, keyed=lane_key[1])
        lane.waiting.append(Pending(request, reply, received_ns))
        self._make_ready(lane)

    def _read(self, admission: Admission, body: bytes) -> InferRequest | Answer:
        """Read a request, or refuse it for what it says or for lack of room."""
        route = admission.route
        try:
            request = route.version.requests.decode(body)
            if request.facts.event_times_us is not None:
                now_us = time.time_ns() // 1000
                check_event_times(request.facts, now_us, may_backfill=admission.may_backfill)
        except EventTimeRefused as error:
            return refusal(403, str(error), route.fields)
        except InvalidRequest as error:
            return refusal(400, str(error), route.fields)
        if self.spool_is_full and self.options.when_full == "refuse":
            self.metrics.unlogged += request.rows
            return _unlogged("The spool is full", route)
        if self._waiting_rows + request.rows > MAX_WAITING_ROWS:
            return overloaded("Too many rows are waiting; ask again.", route.fields)
        return request

    # Runs

    def _make_ready(self, lane: Lane) -> None:
        if lane.waiting and not lane.is_ready and not lane.is_busy:
            lane.is_ready = True
            self._ready.append(lane)
            self._schedule()

    def _schedule(self) -> None:
        if self._ready and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Run all that arrived in one turn of the event loop; nothing waits for a batch to fill.

        Turns go on while records are on their way to the disk: those of the meantime share the next sync.
        """
        self._scheduled = False
        ready, self._ready = self._ready, []
        runs = [self._start(lane) for lane in ready]
        self._journal.flush()
        for run in runs:  # the disk is at work meanwhile
            if run is not None:
                self._write_bodies(run)

    def _start(self, lane: Lane) -> Run | None:
        """Run a lane's next batch; a long one goes to a thread, and None is returned."""
        lane.is_ready = False
        pendings = lane.take_batch()
        rows = sum([pending.request.rows for pending in pendings])
        version = lane.route.version
        batch = version.join([pending.request.tensors for pending in pendings])
        run = Run(lane, pendings, rows, batch)
        self._waiting_rows -= rows
        if version.runs_inline(rows):
            self._finish(run, _try_run(version, batch))
            self._make_ready(lane)
            return run
        lane.is_busy = True
        self._runs_in_threads += 1
        task = self._threads.submit(_try_run, version, batch)
        task.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._finish_slow, run, done.result())
        )
        return None

    def _finish_slow(self, run: Run, outcome: Outcome | Exception) -> None:
        run.lane.is_busy = False
        self._runs_in_threads -= 1
        self._finish(run, outcome)
        self._journal.flush()
        self._make_ready(run.lane)

    def _finish(self, run: Run, outcome: Outcome | Exception) -> None:
        """Log a run, and answer its requests once the log is safe."""
        if isinstance(outcome, Exception):
            self._run_one_by_one(run, outcome)
            return
        run.outcome = outcome
        logged = _logged_batch(run, outcome, time.perf_counter_ns())
        self._series(run.lane.route).observe_run(run.rows)
        if self.spool_is_full:  # and the policy is to answer all the same
            self.metrics.unlogged += run.rows
            self._answer(run, b"dropped")
            return

        def settle(error: OSError | None) -> None:
            if error is None:
                self._answer(run, b"spooled")
                self._offer_to_shadows(run, logged)
            else:
                self._answer_unlogged(run, error)

        self._journal.write(encode_batch(logged), settle)

    def _run_one_by_one(self, run: Run, error: Exception) -> None:
        """Find the request that the model cannot answer, so that it does not fail its neighbours."""
        route = run.lane.route
        if len(run.pendings) == 1:
            sentence = f"The model cannot answer these values: {first_line(error)}"
            self._refuse(refusal(400, sentence, route.fields), run.pendings[0].reply)
            return
        for pending in run.pendings:
            batch = route.version.join([pending.request.tensors])
            alone = Run(run.lane, [pending], pending.request.rows, batch)
            self._finish(alone, _try_run(route.version, batch))

    # Answers

    def _write_bodies(self, run: Run) -> list[bytes]:
        """Write the answers' bodies, once."""
        if run.bodies is not None or run.outcome is None:
            return run.bodies or []
        texts = [OutputTexts(output) for output in run.outcome.outputs]
        encode = run.lane.route.version.results.encode
        bodies: list[bytes] = []
        start = 0
        for pending in run.pendings:
            request = pending.request
            stop = start + request.rows
            bodies.append(encode(texts, start, stop, request.client_id, request.outputs))
            start = stop
        self._series(run.lane.route).invalid_outputs += sum([not text.finite for text in texts])
        run.bodies = bodies
        return bodies

    def _answer(self, run: Run, log_state: bytes) -> None:
        route = run.lane.route
        series = self._series(route)
        fields = b"%bdriftline-log: %b\r\ndriftline-prediction-id: " % (route.fields, log_state)
        now_ns = time.perf_counter_ns()
        for pending, body in zip(run.pendings, self._write_bodies(run), strict=True):
            series.observe_latency((now_ns - pending.received_ns) // 1000)
            pending.reply(Answer(200, body, fields + pending.prediction_id.encode() + b"\r\n"))

    def _answer_unlogged(self, run: Run, error: OSError) -> None:
        log.error("the spool cannot be written", extra={"error": str(error)})
        self.metrics.unlogged += run.rows
        if self.options.when_full == "drop":
            self._answer(run, b"dropped")
            return
        for pending in run.pendings:
            self._refuse(_unlogged("The spool cannot be written", run.lane.route), pending.reply)

    def _offer_to_shadows(self, run: Run, logged: LoggedBatch) -> None:
        assert run.outcome is not None
        for shadow in run.lane.route.shadows:
            work = ShadowWork(shadow, run.lane.route.version, run.batch, logged, run.outcome.run_us)
            self._shadows.offer(work, spool_is_full=self.spool_is_full)

    def _series(self, route: Route) -> Series:
        return self.metrics.series(route.model.id, route.version.plan.version, route.role)

    # Tables and versions

    def adopt(self, table: RoutingTable) -> None:
        """Serve from a new table; requests that are under way keep the version they were admitted to."""
        self.table = table
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting or lane.is_busy}
        parked, self._parked = self._parked, []
        for request in parked:
            admission = self.admit(request.authorization, request.path)
            if isinstance(admission, Admission):
                self._enqueue(admission, request.body, request.reply, request.received_ns)
            elif admission is None:
                self._park(request)
            else:
                self._refuse(admission, request.reply)

    def _park(self, request: Parked) -> None:
        """Keep a request until its version is loaded."""
        try:
            self.table.admit(request.authorization, request.path)
        except NotLoaded as needed:
            waited = (time.perf_counter_ns() - request.received_ns) / 1e9
            if waited > LOAD_SECONDS or len(self._parked) >= 1000:
                self._refuse(overloaded("The version is still being loaded; ask again."), request.reply)
                return
            self._parked.append(request)
            self._load_version(needed.model, needed.version)

    # The process

    def spool_written(self) -> int:
        """Count the bytes that this process has spooled."""
        return self._writer.written + self._shadow_writer.written

    def measure_spool(self, waiting_bytes: int) -> None:
        """Take the size of all spools together; beyond the bound nothing more is taken."""
        self.spool_bytes = waiting_bytes
        self.spool_is_full = waiting_bytes >= self.options.spool_max_bytes

    def is_idle(self) -> bool:
        """Tell whether every request taken has its answer."""
        return (
            self._journal.is_settled()
            and not self._waiting_rows
            and not self._runs_in_threads
            and not self._parked
        )

    def close(self, shadow_seconds: float = 10.0) -> bool:
        """Spool what the shadows still owe and let go of the spool; the event loop takes no more requests.

        False where a shadow is still running: the process then has to end without waiting for it.
        """
        self._threads.shutdown()
        self._journal.close()
        self._writer.close()
        has_ended = self._shadows.close(shadow_seconds)
        if has_ended:
            self._shadow_writer.close()
        return has_ended


def _try_run(version: LoadedVersion, batch: dict[str, Array]) -> Outcome | Exception:
    """Run a batch; whatever the model raises belongs to its requests."""
    try:
        return version.run(batch)
    except Exception as error:
        return error


def _unlogged(what: str, route: Route) -> Answer:
    return overloaded(f"{what}, so this prediction could not be logged; ask again.", route.fields)


def _logged_batch(run: Run, outcome: Outcome, done_ns: int) -> LoggedBatch:
    """Describe a run as the log keeps it."""
    ids: list[str] = []
    client_ids: list[str | None] = []
    event_times: list[int] = []
    latencies: list[int] = []
    subjects: list[str | None] = []
    tags: list[dict[str, str] | None] = []
    for pending in run.pendings:
        request = pending.request
        rows = request.rows
        facts = request.facts
        ids += row_ids(pending.prediction_id, rows)
        client_ids += [request.client_id] * rows
        event_times += facts.event_times_us or [pending.received_us] * rows
        latencies += [(done_ns - pending.received_ns) // 1000] * rows
        subjects += [facts.subject] * rows
        tags += [facts.tags] * rows
    route = run.lane.route
    return LoggedBatch(
        model_id=route.model.id,
        version_id=route.version.plan.id,
        role=route.role,
        generation=route.model.generation,
        ids=ids,
        client_ids=client_ids if any(client_ids) else None,
        keyed=run.lane.keyed,
        event_time_us=event_times,
        received_us=run.pendings[0].received_us,
        latency_us=latencies,
        features=route.version.feature_columns(run.batch),
        prediction=outcome.prediction,
        probabilities=outcome.probabilities,
        subjects=subjects if any(subjects) else None,
        tags=tags if any(tags) else None,
    )
