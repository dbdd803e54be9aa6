"""The ASGI application: Django, behind the inference routes that `inference.serving` answers first."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "driftline.settings")

from typing import cast

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase

from driftline.api.body_cap import cap_bodies
from driftline.api.kept_threads import KeptThreads, keep_threads
from driftline.api.log_routes import answer_log_routes
from driftline.observability.trace_settings import trace_options
from inference.serving.asgi import App


class OneThreadHandler(ASGIHandler):
    """Django's handler, with a request's middlewares and view in one visit to its thread.

    All of ours are synchronous; Django's own chain would go to the thread and back for each of them.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        response = await sync_to_async(self.get_response, thread_sensitive=True)(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # as Django's own
        return response


django.setup(set_prefix=False)
_threads = KeptThreads()
application = answer_log_routes(cap_bodies(keep_threads(cast(App, OneThreadHandler()), _threads)), _threads)
if (_options := trace_options()) is not None:
    # These load OpenTelemetry.
    from driftline.observability.api_traces import trace_api
    from inference.serving.traces import Traces

    application = trace_api(application, Traces(_options))
