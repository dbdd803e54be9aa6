"""The jobs of one serving process: what takes them in, what runs them, and what tidies up behind them."""

import asyncio
import logging
import time

from inference.serving.engine.engine import Engine
from inference.serving.job_limits import JobLimits
from inference.serving.jobs.api import JobApi
from inference.serving.jobs.runner import JobRunner
from inference.serving.jobs.store import JobStore

TIDY_SECONDS = 10.0
log = logging.getLogger(__name__)


class Jobs:
    """Belongs to the event loop of the engine."""

    def __init__(self, engine: Engine, limits: JobLimits) -> None:
        self._store = JobStore(
            engine.home,
            sync=engine.options.fsync != "off",
            keep_seconds=limits.keep_seconds,
            seals=engine.options.seals,
        )
        self._runner = JobRunner(engine, self._store, limits)
        self.api = JobApi(engine, self._store, self._runner, limits)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Run jobs, also those that other processes left behind."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._runner.run()), loop.create_task(self._tidy())]

    def drain(self) -> None:
        """Take no more jobs from the disk, and tell those who wait for theirs where to find it."""
        self._runner.stop()
        self.api.close()

    async def finish(self) -> None:
        """Wait for the jobs under way; the others stay on the disk."""
        self.drain()
        for endless in self._tasks[1:]:
            endless.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.finish()

    async def _tidy(self) -> None:
        """Measure what the jobs take, and remove what has expired."""
        while True:
            try:
                await self._runner.in_thread(self._store.tidy, time.time())
                self.api.bytes = await self._runner.in_thread(self._store.measure)
            except Exception:
                log.exception("the jobs could not be tidied")
            await asyncio.sleep(TIDY_SECONDS)
