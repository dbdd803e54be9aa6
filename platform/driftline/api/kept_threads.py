"""Runs requests on threads that outlive them, so that each finds an open database connection in its thread.

Django gives every ASGI request a thread of its own and keeps connections in threads: it would open one a request.
"""

from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import ThreadSensitiveContext

from driftline.api.body_cap import App, Receive, Scope, Send

KEPT_THREADS = 16  # each may hold a connection; requests beyond these get a thread for themselves


def keep_threads(application: App) -> App:
    """Give each request a thread that is idle; the one that was used last is the first to be used again."""
    idle: list[ThreadPoolExecutor] = []

    async def on_kept_thread(scope: Scope, receive: Receive, send: Send) -> None:
        thread = idle.pop() if idle else ThreadPoolExecutor(1, "request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await application(scope, receive, send)
        finally:
            if len(idle) < KEPT_THREADS:
                idle.append(thread)
            else:
                thread.shutdown(wait=False)

    return on_kept_thread
