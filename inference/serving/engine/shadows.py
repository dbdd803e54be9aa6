"""Shadows: a copy of what the champion answered, run behind its back. Nothing here can delay or fail it."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from inference.prediction_log.spool.record import LoggedBatch, encode_record
from inference.prediction_log.spool.segments import SpoolUnwritable, SpoolWriter
from inference.protocol.hops import MAX_HOPS
from inference.protocol.results import BatchOutputs
from inference.runtime.remote.circuit_breaker import CircuitBreaker, State
from inference.runtime.remote.errors import UpstreamFailed, ValuesRefused
from inference.runtime.session import Array, RunOptions, first_line
from inference.serving.counts.metrics import ServingMetrics
from inference.serving.options import ShadowLimits
from inference.serving.versions.id_sampling import chosen_by_id
from inference.serving.versions.versions import LoadedVersion, Outcome

LOOK_SECONDS = 0.05
MAX_COMBINED_ROWS = 256  # rows of several copies that another server is asked at once
log = logging.getLogger(__name__)


class ShadowWork(Struct):
    """A champion's batch, for one shadow to answer as well; `share` of its rows are copied."""

    shadow: LoadedVersion
    champion: LoadedVersion
    batch: dict[str, Array]
    logged: LoggedBatch
    champion_run_us: int
    share: float = 1.0
    hops: int = 0
    is_trial: bool = False  # let through by an open circuit


class ShadowLane:
    """What waits for one shadow, and whether that is fit to be asked."""

    def __init__(self, open_seconds: float) -> None:
        self.breaker = CircuitBreaker(open_seconds)
        self.waiting: deque[ShadowWork] = deque()  # the thread's
        self.put_rows = 0  # counted by the event loop alone
        self.done_rows = 0  # counted by the thread alone

    @property
    def queued_rows(self) -> int:
        return self.put_rows - self.done_rows


class Watched(Struct):
    """The run that is under way."""

    options: RunOptions
    ends_at: float


class ShadowRunner:
    """Makes shadows answer what champions did, each from a queue of its own that drops rather than grows.

    Our own versions share one thread, as they compute; those of other servers another, as they wait; and those in
    processes of their own have one a project. A shadow that
    fails or runs out of time more often than not is left alone for a while.
    """

    def __init__(
        self,
        writer: SpoolWriter,
        metrics: ServingMetrics,
        *,
        sync: bool,
        limits: ShadowLimits | None = None,
    ) -> None:
        """Make a runner with a spool of its own; `sync` brings every record to the disk at once."""
        self._spool = ShadowSpool(writer, sync)
        self._metrics = metrics
        self._limits = limits or ShadowLimits()
        self._lanes: dict[tuple[int, str], ShadowLane] = {}
        self._ours = ShadowThread(self._spool, metrics, self._limits.run_seconds)
        self._remote: ShadowThread | None = None
        self._isolated: dict[int, ShadowThread] = {}  # by project

    def offer(self, work: ShadowWork, *, spool_is_full: bool) -> None:
        """Queue a copy, or drop it and count why."""
        rows = len(work.logged.ids)
        lane = self._lane(work.shadow)
        if spool_is_full:
            count_drop(self._metrics, work, "spool_full")
        elif work.hops >= MAX_HOPS and work.shadow.remote is not None:
            count_drop(self._metrics, work, "loop")
        elif lane.queued_rows + rows > self._limits.max_queued_rows:
            count_drop(self._metrics, work, "queue_full")
        elif not lane.breaker.admits(time.monotonic()):
            count_drop(self._metrics, work, "circuit_open")
        else:
            lane.put_rows += rows
            work.is_trial = lane.breaker.state is not State.CLOSED
            self._thread_of(work.shadow).put(lane, work)

    def _thread_of(self, shadow: LoadedVersion) -> "ShadowThread":
        if shadow.isolated is not None:
            thread = self._isolated.get(shadow.project_id)
            if thread is None:
                thread = ShadowThread(self._spool, self._metrics, self._limits.run_seconds)
                self._isolated[shadow.project_id] = thread
            return thread
        if shadow.remote is None:
            return self._ours
        if self._remote is None:
            self._remote = ShadowThread(self._spool, self._metrics, self._limits.run_seconds)
        return self._remote

    def states(self) -> list[dict[str, Any]]:
        """Describe each shadow that was asked: its circuit, what waits, and why it last failed."""
        return [
            {
                "model_id": model_id,
                "version": version,
                "circuit": lane.breaker.state.value,
                "queued_rows": lane.queued_rows,
                "last_failure": lane.breaker.last_failure,
            }
            for (model_id, version), lane in sorted(self._lanes.copy().items())
        ]

    def keep_only(self, shadows: Sequence[LoadedVersion]) -> None:
        """Forget what is known of shadows that are none any more."""
        kept = {(shadow.model_id, shadow.plan.version) for shadow in shadows}
        self._lanes = {key: lane for key, lane in self._lanes.items() if key in kept}

    def close(self, seconds: float) -> bool:
        """Answer what is queued, for at most so long, then drop the rest; tell whether the threads have ended."""
        all_threads = [self._ours, self._remote, *self._isolated.values()]
        threads = [thread for thread in all_threads if thread is not None]
        for thread in threads:
            thread.finish()
        deadline = time.monotonic() + seconds
        ended = [thread.close(max(deadline - time.monotonic(), 0.0), seconds) for thread in threads]
        return all(ended)

    def _lane(self, shadow: LoadedVersion) -> ShadowLane:
        key = shadow.model_id, shadow.plan.version
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = ShadowLane(self._limits.open_seconds)
        return lane


