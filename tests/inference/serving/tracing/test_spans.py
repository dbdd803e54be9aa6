"""Traces of inference: what a real collector gets, and what becomes of answers when it does not."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from inference.protocol import inference_service_pb2 as messages
from inference.serving.options import EngineOptions
from inference.serving.tracing.options import TraceOptions
from tests.inference.serving.collector import Collector, attributes_of, collecting
from tests.inference.serving.conftest import publish_everything
from tests.inference.serving.running import Response, Server, rows_body, running_server

pytestmark = pytest.mark.slow

CALLER = "00f067aa0ba902b7"
SUMS = "/v2/models/sums/infer"
SMALL, LARGE, OVER_GRPC, LEFT_OUT, KEYED, UNREADABLE, GONE = (f"{number:032x}" for number in range(1, 8))


@contextmanager
def tracing(home: Path, endpoint: str, *, grpc: bool = False) -> Iterator[Server]:
    """Run a server that traces all; when the block ends it has stopped, and sent what waited."""
    publish_everything(home)
    options = EngineOptions(traces=TraceOptions(endpoint, 1.0))
    with running_server(home, options=options, grpc=grpc) as server:
        yield server


def ask(server: Server, trace: str, body: bytes, path: str = SUMS, flags: str = "01") -> Response:
    return server.ask(path, body, headers={"traceparent": f"00-{trace}-{CALLER}-{flags}"})


def ask_over_grpc(server: Server, trace: str) -> None:
    """Ask for the sum of one row."""
    contents = messages.InferTensorContents(fp32_contents=[1, 2, 3])
    tensor = messages.ModelInferRequest.InferInputTensor(
        name="X", datatype="FP32", shape=[1, 3], contents=contents
    )
    told = [("authorization", "Bearer dl_infer"), ("traceparent", f"00-{trace}-{CALLER}-01")]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        infer(messages.ModelInferRequest(model_name="sums", inputs=[tensor]), metadata=told, timeout=20)


@dataclass
class Told:
    """What a server told a collector of some requests, and what it answered to the first."""

    collector: Collector
    first: Response

    def span(self, trace: str) -> Any:
        """Give the only span of a trace."""
        (span,) = [span for span in self.collector.spans if span.trace_id.hex() == trace]
        return span


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    home, private = (
        tmp_path_factory.mktemp("home"),
        {"driftline_id": "ada@example.com", "driftline_subject": "grace"},
    )
    with collecting() as collector, tracing(home, collector.endpoint, grpc=True) as server:
        first = ask(server, SMALL, rows_body([1.25, 2.5, 4096.75], [1, 1, 1]))
        ask(server, LARGE, rows_body(*[[1, 2, 3]] * 300))
        ask_over_grpc(server, OVER_GRPC)
        ask(server, LEFT_OUT, rows_body([1, 2, 3]), flags="00")
        ask(server, KEYED, rows_body([1, 2, 3], parameters=private))
        ask(server, UNREADABLE, b'{"inputs": "ada@example.com"}')
        ask(server, GONE, rows_body([1]), path="/v2/models/gone/infer")
        server.ask(SUMS, rows_body([1, 2, 3]))
        server.ask(SUMS, rows_body([1, 2, 3]), headers={"traceparent": "00-nonsense"})
        assert server.stop() == 0
    return Told(collector, first)


class TestSpans:
    def test_belong_to_the_trace_of_their_caller(self, told: Told) -> None:
        for trace in (SMALL, LARGE, OVER_GRPC, KEYED, UNREADABLE, GONE):
            assert told.span(trace).parent_span_id.hex() == CALLER
        assert set(told.collector.paths) == {"/v1/traces"}

    def test_tell_what_answered(self, told: Told) -> None:
        span = told.span(SMALL)

        assert span.name == "infer sums"
        assert attributes_of(span) == {
            "driftline.model": "sums",
            "driftline.version": "1",
            "driftline.role": "champion",
            "driftline.rows": 2,
            "driftline.batch_rows": 2,
            "driftline.prediction_id": told.first.headers["driftline-prediction-id"],
        }

    @pytest.mark.parametrize("trace", [SMALL, LARGE, OVER_GRPC])
    def test_have_an_event_at_the_end_of_each_phase(self, told: Told, trace: str) -> None:
        span = told.span(trace)

        times = [
            span.start_time_unix_nano,
            *(event.time_unix_nano for event in span.events),
            span.end_time_unix_nano,
        ]
        assert [event.name for event in span.events] == [
            "decode",
            "queue",
            "batch",
            "compute",
            "encode",
            "log",
        ]
        assert times == sorted(times)

    def test_leave_out_what_a_caller_does_not_sample(self, told: Told) -> None:
        assert LEFT_OUT not in {span.trace_id.hex() for span in told.collector.spans}

    def test_begin_a_trace_of_their_own_where_a_caller_names_none(self, told: Told) -> None:
        roots = [span for span in told.collector.spans if span.parent_span_id == b""]

        assert len({span.trace_id for span in roots}) == 2

    def test_hold_nothing_that_the_caller_sent(self, told: Told) -> None:
        assert "driftline.prediction_id" not in attributes_of(told.span(KEYED))
        assert not any(word in body for body in told.collector.bodies for word in (b"ada@", b"grace"))

    def test_of_refusals_say_with_what_status(self, told: Told) -> None:
        assert attributes_of(told.span(GONE)) == {
            "url.path": "/v2/models/gone/infer",
            "http.response.status_code": 404,
        }


class TestCollector:
    def test_that_fails_changes_no_answer(self, tmp_path: Path) -> None:
        with collecting(status=500) as collector, tracing(tmp_path, collector.endpoint) as server:
            answers = [server.ask(SUMS, rows_body([1, 2, 3])) for _ in range(20)]

            assert {answer.status for answer in answers} == {200}
            assert server.stop() == 0

    def test_that_is_silent_changes_no_answer(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never answers
            endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with tracing(tmp_path, endpoint) as server:
                answers = [server.ask(SUMS, rows_body([1, 2, 3])) for _ in range(20)]

                assert {answer.status for answer in answers} == {200}
                assert server.stop() == 0


def test_nothing_of_opentelemetry_is_loaded_where_there_are_no_traces(tmp_path: Path) -> None:
    look = "import sys; print([name for name in sys.modules if name.split('.')[0] == 'opentelemetry'])"
    modules = "inference.serving.worker, inference.serving.grpc.server, driftline.asgi, driftline.celery"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}

    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {modules}; {look}"],
        env=kept | {"DRIFTLINE_HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert found.stdout.strip() == "[]"
