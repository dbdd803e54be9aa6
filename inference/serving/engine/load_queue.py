"""Requests that wait here until their version is loaded into memory."""

import time
from collections.abc import Callable

from msgspec import Struct

from inference.serving.plan import PlanModel, PlanVersion
from inference.serving.refusals import Refusal, overloaded
from inference.serving.routing import Admission, NotLoaded, RoutingTable

MAX_LOAD_SECONDS = 30.0
MAX_WAITING = 1000

type FindRoute = Callable[[RoutingTable], Admission | Refusal]


class RouteRequest(Struct):
    """Someone who needs a route: `find` raises NotLoaded until its version is loaded, then `proceed` is called once."""

    find: FindRoute
    received_ns: int
    proceed: Callable[[Admission | Refusal], None]


class LoadQueue:
    """Asks for versions to be loaded, and looks for the routes of those who wait in each new table."""

    def __init__(self, load_version: Callable[[PlanModel, PlanVersion], None]) -> None:
        """Make a queue; `load_version` brings a version into the next table."""
        self._load_version = load_version
        self._waiting: list[RouteRequest] = []

    def add(self, request: RouteRequest, table: RoutingTable) -> None:
        """Pass a request on with its route, or make it wait where that has to be loaded first."""
        try:
            admission = request.find(table)
        except NotLoaded as needed:
            self._wait(request, needed)
            return
        request.proceed(admission)

    def _wait(self, request: RouteRequest, needed: NotLoaded) -> None:
        waited_seconds = (time.perf_counter_ns() - request.received_ns) / 1e9
        if waited_seconds > MAX_LOAD_SECONDS or len(self._waiting) >= MAX_WAITING:
            request.proceed(overloaded("The version is still being loaded; ask again."))
            return
        self._waiting.append(request)
        self._load_version(needed.model, needed.version)

    def retry(self, table: RoutingTable) -> None:
        """Look for all routes again in a new table."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self.add(request, table)

    def __bool__(self) -> bool:
        """Return whether anyone waits."""
        return bool(self._waiting)