class ShadowSpool:
    """The spool of all shadows, which threads append to in turn."""

    def __init__(self, writer: SpoolWriter, sync: bool) -> None:
        self._writer = writer
        self._sync = sync
        self._lock = threading.Lock()

    def append(self, records: Sequence[bytes]) -> None:
        with self._lock:
            self._writer.append(records, sync=self._sync)


class ShadowThread:
    """Runs the shadows of some lanes, which take turns: a slow one holds up the others by a run at most.

    A run is ended at its deadline.
    """

    def __init__(self, spool: ShadowSpool, metrics: ServingMetrics, run_seconds: float) -> None:
        self._spool = spool
        self._metrics = metrics
        self._run_seconds = run_seconds
        self._arrived: queue.SimpleQueue[tuple[ShadowLane, ShadowWork] | None] = queue.SimpleQueue()
        self._watched: Watched | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shadows", daemon=True)
        self._thread.start()
        threading.Thread(target=self._enforce_deadlines, name="shadow-deadlines", daemon=True).start()

    def put(self, lane: ShadowLane, work: ShadowWork) -> None:
        """Queue a copy for its run."""
        self._arrived.put((lane, work))

    def finish(self) -> None:
        """Take nothing more, and end after what is queued."""
        self._arrived.put(None)

    def close(self, seconds: float, last_run_seconds: float) -> bool:
        """Wait for the end at most so long, then drop what is queued; False where the run on its way does not end."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._stopping.set()
            self._thread.join(last_run_seconds)
        self._stopping.set()
        return not self._thread.is_alive()

    def _work(self) -> None:
        """Answer what waits, one batch of each shadow in turn."""
        turns: deque[ShadowLane] = deque()
        is_open = True
        while (is_open or turns) and not self._stopping.is_set():
            is_open = self._take_arrivals(turns, wait=is_open and not turns) and is_open
            if turns:
                lane = turns.popleft()
                self._answer_or_count(lane, _take_together(lane))
                if lane.waiting:
                    turns.append(lane)
        remaining = [work for lane in turns for work in lane.waiting]
        self._drop(remaining, "shutdown")
        if remaining:
            log.warning("shadows were dropped at shutdown", extra={"batches": len(remaining)})

    def _take_arrivals(self, turns: deque[ShadowLane], *, wait: bool) -> bool:
        """Put what has arrived into its lanes; False where nothing more will come."""
        while True:
            try:
                arrived = self._arrived.get(block=wait)
            except queue.Empty:
                return True
            if arrived is None:
                return False
            wait = False
            lane, work = arrived
            if not lane.waiting:
                turns.append(lane)
            lane.waiting.append(work)

    def _answer_or_count(self, lane: ShadowLane, works: list[ShadowWork]) -> None:
        """Answer copies together; where one of them may have failed all, each by itself."""
        try:
            self._answer(lane, works)
        except SpoolUnwritable:
            self._drop(works, "spool_unwritable")
        except Exception as error:
            if len(works) > 1 and _may_be_one_copys_fault(error):
                for work in works:
                    self._answer_or_count(lane, [work])
                return
            reason = "timeout" if self._watched and self._watched.options.terminate else "failed"
            self._drop(works, reason)
            lane.breaker.fail(f"{reason}: {first_line(error)}", time.monotonic())
            log.warning("a shadow failed", exc_info=True, extra={"version_id": works[0].shadow.plan.id})
        finally:
            self._watched = None
        lane.done_rows += sum(len(work.logged.ids) for work in works)

    def _drop(self, works: Sequence[ShadowWork], reason: str) -> None:
        for work in works:
            count_drop(self._metrics, work, reason)

    def _answer(self, lane: ShadowLane, works: list[ShadowWork]) -> None:
        if lane.breaker.state is not State.CLOSED and not works[0].is_trial:
            self._drop(works, "circuit_open")
            return
        if not works[0].shadow.takes_same_inputs(works[0].champion):
            self._drop(works, "other_inputs")
            lane.breaker.give_back()
            return
        samples = [sample for sample in map(_sample, works) if sample.logged.ids]
        if not samples:
            lane.breaker.give_back()
            return
        outcome = self._run(samples)
        lane.breaker.succeed()
        self._spool.append([encode_record(record) for record in _records(samples, outcome)])
        series = self._metrics.series(works[0].shadow.model_id, works[0].shadow.plan.version, "shadow")
        series.observe_run(len(outcome.outputs[0]))
        series.observe_phases({"compute": outcome.run_ns, "total": outcome.run_ns})
        series.invalid_outputs += BatchOutputs(outcome.outputs).finite.count(False)

    def _run(self, works: list[ShadowWork]) -> Outcome:
        options = RunOptions()
        options.hops = max(work.hops for work in works)
        self._watched = Watched(options, time.monotonic() + self._run_seconds)
        return works[0].shadow.run(_join([work.batch for work in works]), options)

    def _enforce_deadlines(self) -> None:
        """End the run under way once its time is up, and also when the process stops."""
        while not self._stopping.wait(LOOK_SECONDS):
            watched = self._watched
            if watched is not None and time.monotonic() > watched.ends_at:
                watched.options.terminate = True
        if (watched := self._watched) is not None:
            watched.options.terminate = True


def count_drop(metrics: ServingMetrics, work: ShadowWork, reason: str) -> None:
    """Count a copy that a shadow does not get."""
    key = work.shadow.model_id, work.shadow.plan.version, reason
    metrics.shadow_drops[key] += 1
    metrics.dropped_copies[key] += len(chosen_by_id(work.logged.ids, work.share))


def _take_together(lane: ShadowLane) -> list[ShadowWork]:
    """Take what is to be run next: one copy, or as many as another server is asked at once."""
    works = [lane.waiting.popleft()]
    first, rows = works[0], len(works[0].logged.ids)
    if first.shadow.remote is None or first.is_trial:
        return works
    while lane.waiting:
        work = lane.waiting[0]
        rows += len(work.logged.ids)
        is_like = (work.shadow, work.champion) == (first.shadow, first.champion)
        if rows > MAX_COMBINED_ROWS or work.is_trial or not is_like:
            break
        works.append(lane.waiting.popleft())
    return works


def _join(batches: list[dict[str, Array]]) -> dict[str, Array]:
    if len(batches) == 1:
        return batches[0]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _records(works: list[ShadowWork], outcome: Outcome) -> Iterator[LoggedBatch]:
    """Cut a run's outcome into the records of the copies that it answered together."""
    if len(works) == 1:
        yield _record(works[0], outcome)
        return
    start = 0
    for work in works:
        stop = start + len(work.logged.ids)
        yield _record(work, work.shadow.keep_rows(outcome, list(range(start, stop))))
        start = stop


