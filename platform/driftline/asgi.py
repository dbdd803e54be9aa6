"""The ASGI application: Django, behind the inference routes that `inference.serving` answers first."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")

from typing import cast

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.db import connection, connections
from django.http import HttpRequest, HttpResponseBase

from driftline.api.front.body_cap import cap_bodies
from driftline.api.front.log_routes import answer_log_routes
from driftline.api.front.probes import answer_probes
from driftline.api.front.request_pools import THREAD, RequestPools, limit_requests
from driftline.base.database.base import REPLICA
from driftline.base.database.watch import REPLICA_WATCH, WATCH
from driftline.operations.observability.trace_settings import trace_options
from inference.serving.http.asgi import App


class OneThreadHandler(ASGIHandler):
    """Django's handler, with a request's middlewares and view in one visit to its thread.

    All of ours are synchronous; Django's own chain would go to the thread and back for each of them.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        response = await sync_to_async(self._respond, thread_sensitive=True)(request)
        if not response.streaming:
            cast(ASGIRequest, request).scope[THREAD].give_back()  # it is sent without
        return response

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        """Answer on the request's thread; an answer that is whole is closed there, and its thread is free."""
        with WATCH.request(), REPLICA_WATCH.request():
            response = self.get_response(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # as Django's own
        if not response.streaming:
            response.close()
            response.close = _closed  # type: ignore[method-assign]  # Django closes it again once it is sent
        return response


def _closed() -> None:
    """Do nothing."""


django.setup(set_prefix=False)

from driftline.api.front.health import probed_readiness  # noqa: E402  it loads models

WATCH.start(connection.get_connection_params)
if settings.REPLICA_URL:
    REPLICA_WATCH.start(connections[REPLICA].get_connection_params)
_pools = RequestPools(web_threads=settings.WEB_THREADS, log_threads=settings.LOG_THREADS)
application = answer_log_routes(cap_bodies(limit_requests(cast(App, OneThreadHandler()), _pools)), _pools)
application = answer_probes(application, probed_readiness())
if (_options := trace_options()) is not None:
    # These load OpenTelemetry.
    from driftline.operations.observability.api_traces import trace_api
    from inference.serving.tracing.spans import Traces

    application = trace_api(application, Traces(_options))
