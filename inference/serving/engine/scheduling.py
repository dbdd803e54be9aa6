"""When lanes run: those that are ready take turns by project, a few milliseconds of the event loop at a time."""

import asyncio
import time

from inference.serving.engine.batch_run import BatchRun
from inference.serving.engine.completion import Completion
from inference.serving.engine.execution import BatchExecutor
from inference.serving.engine.journal import Journal
from inference.serving.engine.lanes import Lane, Pending
from inference.serving.engine.rotation import Rotation
from inference.serving.routing import Route

TURN_NS = 2_000_000  # of runs in one turn of the loop, then it looks at its sockets again
HELD_ROWS = 32  # from here on a larger batch costs hardly less a row


class Scheduler:
    """Keeps the lanes, and has those that are ready run; belongs to the running event loop."""

    def __init__(self, journal: Journal, completion: Completion, executor: BatchExecutor) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._completion = completion
        self._executor = executor
        self._lanes: dict[tuple[Route, bool], Lane] = {}
        self._ready: Rotation[Lane] = Rotation()
        self._is_scheduled = False

    def lane(self, route: Route, *, keyed: bool) -> Lane:
        """Return the lane of a route's requests, with or without ids of their callers'."""
        lane = self._lanes.get((route, keyed))
        if lane is None:
            lane = self._lanes[route, keyed] = Lane(route, keyed=keyed)
        return lane

    def make_ready(self, lane: Lane) -> None:
        """Queue a lane in which requests wait for its turn, unless it has one already."""
        if not lane.waiting or lane.waits_for_thread:
            return
        if not lane.is_ready:
            lane.is_ready = True
            self._ready.push(lane.route.model.project_id, lane)
        if not self._is_scheduled and not self._is_held(lane):
            self._schedule()

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._loop.call_soon(self._take_turn)

    def _is_held(self, lane: Lane) -> bool:
        """Return whether a lane waits for the end of the sync on its way, which runs all that is ready.

        Its records could reach the disk with the next sync only, and one short run costs less than several.
        """
        return (
            self._journal.in_flight_since_ns > 0
            and lane.rows < HELD_ROWS
            and lane.route.version.cost.inline_rows >= HELD_ROWS
        )

    def _take_turn(self) -> None:
        """Run all that arrived in one turn of the event loop; nothing waits for a batch to fill."""
        self._is_scheduled = False
        runs = self.run_ready()
        self._journal.flush()
        for run in runs:  # the disk is at work meanwhile
            self._completion.write_contents(run)

    def run_ready(self) -> list[BatchRun]:
        """Run each lane that is ready, by projects in turn, until the loop's time is up; return the runs that ended."""
        runs: list[BatchRun] = []
        until_ns = time.perf_counter_ns() + TURN_NS
        while self._ready and time.perf_counter_ns() < until_ns:
            lane = self._ready.pop()
            lane.is_ready = False
            run = self._executor.start(lane)
            self.make_ready(lane)
            if run is not None:
                runs.append(run)
        if self._ready and not self._is_scheduled:
            self._schedule()
        return runs

    def forget_empty_lanes(self) -> None:
        """Drop the lanes in which nothing waits, as those of routes that are served no longer."""
        self._lanes = {
            key: lane for key, lane in self._lanes.items() if lane.waiting or lane.waits_for_thread
        }

    def pendings(self) -> list[Pending]:
        """List the requests that wait for their run."""
        return [pending for lane in self._lanes.values() for pending in lane.waiting]

    def is_idle(self) -> bool:
        """Return whether no lane is ready, and no process of a version at work."""
        return not self._ready and not self._executor.isolated_runs
