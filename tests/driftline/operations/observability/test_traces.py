"""Traces of API requests and of the tasks that they enqueue."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from driftline.operations.observability.api_traces import trace_api
from driftline.operations.observability.task_traces import TaskTraces
from inference.serving.http.asgi import App, Receive, Scope, Send
from inference.serving.tracing.options import TraceOptions
from inference.serving.tracing.spans import Traces
from tests.inference.serving.collector import Collector, attributes_of, collecting

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def answering(status: int, meanwhile: Any = None) -> App:
    """An application that answers with this status, after it did something else."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"yes"})

    return answer


def ask(application: App, path: str, traceparent: str | None = SAMPLED) -> list[Any]:
    """Send a request without a body, and give what was answered."""
    answered: list[Any] = []

    async def send(message: Any) -> None:
        answered.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    headers = [] if traceparent is None else [(b"traceparent", traceparent.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    asyncio.run(application(scope, receive, send))  # type: ignore[arg-type]
    return answered


class TestApi:
    def test_requests_become_spans_named_for_their_route(self, collector: Collector) -> None:
        traces = Traces(TraceOptions(collector.endpoint, 0.0))

        answered = ask(trace_api(answering(200), traces), "/api/v1/subjects/ada@example.com")
        ask(trace_api(answering(500), traces), "/api/v1/models/fraud/predictions")
        ask(trace_api(answering(404), traces), "/api/v1/nothing/here")
        traces.close()

        assert [message["type"] for message in answered] == ["http.response.start", "http.response.body"]
        spans = {attributes_of(span)["http.route"]: span for span in collector.spans}
        assert spans.keys() == {
            "/api/v1/subjects/<path:key>",
            "/api/v1/models/<name>/predictions",
            "/api/v1/...",
        }
        assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans.values()} == {
            (TRACE, CALLER)
        }
        failed = spans["/api/v1/models/<name>/predictions"]
        assert attributes_of(failed)["http.response.status_code"] == 500
        assert failed.status.code == failed.status.STATUS_CODE_ERROR
        assert not any(b"ada@" in body or b"fraud" in body for body in collector.bodies)

    def test_pages_and_what_is_not_sampled_have_none(self, collector: Collector) -> None:
        traces = Traces(TraceOptions(collector.endpoint, 0.0))

        for path, told in (
            ("/models", SAMPLED),
            ("/api/v1/rules", None),
            ("/api/v1/rules", SAMPLED[:-1] + "0"),
        ):
            assert ask(trace_api(answering(200), traces), path, told)
        traces.close()

        assert collector.spans == []


def nothing() -> None:
    """Succeed."""


def impossible() -> None:
    raise ValueError("as the test wants it")


class TestTasks:
    @pytest.mark.slow
    def test_belong_to_the_trace_of_the_request_that_enqueued_them(self, collector: Collector) -> None:
        app = Celery("traced", broker="memory://", backend="cache+memory://", set_as_current=False)
        app.conf.update(worker_hijack_root_logger=False, broker_transport_options={"polling_interval": 0.02})
        succeed, fail = app.task(name="succeed")(nothing), app.task(name="fail")(impossible)
        options = TraceOptions(collector.endpoint, 0.0)
        traces, tasks = Traces(options), TaskTraces(options)
        tasks.connect()

        def send() -> None:
            for task in (succeed, fail):
                task.delay().get(timeout=20, propagate=False, interval=0.02)

        with start_worker(app, perform_ping_check=False, shutdown_timeout=20):
            ask(trace_api(answering(200, send), traces), "/api/v1/rules")
            succeed.delay().get(timeout=20, interval=0.02)
        tasks.close()
        traces.close()

        spans = {span.name: span for span in collector.spans}
        assert spans.keys() == {"POST /api/v1/rules", "succeed", "fail"}
        assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
        assert spans["succeed"].parent_span_id == spans["POST /api/v1/rules"].span_id
        assert attributes_of(spans["fail"])["celery.state"] == "FAILURE"
        assert spans["fail"].status.code == spans["fail"].status.STATUS_CODE_ERROR
        assert len(collector.spans) == 3
