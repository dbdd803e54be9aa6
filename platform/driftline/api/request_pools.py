"""Runs requests on threads that outlive them, so that each finds an open database connection in its thread.

Django gives every ASGI request a thread of its own and keeps connections in threads: it would open one a request.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from asgiref.sync import ThreadSensitiveContext

from driftline.api.body_cap import App, Receive, Scope, Send

KEPT_THREADS = 16  # each may hold a connection; requests beyond these get a thread for themselves


class KeptThreads:
    """Threads of which each runs one request at a time."""

    def __init__(self) -> None:
        self._idle: list[ThreadPoolExecutor] = []

    @contextmanager
    def one(self) -> Iterator[ThreadPoolExecutor]:
        """Give a thread that is idle until the block ends; the one that was used last is the first to be used again."""
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request")
        try:
            yield thread
        finally:
            if len(self._idle) < KEPT_THREADS:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)


def keep_threads(application: App, threads: KeptThreads) -> App:
    """Give each request of an application one of the threads."""

    async def on_kept_thread(scope: Scope, receive: Receive, send: Send) -> None:
        with threads.one() as thread:
            async with ThreadSensitiveContext(executor=thread):
                await application(scope, receive, send)

    return on_kept_thread
