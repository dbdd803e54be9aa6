"""The threads of one process: those that compute, and those that wait for other servers and processes."""

from inference.serving.engine.fair_threads import FairThreads
from inference.serving.options import EngineOptions
from inference.serving.routing import Route


class ThreadPools:
    """Belongs to the running event loop."""

    def __init__(self, options: EngineOptions) -> None:
        self.computing = FairThreads(options.threads)
        self.waiting = FairThreads(options.remote_threads)

    def for_route(self, route: Route) -> FairThreads:
        """Return the threads for a route's runs; who waits for another server or process takes none that computes."""
        return self.waiting if route.version.runs_elsewhere else self.computing

    @property
    def given_up(self) -> int:
        """Count the threads with work that has not ended although it had to."""
        return self.computing.given_up + self.waiting.given_up

    def close(self) -> bool:
        """End the threads; False where one is still at work, which only the end of the process can stop."""
        return self.computing.close() & self.waiting.close()