def _record(work: ShadowWork, outcome: Outcome) -> LoggedBatch:
    slower_us = outcome.run_us - work.champion_run_us
    return msgspec.structs.replace(
        work.logged,
        version_id=work.shadow.plan.id,
        role="shadow",
        latency_us=[max(latency_us + slower_us, 1) for latency_us in work.logged.latency_us],
        prediction=outcome.prediction,
        probabilities=outcome.probabilities,
        thumbnails=None,  # the answer's own row has them
    )


def _may_be_one_copys_fault(error: Exception) -> bool:
    if isinstance(error, UpstreamFailed):
        return error.may_be_one_requests_fault
    return isinstance(error, ValuesRefused)


def _sample(work: ShadowWork) -> ShadowWork:
    """Keep the rows that are copied."""
    if work.share >= 1:
        return work
    chosen = chosen_by_id(work.logged.ids, work.share)
    batch = {name: values[chosen] for name, values in work.batch.items()}
    logged = work.logged
    return ShadowWork(
        shadow=work.shadow,
        champion=work.champion,
        batch=batch,
        logged=msgspec.structs.replace(
            logged,
            ids=_pick(logged.ids, chosen),
            client_ids=_pick(logged.client_ids, chosen),
            event_time_us=_pick(logged.event_time_us, chosen),
            latency_us=_pick(logged.latency_us, chosen),
            features=work.champion.features(batch) if chosen else [],
            subjects=_pick(logged.subjects, chosen),
            tags=_pick(logged.tags, chosen),
        ),
        champion_run_us=work.champion_run_us,
        hops=work.hops,
    )


def _pick[Values: list[Any] | None](values: Values, chosen: Sequence[int]) -> Values:
    return values if values is None else [values[place] for place in chosen]  # type: ignore[return-value]
