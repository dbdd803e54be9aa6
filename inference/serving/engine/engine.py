"""The hot path: requests in, answers out, one model run for all that wait. Free of any server."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from driftline.common.ids import new_id, new_ids
from inference.prediction_log.spool.record import LoggedBatch, encode_record
from inference.prediction_log.spool.segments import (
    RESERVED_BYTES,
    SEGMENT_BYTES,
    SpoolWriter,
    new_instance_name,
)
from inference.protocol.dialect import Codec, Dialect, Headers, InferRequest
from inference.protocol.hops import HOPS, read_hops
from inference.protocol.parameters import NO_FACTS
from inference.protocol.tensors import InvalidRequest
from inference.runtime.isolated.errors import RunAbandoned
from inference.runtime.isolated.session import IsolatedSession
from inference.runtime.remote.counts import CALLS
from inference.runtime.remote.errors import UpstreamFailed
from inference.runtime.session import Array
from inference.serving.body_budget import BodyBudget
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.counts.request_tally import RequestTally
from inference.serving.engine.batch_run import (
    LoopRuns,
    Run,
    RunEnded,
    describe_record,
    run_in,
    seconds_left,
    try_read,
)
from inference.serving.engine.completion import Answering, encode_contents, unlogged
from inference.serving.engine.fair_threads import FairThreads
from inference.serving.engine.journal import Journal
from inference.serving.engine.lanes import MAX_BATCH_ROWS, Lane, Pending
from inference.serving.engine.large_requests import LARGE_ROWS, PIECE_SECONDS, LargeAnswer, LargeRequest
from inference.serving.engine.rotation import Rotation
from inference.serving.engine.shadows import ShadowRunner
from inference.serving.options import EngineOptions
from inference.serving.plan import Plan, PlanModel, PlanVersion
from inference.serving.refusals import Refusal, overloaded, too_many, upstream_failed
from inference.serving.responses import Prediction, Reply
from inference.serving.routing import (
    Admission,
    NotLoaded,
    Route,
    RoutingTable,
    check_times,
    reason_over_budget,
)
from inference.serving.tracing.options import TraceOptions
from inference.serving.versions.cost_model import INLINE_SECONDS
from inference.serving.versions.versions import Outcome

if TYPE_CHECKING:
    from inference.serving.engine.request_traces import RequestTraces

TURN_SECONDS = 0.002  # of runs in one turn of the loop, then it looks at its sockets again
HELD_ROWS = 32  # from here on a larger batch costs hardly less a row
LARGE_BODY_BYTES = 64 * 1024  # what is longer is read in a thread
MAX_LOOP_VALUES = 32 * 1024  # of an answer that is written in the event loop: about a millisecond of JSON
LOAD_SECONDS = 30.0
log = logging.getLogger(__name__)


class Inbound[Body, Content](Struct):
    """A request as it came off the wire, with the dialect that can read it."""

    dialect: Dialect[Body, Content]
    authorization: bytes
    path: bytes
    body: Body
    headers: Headers


type FindRoute = Callable[[RoutingTable], Admission | Refusal]


class Parked(Struct):
    """A request for a version that is being loaded; `find` raises NotLoaded until it is."""

    find: FindRoute
    received_ns: int
    take: Callable[[Admission | Refusal], None]


class Engine:
    """Answers requests; belongs to the event loop that made it, and to its thread."""

    def __init__(
        self, home: Path, options: EngineOptions, load_version: Callable[[PlanModel, PlanVersion], None]
    ) -> None:
        """Make an engine in the running event loop; `load_version` brings a version into the next table."""
        self.home = home
        self.table = RoutingTable(Plan(0, [], []), {}, {})
        self.metrics = ServingMetrics(CALLS)
        self._tally = RequestTally(self.metrics)
        self.options = options
        self._most_wait_ns = round(options.most_wait_seconds * 1e9)
        self.is_ready = False
        self.spool_bytes = 0  # of all processes, as last measured
        self._loop = asyncio.get_running_loop()
        self._load_version = load_version
        segment_bytes = max(min(options.spool_max_bytes // 8, SEGMENT_BYTES), 4096)
        reserved_bytes = 0 if options.fsync == "off" else min(RESERVED_BYTES, segment_bytes)
        self._writer = SpoolWriter(
            home,
            new_instance_name("main"),
            segment_bytes,
            reserved_bytes=reserved_bytes,
            seals=options.seals,
            background_sync=options.fsync in ("off", "interval"),
        )
        self._shadow_writer = SpoolWriter(
            home, new_instance_name("shadow"), segment_bytes, seals=options.seals
        )
        self._journal = Journal(self._writer, options.fsync, self._run_ready, sync_s=options.sync_ms / 1000)
        self.shadows = ShadowRunner(
            self._shadow_writer, self.metrics, sync=options.fsync == "always", limits=options.shadows
        )
        self.bodies = BodyBudget(options.most_body_bytes)
        self._traces = _open_traces(options.traces)
        self._answering = Answering(
            self._journal, self.shadows, self.metrics, options.when_full, self._traces
        )
        self._loop_runs = LoopRuns()
        self._threads = FairThreads(options.threads)
        self._remote_threads = FairThreads(options.remote_threads)
        self._lanes: dict[tuple[Route, bool], Lane] = {}
        self._ready: Rotation[Lane] = Rotation()
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()  # what is under way in threads
        self._large: dict[int, set[LargeRequest]] = {}  # by project
        self._parked: list[Parked] = []
        self._isolated_runs = 0  # under way in processes of their versions

    # Requests

    def admit(
        self, dialect: Dialect[Any, Any], authorization: bytes, path: bytes
    ) -> Admission | Refusal | None:
        """Find the caller's route or the reason to refuse; None where the version is to be loaded."""
        try:
            return self.table.admit(dialect, authorization, path)
        except NotLoaded:
            return None

    def submit[Body, Content](
        self,
        admission: Admission | Refusal | None,
        inbound: Inbound[Body, Content],
        reply: Reply[Content],
    ) -> None:
        """Take a request as it arrived; `reply` is called in the event loop with its one answer."""
        received_ns = time.perf_counter_ns()
        if self._traces is not None:
            reply = self._traces.follow(inbound.path, inbound.headers, reply, received_ns)
        if isinstance(admission, Admission):
            self._read(admission, inbound, reply, received_ns)
        elif admission is None:
            self._take_later(inbound, reply, received_ns)
        else:
            self._answering.refuse(admission, reply)

    async def ask[Body, Content](
        self, admission: Admission | Refusal | None, inbound: Inbound[Body, Content]
    ) -> Prediction[Content] | Refusal:
        """Take a request as it arrived and wait for its answer."""
        answered: asyncio.Future[Prediction[Content] | Refusal] = self._loop.create_future()

        def reply(result: Prediction[Content] | Refusal) -> None:
            if not answered.done():  # the client may have gone
                answered.set_result(result)

        self.submit(admission, inbound, reply)
        return await answered

    def _take_later(self, inbound: Inbound[Any, Any], reply: Reply[Any], received_ns: int) -> None:
        """Take a request once its version is loaded."""

        def find(table: RoutingTable) -> Admission | Refusal:
            return table.admit(inbound.dialect, inbound.authorization, inbound.path)

        def take(admitted: Admission | Refusal) -> None:
            if isinstance(admitted, Refusal):
                self._answering.refuse(admitted, reply)
            else:
                self._read(admitted, inbound, reply, received_ns)

        self._take_or_park(Parked(find, received_ns, take))

    async def wait_for_route(self, find: FindRoute) -> Admission | Refusal:
        """Find a route, and wait for its version where that has to be loaded first."""
        found: asyncio.Future[Admission | Refusal] = self._loop.create_future()

        def take(admitted: Admission | Refusal) -> None:
            if not found.done():  # whoever waited may have gone
                found.set_result(admitted)

        self._take_or_park(Parked(find, time.perf_counter_ns(), take))
        return await found

    def count_refusal(self, refusal: Refusal, route: Route | None = None) -> Refusal:
        """Count a refusal that is not answered through `submit`, and give it back."""
        self._answering.refuse(refusal, lambda _: None, route)
        return refusal

    def _read(
        self, admission: Admission, inbound: Inbound[Any, Any], reply: Reply[Any], received_ns: int
    ) -> None:
        """Read a request with the codec of its dialect, or refuse it for what it says."""
        if admission.budget is not None and (late := reason_over_budget(admission)) is not None:
            self._answering.refuse(late, reply, admission.route)
        elif not isinstance(inbound.body, bytes) or len(inbound.body) <= LARGE_BODY_BYTES:
            request = _try_decode(admission.route.version.codecs[inbound.dialect], inbound)
            self._take(admission, request, inbound.dialect, reply, received_ns)
        elif (reason := self._reason_not_to_wait(admission.route, 0.0)) is not None:
            self._answering.refuse(reason, reply, admission.route)
        else:
            self._begin(self._read_in_thread(admission, inbound, reply, received_ns))

    async def _read_in_thread(
        self, admission: Admission, inbound: Inbound[Any, Any], reply: Reply[Any], received_ns: int
    ) -> None:
        version = admission.route.version
        decode = partial(_try_decode, version.codecs[inbound.dialect], inbound)
        async with self._threads.turn(admission.route.model.project_id) as worker:
            request = await worker.run(decode)
        self._take(admission, request, inbound.dialect, reply, received_ns)

    def _take(
        self,
        admission: Admission,
        request: InferRequest | InvalidRequest,
        dialect: Dialect[Any, Any],
        reply: Reply[Any],
        received_ns: int,
    ) -> None:
        if isinstance(request, InvalidRequest):
            refusal = Refusal(request.status, str(request), admission.route.fields)
            self._answering.refuse(refusal, reply, admission.route)
        else:
            self.enqueue(admission, request, dialect, reply, received_ns)

    def enqueue(
        self,
        admission: Admission,
        request: InferRequest,
        dialect: Dialect[Any, Any],
        reply: Reply[Any],
        received_ns: int,
    ) -> None:
        """Let a request wait for its run, or refuse it for lack of room."""
        route, key, reason = admission.route, request.facts.key, None
        prediction_id = key or ""
        if route.canary is not None or request.rows > LARGE_ROWS:
            prediction_id = key or new_id()
            route = route.answering(request, prediction_id)
        if request.facts is not NO_FACTS:
            reason = check_times(admission, request)
        lane = self._lane(route, keyed=key is not None)
        reason = reason or self._reason_not_to_take(lane, request)
        if reason is not None:
            self._answering.refuse(reason, reply, route)
            return
        if admission.budget is not None:
            admission.budget.charge_rows(request.rows)
        encode = route.version.codecs[dialect].encode
        pending = Pending(request, prediction_id, encode, reply, received_ns)
        if request.rows > LARGE_ROWS:
            large = LargeRequest(route, pending, keyed=lane.keyed)
            self._large.setdefault(route.model.project_id, set()).add(large)
            self._begin(self._answer_large(large))
        else:
            lane.put(pending)
            self._make_ready(lane)
        if pending.deadline_ns is not None:
            seconds = (pending.deadline_ns - time.perf_counter_ns()) / 1e9
            pending.timer = self._loop.call_later(
                max(seconds, 0.0), self._answering.refuse_late, route, pending
            )

    def _lane(self, route: Route, *, keyed: bool) -> Lane:
        lane = self._lanes.get((route, keyed))
        if lane is None:
            lane = self._lanes[route, keyed] = Lane(route, keyed=keyed)
        return lane

    def reason_to_wait(self, route: Route, request: InferRequest) -> Refusal | None:
        """Tell why a request with an id would not be taken now; nothing is counted."""
        if self.spool_is_full and self.options.when_full == "refuse":
            return unlogged("The spool is full", route)
        return self._reason_not_to_take(self._lane(route, keyed=True), request)

    def _reason_not_to_take(self, lane: Lane, request: InferRequest) -> Refusal | None:
        """Refuse what there is no room for: in the log, or among those who wait."""
        route = lane.route
        if self._answering.spool_is_full and self.options.when_full == "refuse":
            self.metrics.unlogged += request.rows
            return unlogged("The spool is full", route)
        since_ns = self._journal.in_flight_since_ns
        if since_ns and time.perf_counter_ns() - since_ns > self._most_wait_ns:
            return overloaded("The disk is too slow to log predictions; ask again.", route.fields)
        if (failure := route.version.refusal(request.hops)) is not None:
            return upstream_failed(failure, route.fields)
        if request.rows > LARGE_ROWS:
            return self._reason_not_to_wait(route, self._large_seconds(route))
        if lane.rows + request.rows <= route.version.cost.inline_rows:
            return None
        if (ahead := lane.seconds(request.rows)) > INLINE_SECONDS:
            return self._reason_not_to_wait(route, ahead)
        return None

    def _large_seconds(self, route: Route) -> float:
        """Predict how long the large requests of a project will run that are under way."""
        return sum(large.seconds() for large in self._large.get(route.model.project_id, ()))

    def _reason_not_to_wait(self, route: Route, ahead: float) -> Refusal | None:
        """Refuse what would wait too long for a thread, by the seconds of work ahead of it or by who waits already.

        429 says that this project fills its own share of the threads, 503 that others need them too.
        """
        most = self.options.most_wait_seconds
        project_id = route.model.project_id
        threads = self._threads_of(route)
        wait = max(ahead / threads.parallel(project_id), threads.oldest_seconds(project_id))
        if wait <= most:
            return None
        sentence = f"A request would wait about {wait:.0f} s here, and {most:.0f} s is the most;"
        if threads.is_full_for(project_id) or ahead / threads.share > most:
            return too_many(f"{sentence} wait for this project's answers first.", route.fields, wait - most)
        return overloaded(f"{sentence} ask again.", route.fields, wait - most)

    def _threads_of(self, route: Route) -> FairThreads:
        """Give the threads for a route's runs: who waits for another server or process takes none that computes."""
        return self._remote_threads if route.version.runs_elsewhere else self._threads

    # Runs

    def _make_ready(self, lane: Lane) -> None:
        if not lane.waiting or lane.waits_for_thread:
            return
        if not lane.is_ready:
            lane.is_ready = True
            self._ready.push(lane.route.model.project_id, lane)
        if not self._scheduled and not self._is_held(lane):
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _is_held(self, lane: Lane) -> bool:
        """Tell whether a lane waits for the end of the sync on its way, which runs all that is ready.

        Its records could reach the disk with the next sync only, and one short run costs less than several.
        """
        return (
            self._journal.in_flight_since_ns > 0
            and lane.rows < HELD_ROWS
            and lane.route.version.cost.inline_rows >= HELD_ROWS
        )

    def _turn(self) -> None:
        """Run all that arrived in one turn of the event loop; nothing waits for a batch to fill."""
        self._scheduled = False
        runs = self._run_ready()
        self._journal.flush()
        for run in runs:  # the disk is at work meanwhile
            self._answering.write_contents(run)

    def _run_ready(self) -> list[Run]:
        """Run each lane that is ready, by projects in turn, until the loop's time is up; return the runs that ended."""
        runs: list[Run] = []
        until_ns = time.perf_counter_ns() + round(TURN_SECONDS * 1e9)
        while self._ready and time.perf_counter_ns() < until_ns:
            run = self._start(self._ready.pop())
            if run is not None:
                runs.append(run)
        if self._ready:
            self._schedule()
        return runs

    def _start(self, lane: Lane) -> Run | None:
        """Run a lane's next batch; a long one waits for a thread, and None is returned."""
        lane.is_ready = False
        version = lane.route.version
        if version.isolated is not None and version.isolated.try_acquire():
            self._start_isolated(lane, version.isolated)
            return None
        if min(lane.rows, MAX_BATCH_ROWS) > version.cost.inline_rows:
            lane.waits_for_thread = True
            self._begin(self._run_in_thread(lane))
            return None
        run = self._take_run(lane, MAX_BATCH_ROWS)
        if run is not None:
            self._finish(lane, run, self._loop_runs.run(version, run.batch), on_loop=True)
        self._make_ready(lane)
        return run

    def _start_isolated(self, lane: Lane, session: IsolatedSession) -> None:
        """Give a lane's next batch to the process of its version, which was acquired for it."""
        version = lane.route.version
        try:
            run = self._take_run(lane, version.cost.rows_within(PIECE_SECONDS, MAX_BATCH_ROWS))
        except BaseException:
            session.release()
            raise
        if run is None:
            session.release()
            return
        lane.waits_for_thread = True
        self._isolated_runs += 1
        done = partial(self._finish_isolated, lane, run, time.perf_counter_ns())
        session.begin(run.batch, seconds_left(run, self.options.most_run_seconds), done)

    def _finish_isolated(self, lane: Lane, run: Run, began_ns: int, answer: list[Array] | Exception) -> None:
        self._isolated_runs -= 1
        lane.waits_for_thread = False
        if lane.waiting:
            self._start(lane)  # the process is at work while this one writes answers
        if isinstance(answer, RunAbandoned):
            answer = RunEnded()
        self._finish(lane, run, try_read(run.route.version, answer, began_ns))
        self._journal.flush()
        self._answering.write_contents(run)  # the disk is at work meanwhile

    def _take_run(self, lane: Lane, most_rows: int) -> Run | None:
        """Take what a lane's next run is to answer; None where nobody waits any more."""
        taken_ns = time.perf_counter_ns()
        pendings = lane.take_batch(most_rows)
        if not pendings:
            return None
        unnamed = [pending for pending in pendings if not pending.prediction_id]
        for pending, made in zip(unnamed, new_ids(len(unnamed)), strict=True):
            pending.prediction_id = made
        rows = sum([pending.request.rows for pending in pendings])
        batch = lane.route.version.join([pending.request.tensors for pending in pendings])
        return Run(lane.route, lane.keyed, pendings, rows, batch, taken_ns)

    async def _run_in_thread(self, lane: Lane) -> None:
        """Run a lane's next batch in a thread; it takes whatever has come by when a thread is free."""
        route = lane.route
        delay_ns = min([pending.delay_ns for pending in lane.waiting])
        async with self._threads_of(route).turn(route.model.project_id, delay_ns) as worker:
            lane.waits_for_thread = False
            run = self._take_run(lane, route.version.cost.rows_within(PIECE_SECONDS, MAX_BATCH_ROWS))
            self._make_ready(lane)
            if run is None:
                return
            seconds = seconds_left(run, self.options.most_run_seconds)
            outcome = await run_in(worker, run, seconds)
        self._finish(lane, run, outcome)
        self._journal.flush()

    def _finish(self, lane: Lane, run: Run, outcome: Outcome | Exception, *, on_loop: bool = False) -> None:
        """Log and answer the requests of a run that has ended."""
        if isinstance(outcome, Exception):
            self._fail(lane, run, outcome, on_loop=on_loop)
            return
        run.done_ns = time.perf_counter_ns()
        self._answering.series(run.route).observe_run(run.rows)
        run.route.version.recent.note(run.batch, run.rows)
        run.outcome = outcome
        run.drop_those_over()
        if not run.pendings:
            return
        if outcome.values > MAX_LOOP_VALUES:
            run.claim()
            run.contents = []  # nobody else is to write them
            self._begin(self._finish_in_thread(run))
        else:
            self._log(run, *describe_record(run))

    async def _finish_in_thread(self, run: Run) -> None:
        """Write a long answer and its record in a thread."""
        try:
            async with self._threads.turn(run.route.model.project_id) as worker:
                logged, record = await worker.run(partial(describe_record, run))
                invalid_outputs = await worker.run(partial(encode_contents, run))
        except Exception as error:  # the callers must not wait for ever
            log.exception("a long answer could not be written")
            for pending in run.pendings:
                self._answering.refuse_values(run.route, pending, error)
            return
        self._answering.series(run.route).invalid_outputs += invalid_outputs
        self._log(run, logged, record)
        self._journal.flush()

    def _log(self, run: Run, logged: LoggedBatch, record: bytes) -> None:
        """Log a run, and answer its requests once the log is safe."""
        self._answering.log_and_answer(
            run.pendings, run.rows, [record], partial(self._answering.answer, run), [(run, logged)]
        )

    def _fail(self, lane: Lane, run: Run, error: Exception, *, on_loop: bool) -> None:
        """Find the request that the model cannot answer, so that it does not fail its neighbours."""
        waiting = [pending for pending in run.pendings if not pending.is_over]
        if isinstance(error, UpstreamFailed):
            is_nobodys_fault = not error.may_be_one_requests_fault
        else:
            is_nobodys_fault = isinstance(error, RunEnded) and run.route.version.remote is not None
        if (len(run.pendings) > 1 and not is_nobodys_fault) or (on_loop and isinstance(error, RunEnded)):
            lane.put_back(waiting)  # each for a run of its own
            self._make_ready(lane)
            return
        for pending in waiting:
            self._refuse_for(run.route, pending, error)

    def _refuse_for(self, route: Route, pending: Pending, error: Exception) -> None:
        """Answer that there is no answer, by what the run raised."""
        if isinstance(error, RunEnded):
            self._answering.refuse_late(route, pending, self._too_long())
        elif isinstance(error, UpstreamFailed):
            self._answering.refuse_upstream(route, pending, error)
        else:
            self._answering.refuse_values(route, pending, error)

    def _too_long(self) -> str:
        return f"The model took longer than {self.options.most_run_seconds:g} s; send fewer rows at a time."

    # Large requests

    async def _answer_large(self, large: LargeRequest) -> None:
        """Answer a request piece by piece in threads, so that others find their turns in between."""
        try:
            outcome: LargeAnswer | Exception = await large.run(
                self._threads_of(large.route), self.options.most_run_seconds
            )
        except Exception as error:  # such as pieces of unequal width: the caller must not wait for ever
            log.exception("a large request failed")
            outcome = error
        finally:
            self._forget_large(large)
        pending = large.pending
        if pending.is_over:
            return
        if isinstance(outcome, Exception):
            self._refuse_for(large.route, pending, outcome)
        else:
            self._answer_pieces(large, outcome)

    def _forget_large(self, large: LargeRequest) -> None:
        project_id = large.route.model.project_id
        self._large[project_id].discard(large)
        if not self._large[project_id]:
            del self._large[project_id]

    def _answer_pieces(self, large: LargeRequest, answer: LargeAnswer) -> None:
        series = self._answering.series(large.route)
        for piece in answer.pieces:
            assert piece.outcome is not None
            series.observe_run(piece.rows)
        series.invalid_outputs += answer.invalid_outputs
        pending = large.pending
        self._answering.log_and_answer(
            [pending],
            pending.request.rows,
            answer.records,
            partial(self._answering.answer_large, large, answer),
            list(zip(answer.pieces, answer.logged, strict=True)),
        )
        self._journal.flush()

    # Tables and versions

    def adopt(self, table: RoutingTable) -> None:
        """Serve from a new table; requests that are under way keep the version they were admitted to."""
        self.table = table
        self._lanes = {
            key: lane for key, lane in self._lanes.items() if lane.waiting or lane.waits_for_thread
        }
        self.shadows.keep_only([shadow for route in table.champions() for shadow in route.shadows])
        parked, self._parked = self._parked, []
        for request in parked:
            self._take_or_park(request)

    def _take_or_park(self, request: Parked) -> None:
        """Take a request whose version was not loaded when it came, or keep it until it is."""
        try:
            admission = request.find(self.table)
        except NotLoaded as needed:
            self._park(request, needed)
            return
        request.take(admission)

    def _park(self, request: Parked, needed: NotLoaded) -> None:
        waited = (time.perf_counter_ns() - request.received_ns) / 1e9
        if waited > LOAD_SECONDS or len(self._parked) >= 1000:
            request.take(overloaded("The version is still being loaded; ask again."))
            return
        self._parked.append(request)
        self._load_version(needed.model, needed.version)

    # The process

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Let work go on beside the requests to come."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def spool_written(self) -> int:
        """Count the bytes that this process has spooled."""
        return self._writer.written + self._shadow_writer.written

    def load(self) -> dict[str, float]:
        """Tell what waits and what is under way."""
        waiting = [pending for lane in self._lanes.values() for pending in lane.waiting]
        waiting += [large.pending for requests in self._large.values() for large in requests]
        oldest_ns = min((pending.received_ns for pending in waiting), default=None)
        return {
            "requests": len(waiting),
            "rows": sum(pending.request.rows for pending in waiting),
            "oldest_seconds": 0.0 if oldest_ns is None else (time.perf_counter_ns() - oldest_ns) / 1e9,
            "body_bytes": self.bodies.bytes,
            "threads": self._threads.busy,
            "threads_given_up": self._threads.given_up + self._remote_threads.given_up,
            "remote_threads": self._remote_threads.busy,
        }

    @property
    def spool_is_full(self) -> bool:
        """Tell whether the spools hold as much as they may."""
        return self._answering.spool_is_full

    def measure_spool(self, waiting_bytes: int) -> None:
        """Take the size of all spools together; beyond the bound nothing more is taken."""
        self.spool_bytes = waiting_bytes
        self._answering.spool_is_full = waiting_bytes >= self.options.spool_max_bytes

    def log_request_counts(self) -> None:
        """Spool how the requests ended since the last call, for the log to add up."""
        counts = self._tally.take(time.time())
        if counts is None:
            return

        def settle(error: OSError | None) -> None:
            if error is not None:
                self._tally.give_back(counts)

        self._journal.write([encode_record(counts)], settle)
        self._journal.flush()

    def is_idle(self) -> bool:
        """Tell whether every request taken has its answer."""
        is_waited_for = self._ready or self._tasks or self._parked or self._isolated_runs
        return self._journal.is_settled() and not is_waited_for

    def _log_last_copies(self) -> None:
        """Spool which copies the shadows answered or dropped since the requests were counted last."""
        counts = self._tally.take(time.time())
        if counts is None:
            return
        try:
            self._shadow_writer.append([encode_record(counts)], sync=self.options.fsync == "always")
        except OSError:
            log.warning("the last counts of shadows were not spooled", exc_info=True)

    def close(self, shadow_seconds: float = 10.0) -> bool:
        """Spool what the shadows still owe and let go of the spool; the event loop takes no more requests.

        False where a run does not end: the process then has to end without waiting for it.
        """
        have_ended = self._threads.close() & self._remote_threads.close()
        self._loop_runs.close()
        self._journal.close()
        self._writer.close()
        has_ended = self.shadows.close(shadow_seconds)
        if has_ended:
            self._log_last_copies()
            self._shadow_writer.close()
        if self._traces is not None:
            self._traces.close()
        return has_ended and have_ended


def project_of(admission: Admission | Refusal | None) -> int:
    """Give the project that a request counts against; 0 while it is not known."""
    return admission.route.model.project_id if isinstance(admission, Admission) else 0


def _open_traces(options: TraceOptions | None) -> "RequestTraces | None":
    if options is None:
        return None
    from inference.serving.engine.request_traces import RequestTraces  # it loads OpenTelemetry

    return RequestTraces(options)


def _try_decode(codec: Codec[Any, Any], inbound: Inbound[Any, Any]) -> InferRequest | InvalidRequest:
    try:
        request = codec.decode(inbound.body, inbound.headers)
        if HOPS in inbound.headers:
            request.hops = read_hops(inbound.headers)
    except InvalidRequest as error:
        return error
    return request
