"""Spans of API requests, those that log predictions and labels included; pages have none."""

from collections.abc import MutableMapping
from typing import Any

from django.urls import Resolver404, resolve
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from inference.serving.http.asgi import App, Receive, Scope, Send
from inference.serving.tracing.spans import Traces

_API = "/api/v1/"


def trace_api(application: App, traces: Traces) -> App:
    """Open a span for each request to the API, within which the application answers it."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_API):
            await application(scope, receive, send)
            return
        header = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        parent = traces.parent_of(None if header is None else header.decode("latin-1"))
        if parent is None:
            await application(scope, receive, send)
            return
        route = _route_of(scope["path"])
        attributes = {"http.request.method": scope["method"], "http.route": route}
        span = traces.begin(f"{scope['method']} {route}", parent, kind=SpanKind.SERVER, attributes=attributes)

        async def send_on(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(Status(StatusCode.ERROR))
            await send(message)

        with trace.use_span(span, end_on_exit=True, record_exception=False):
            await application(scope, receive, send_on)

    return traced


def _route_of(path: str) -> str:
    """Name the route, with its places: a path itself may hold the key of a person."""
    try:
        return f"/{resolve(path).route}"
    except Resolver404:
        return f"{_API}..."
