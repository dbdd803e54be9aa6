"""Shadows: a copy of what the champion answered, run behind its back. Nothing here can delay or fail it."""

import logging
import queue
import threading

import msgspec
from msgspec import Struct

from inference.prediction_log.record import LoggedBatch, encode_batch
from inference.prediction_log.spool import SpoolUnwritable, SpoolWriter, frame
from inference.runtime.session import Array
from inference.serving.metrics import ServingMetrics
from inference.serving.versions import LoadedVersion

MAX_QUEUED_ROWS = 20_000
log = logging.getLogger(__name__)


class ShadowWork(Struct):
    """A champion's batch, for one shadow to answer as well."""

    shadow: LoadedVersion
    champion: LoadedVersion
    batch: dict[str, Array]
    logged: LoggedBatch
    champion_run_us: int


class ShadowRunner:
    """Runs shadows in one thread of the process, from a queue that drops rather than grows."""

    def __init__(
        self,
        writer: SpoolWriter,
        metrics: ServingMetrics,
        *,
        sync: bool,
        max_queued_rows: int = MAX_QUEUED_ROWS,
    ) -> None:
        """Make a runner with a spool of its own; `sync` brings every record to the disk at once."""
        self._writer = writer
        self._metrics = metrics
        self._sync = sync
        self._max_queued_rows = max_queued_rows
        self._queue: queue.SimpleQueue[ShadowWork | None] = queue.SimpleQueue()
        self._put_rows = 0  # counted by the event loop alone
        self._done_rows = 0  # counted by the thread alone
        self._thread = threading.Thread(target=self._work, name="shadows", daemon=True)
        self._thread.start()

    def offer(self, work: ShadowWork, *, spool_is_full: bool) -> None:
        """Queue a copy, or drop it and count why."""
        rows = len(work.logged.ids)
        if spool_is_full:
            self._metrics.shadow_drops["spool_full"] += 1
        elif self._put_rows - self._done_rows + rows > self._max_queued_rows:
            self._metrics.shadow_drops["queue_full"] += 1
        else:
            self._put_rows += rows
            self._queue.put(work)

    def close(self, seconds: float) -> bool:
        """Answer what is queued, for at most so long, then drop the rest; tell whether the thread has ended."""
        self._queue.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.warning("shadows were dropped at shutdown", extra={"batches": self._drop_what_is_queued()})
            self._queue.put(None)
            self._thread.join(seconds)  # the run on its way
        return not self._thread.is_alive()

    def _drop_what_is_queued(self) -> int:
        dropped = 0
        while True:
            try:
                dropped += self._queue.get_nowait() is not None
            except queue.Empty:
                return dropped

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._answer(work)
            except SpoolUnwritable:
                self._metrics.shadow_drops["spool_unwritable"] += 1
            except Exception:
                self._metrics.shadow_drops["failed"] += 1
                log.warning("a shadow failed", exc_info=True, extra={"version_id": work.shadow.plan.id})
            finally:
                self._done_rows += len(work.logged.ids)

    def _answer(self, work: ShadowWork) -> None:
        if not work.shadow.takes_same_inputs(work.champion):
            self._metrics.shadow_drops["other_inputs"] += 1
            return
        outcome = work.shadow.run(work.batch)
        slower_us = outcome.run_us - work.champion_run_us
        rows = len(work.logged.ids)
        record = msgspec.structs.replace(
            work.logged,
            version_id=work.shadow.plan.id,
            role="shadow",
            latency_us=[max(latency_us + slower_us, 1) for latency_us in work.logged.latency_us],
            prediction=outcome.prediction,
            probabilities=outcome.probabilities,
        )
        self._writer.append([frame(encode_batch(record))], sync=self._sync)
        series = self._metrics.series(work.shadow.model_id, work.shadow.plan.version, "shadow")
        series.observe_run(rows)
        series.observe_latency(outcome.run_us)
