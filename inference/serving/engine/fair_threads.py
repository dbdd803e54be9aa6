"""A few threads for what would hold up the event loop, in turns by project.

A project holds at most half of them, so that others always find one. Work comes in pieces of some milliseconds,
and each piece waits for its turn.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from queue import SimpleQueue

from msgspec import Struct

MAX_REPLACED = 8  # threads that hang and have another in their place; each further one is missing
log = logging.getLogger(__name__)


class WorkHangs(Exception):
    """A piece of work did not end when it had to; its thread is given up."""


class Turn(Struct, eq=False):
    """A place in the queue."""

    project_id: int
    rank_ns: int  # smaller goes first
    since_ns: int
    granted: "asyncio.Future[Worker]"


class Worker:
    """A thread that does one piece of work at a time. It is no obstacle to the end of the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, note_return: Callable[[], None]) -> None:
        """Start a thread; `note_return` is called in the event loop when work ends after it was given up."""
        self._loop = loop
        self._note_return = note_return
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.is_given_up = False
        threading.Thread(target=self._work, name="slow-model", daemon=True).start()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work()

    async def run[Result](self, work: Callable[[], Result], seconds: float | None = None) -> Result:
        """Do a piece of work in this thread; raise WorkHangs where it takes longer than so many seconds."""
        done: asyncio.Future[Result] = self._loop.create_future()

        def work_and_tell() -> None:
            try:
                result = work()
            except BaseException as error:
                self._tell(partial(done.set_exception, error))
            else:
                self._tell(partial(done.set_result, result))

        self._queue.put(work_and_tell)
        await asyncio.wait([done], timeout=seconds)
        if not done.done():
            self.is_given_up = True
            self.end()
            raise WorkHangs
        return done.result()

    def _tell(self, set_done: Callable[[], None]) -> None:
        def tell() -> None:
            if self.is_given_up:
                self._note_return()
            else:
                set_done()

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(tell)

    def end(self) -> None:
        """End the thread after what it is at."""
        self._queue.put(None)


class FairThreads:
    """Hands out threads; belongs to the running event loop."""

    def __init__(self, threads: int) -> None:
        self.share = max(threads // 2, 1)  # of one project
        self.given_up = 0  # threads whose work has not ended although it had to
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._idle: list[Worker] = []
        self._running: dict[int, list[Turn]] = {}
        self._waiting: dict[int, list[Turn]] = {}  # the projects in the order of their turns

    @property
    def busy(self) -> int:
        """Count the threads at work."""
        return sum(len(turns) for turns in self._running.values())

    def is_full_for(self, project_id: int) -> bool:
        """Return whether a project holds as many threads as it may."""
        return len(self._running.get(project_id, ())) >= self.share

    def parallel(self, project_id: int) -> float:
        """Return how many threads a project can count on, with what others ask for now."""
        projects = len({*self._waiting, *self._running, project_id})
        return min(self.share, self._threads / projects)

    def oldest_seconds(self, project_id: int) -> float:
        """Return for how long a project has been waiting for its next turn."""
        waiting = self._waiting.get(project_id)
        if not waiting:
            return 0.0
        return (time.perf_counter_ns() - min(turn.since_ns for turn in waiting)) / 1e9

    @contextlib.asynccontextmanager
    async def turn(self, project_id: int, delay_ns: int = 0) -> AsyncIterator[Worker]:
        """Wait for a thread and hold it for the block.

        `delay_ns` is how much later than this others of the project may come and go first.
        """
        now_ns = time.perf_counter_ns()
        turn = Turn(project_id, now_ns + delay_ns, now_ns, self._loop.create_future())
        self._waiting.setdefault(project_id, []).append(turn)
        self._grant()
        worker = await turn.granted
        try:
            yield worker
        finally:
            self._give_back(turn, worker)

    def _grant(self) -> None:
        """Assign free threads to the projects whose turn it is."""
        for project_id in list(self._waiting):
            if self.busy >= self._capacity():
                return
            if not self.is_full_for(project_id):
                self._grant_to(project_id)

    def _capacity(self) -> int:
        """Count the threads there may be: those given up are replaced, but not without end."""
        return self._threads - max(self.given_up - MAX_REPLACED, 0)

    def _grant_to(self, project_id: int) -> None:
        turns = self._waiting.pop(project_id)
        turn = min(turns, key=lambda turn: turn.rank_ns)
        turns.remove(turn)
        if turns:
            self._waiting[project_id] = turns  # behind all others
        self._running.setdefault(project_id, []).append(turn)
        turn.granted.set_result(self._idle.pop() if self._idle else Worker(self._loop, self._take_back))

    def _give_back(self, turn: Turn, worker: Worker) -> None:
        running = self._running[turn.project_id]
        running.remove(turn)
        if not running:
            del self._running[turn.project_id]
        if worker.is_given_up:
            self.given_up += 1
            log.error("a thread is given up: its model does not end", extra={"given_up": self.given_up})
        else:
            self._idle.append(worker)
        self._grant()

    def _take_back(self) -> None:
        """Count a thread whose work has ended after all; it ends, as another has taken its place."""
        self.given_up -= 1
        self._grant()

    def close(self) -> bool:
        """End the threads; False where one is still at work, which only the end of the process can stop."""
        for worker in self._idle:
            worker.end()
        return not self.busy and not self.given_up
