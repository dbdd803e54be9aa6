"""Spans for an OpenTelemetry collector: OTLP over HTTP, sent by a thread with a bounded queue.

A caller's W3C `traceparent` decides whether there is a span, and whose child it is; without one the ratio decides.
https://www.w3.org/TR/trace-context/
"""

import atexit
import os
import random
import threading
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inference.serving.tracing.options import TraceOptions

Attributes = Mapping[str, str | int]

MAX_WAITING_SPANS = 2048  # spans; what comes beyond is dropped
EXPORT_SECONDS = 2  # for one batch to be taken, and for the last ones when a process ends
_W3C = TraceContextTextMapPropagator()


class Traces:
    """Makes the spans of one process; whatever becomes of the collector, nobody waits for it."""

    def __init__(self, options: TraceOptions) -> None:
        """Begin to export; a child that is forked afterwards needs one of its own."""
        self._ratio = options.ratio
        resource = Resource.create({"service.name": "driftline", "process.pid": os.getpid()})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter(f"{options.endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(
            BatchSpanProcessor(self._exporter, max_queue_size=MAX_WAITING_SPANS)
        )
        self._tracer = self._provider.get_tracer("driftline")
        atexit.register(self.close)

    def parent_of(self, traceparent: str | None) -> Context | None:
        """Return what a span is to be a child of, an empty context for a new trace; None where there is to be none."""
        if traceparent is not None:
            context = _W3C.extract({"traceparent": traceparent}, Context())
            caller = trace.get_current_span(context).get_span_context()
            if caller.is_valid:
                return context if caller.trace_flags.sampled else None
        return Context() if random.random() < self._ratio else None

    def begin(
        self,
        name: str,
        parent: Context,
        *,
        kind: SpanKind,
        attributes: Attributes,
        started_ns: int | None = None,
    ) -> Span:
        """Begin a span, now or at a POSIX time in nanoseconds."""
        return self._tracer.start_span(
            name, parent, kind=kind, attributes=dict(attributes), start_time=started_ns
        )

    def record(
        self,
        name: str,
        parent: Context,
        *,
        started_ns: int,
        ended_ns: int,
        attributes: Attributes,
        events: Sequence[tuple[str, int]] = (),
        failed: bool = False,
    ) -> None:
        """Record the span of a request that has ended, with events at their times; POSIX times in nanoseconds."""
        span = self.begin(name, parent, kind=SpanKind.SERVER, attributes=attributes, started_ns=started_ns)
        for event, at_ns in events:
            span.add_event(event, timestamp=at_ns)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_ns)

    def close(self) -> None:
        """Send what waits, as far as that takes no longer than one export may; closing again does nothing."""
        atexit.unregister(self.close)
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(EXPORT_SECONDS)
        if sending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends the tries with what is left


def headers_of(span: Span) -> dict[str, str]:
    """Return the headers that make what another process does a part of the span's trace."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, trace.set_span_in_context(span, Context()))
    return headers
