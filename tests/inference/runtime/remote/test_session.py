"""What is asked of another server, and what becomes of answers that are none."""

import json
import socket
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.base.outbound.rules import OutboundRules
from inference.protocol.hops import MAX_HOPS
from inference.runtime.remote.circuit_breaker import FAILURES_TO_OPEN, State
from inference.runtime.remote.credentials import KEY_FILE, seal_headers
from inference.runtime.remote.errors import CallEnded, UpstreamFailed, ValuesRefused
from inference.runtime.session import ModelRefused, RunOptions
from inference.signatures import TensorSpec
from tests.inference.runtime.remote.conftest import Opens
from tests.ports import free_port
from tests.upstream import Asked, response, running_upstream

ROWS = {"X": np.array([[1, 2], [3, 4]], np.float32)}
ONE_ROW = {"X": np.array([[1, 2]], np.float32)}


def sums(asked: Asked) -> bytes:
    """Answer the sum of each row, as V2."""
    [tensor] = json.loads(asked.body)["inputs"]
    data = np.array(tensor["data"]).reshape(tensor["shape"]).sum(axis=1).tolist()
    return response(answer([len(data), 1], data))


def answer(shape: list[int], data: list[Any], datatype: str = "FP32", name: str = "sum") -> bytes:
    return json.dumps(
        {"outputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}
    ).encode()


class TestAsking:
    def test_sends_v2_and_reads_its_answer(self, open_session: Opens) -> None:
        with running_upstream(sums) as upstream:
            [sum_] = open_session(upstream.url, version="7").run(ROWS, ["sum"])

        assert sum_.tolist() == [[3.0], [7.0]]
        assert upstream.asked[0].line == "POST /v2/models/m/versions/7/infer HTTP/1.1"
        assert json.loads(upstream.asked[0].body)["outputs"] == [{"name": "sum"}]

    def test_keeps_its_connection(self, open_session: Opens) -> None:
        with running_upstream(sums) as upstream:
            session = open_session(upstream.url)
            for _ in range(3):
                session.run(ROWS, ["sum"])

        assert (len(upstream.asked), upstream.connections) == (3, 1)

    def test_opens_another_where_the_server_has_closed_it(
        self, open_session: Opens, counts: Counter[str]
    ) -> None:
        def answer_and_close(asked: Asked, connected: socket.socket) -> None:
            connected.sendall(sums(asked))

        with running_upstream(lambda _: answer_and_close) as upstream:
            session = open_session(upstream.url)
            for _ in range(3):
                session.run(ROWS, ["sum"])

        assert upstream.connections == 3
        assert counts == {"answered": 3}

    def test_asks_for_no_more_rows_at_once_than_the_server_takes(self, open_session: Opens) -> None:
        with running_upstream(sums) as upstream:
            [sum_] = open_session(upstream.url, max_rows=1).run(ROWS, ["sum"])

        assert sum_.tolist() == [[3.0], [7.0]]
        assert len(upstream.asked) == 2

    def test_calls_tensors_as_the_server_does(self, open_session: Opens) -> None:
        def answer_theirs(asked: Asked) -> bytes:
            return response(answer([2, 1], [3, 7], name="output-0"))

        names = {"X": "input-0", "sum": "output-0"}
        with running_upstream(answer_theirs) as upstream:
            [sum_] = open_session(upstream.url, names=names).run(ROWS, ["sum"])

        assert sum_.tolist() == [[3.0], [7.0]]
        assert json.loads(upstream.asked[0].body)["inputs"][0]["name"] == "input-0"

    def test_sends_the_headers_that_were_sealed(self, open_session: Opens, tmp_path: Path) -> None:
        (tmp_path / KEY_FILE).parent.mkdir()
        (tmp_path / KEY_FILE).write_text("the home's key")
        sealed = seal_headers({"Authorization": "Bearer secret"}, "the home's key")

        with running_upstream(sums) as upstream:
            open_session(upstream.url, credential=sealed).run(ROWS, ["sum"])

        assert upstream.asked[0].headers["authorization"] == "Bearer secret"
        assert "secret" not in sealed

    def test_is_not_opened_with_a_credential_of_another_home(
        self, open_session: Opens, tmp_path: Path
    ) -> None:
        (tmp_path / KEY_FILE).parent.mkdir()
        (tmp_path / KEY_FILE).write_text("another key")

        with pytest.raises(ModelRefused, match="send it again"):
            open_session("http://127.0.0.1:9", credential=seal_headers({"A": "b"}, "the home's key"))


class TestHops:
    def test_are_counted_on(self, open_session: Opens) -> None:
        options = RunOptions()
        options.hops = 1

        with running_upstream(sums) as upstream:
            session = open_session(upstream.url)
            session.run(ROWS, ["sum"])
            session.run(ROWS, ["sum"], options)

        assert [asked.headers["driftline-hops"] for asked in upstream.asked] == ["1", "2"]

    def test_beyond_which_nothing_is_forwarded(self, open_session: Opens) -> None:
        session = open_session("http://127.0.0.1:9")

        assert session.refusal(MAX_HOPS - 1) is None
        refusal = session.refusal(MAX_HOPS)
        assert refusal is not None
        assert (refusal.status, refusal.kind) == (508, "loop")

    def test_that_another_server_refuses_are_no_fault_of_its_own(
        self, open_session: Opens, counts: Counter[str]
    ) -> None:
        refusal = response(b'{"error": "The request was forwarded 2 times"}', 508)

        with running_upstream(lambda _: refusal) as upstream:
            session = open_session(upstream.url)
            for _ in range(FAILURES_TO_OPEN):
                with pytest.raises(UpstreamFailed, match="answered 508: The request was forwarded") as failed:
                    session.run(ROWS, ["sum"])

        assert failed.value.status == 508
        assert session.circuit is State.CLOSED
        assert counts == {"loop": FAILURES_TO_OPEN}


class TestOtherForms:
    def test_sends_binary_tensors_and_reads_them(self, open_session: Opens) -> None:
        inputs = [TensorSpec("X", "FP32", [-1, 2]), TensorSpec("word", "BYTES", [-1, 1])]
        outputs = [TensorSpec("sum", "FP32", [-1, 1]), TensorSpec("echo", "BYTES", [-1])]

        def answer_binary(asked: Asked) -> bytes:
            head = json.loads(asked.body[: int(asked.headers["inference-header-content-length"])])
            tail = asked.body[int(asked.headers["inference-header-content-length"]) :]
            x, words = (tensor["parameters"]["binary_data_size"] for tensor in head["inputs"])
            total = np.frombuffer(tail[:x], "<f4").reshape(-1, 2).sum(axis=1).tobytes()
            told = [
                {
                    "name": "echo",
                    "datatype": "BYTES",
                    "shape": [2],
                    "parameters": {"binary_data_size": words},
                },
                {"name": "sum", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}},
            ]
            json_part = json.dumps({"outputs": told}).encode()
            length = f"Inference-Header-Content-Length: {len(json_part)}\r\n"
            return response(json_part + tail[x : x + words] + total, headers=length)

        batch = ROWS | {"word": np.array([["one"], ["zwölf"]], object)}
        with running_upstream(answer_binary) as upstream:
            sum_, echo = open_session(upstream.url, inputs=inputs, outputs=outputs, binary=True).run(
                batch, ["sum", "echo"]
            )

        assert sum_.tolist() == [[3.0], [7.0]]
        assert echo.tolist() == ["one", "zwölf"]

    @pytest.mark.parametrize(
        ("protocol", "path", "body", "written"),
        [
            (
                "v1",
                "/v1/models/m/versions/7:predict",
                '{"predictions": [[3], [NaN]]}',
                '{"instances":[[1.0,2.0],[3.0,NaN]]}',
            ),
            ("torchserve", "/predictions/m/7", "[[3], [null]]", "[[1.0,2.0],[3.0,null]]"),
            ("torchserve", "/predictions/m/7", '{"predictions": [3, null]}', "[[1.0,2.0],[3.0,null]]"),
            ("torchserve", "/predictions/m/7", '[{"sum": 3}, {"sum": null}]', "[[1.0,2.0],[3.0,null]]"),
        ],
    )  # fmt: skip
    def test_speaks_rows_with_missing_numbers(
        self, open_session: Opens, protocol: str, path: str, body: str, written: str
    ) -> None:
        missing = {"X": np.array([[1, 2], [3, np.nan]], np.float32)}

        with running_upstream(lambda _: response(body.encode())) as upstream:
            [sum_] = open_session(upstream.url, protocol, version="7").run(missing, ["sum"])

        assert np.array_equal(sum_, [[3.0], [np.nan]], equal_nan=True)
        assert upstream.asked[0].line == f"POST {path} HTTP/1.1"
        assert upstream.asked[0].body.decode() == written

    def test_names_the_inputs_of_a_row_where_there_are_several(self, open_session: Opens) -> None:
        inputs = [TensorSpec("wind", "FP64", [-1, 1]), TensorSpec("word", "BYTES", [-1])]
        batch = {"wind": np.array([[1.5]]), "word": np.array(['say "yes"'], object)}

        with running_upstream(lambda _: response(b'{"predictions": [4]}')) as upstream:
            open_session(upstream.url, "v1", inputs=inputs).run(batch, ["sum"])

        assert json.loads(upstream.asked[0].body) == {"instances": [{"wind": [1.5], "word": 'say "yes"'}]}


class TestWhatIsNoAnswer:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"outputs": [{}]}',
            answer([2, 1], [3, 7], name="other"),
            answer([2, 1], [3, 7], datatype="FP64"),
            answer([2, 1], [3, 7], datatype="INT64"),
            answer([2, 1], [3]),
            answer([1, 1], [3]),
            answer([1, 2], [3, 7]),
            answer([2, 2], [3, 7, 3, 7]),
            answer([-1, -2], [3, 7]),
            answer([10**30, 1], [3, 7]),
            answer([2, 1], ["3", "7"]),
            answer([2, 1], [True, False]),
            answer([2, 1], [[3], [7, 7]]),
            answer([2, 1], [3, {"value": 7}]),
            answer([2, 1], [3, float("nan")]),
            b"[" * 100_000,
        ],
    )
    def test_is_said_to_be_garbage(self, open_session: Opens, counts: Counter[str], body: bytes) -> None:
        with (
            running_upstream(lambda _: response(body)) as upstream,
            pytest.raises(UpstreamFailed, match="no usable answer") as failed,
        ):
            open_session(upstream.url).run(ROWS, ["sum"])

        assert (failed.value.status, failed.value.kind) == (502, "garbage")
        assert counts == {"garbage": 1}
        assert len(upstream.asked) == 1  # garbage is not asked for again

    @pytest.mark.parametrize(
        ("protocol", "body"),
        [
            ("v1", b"[3, 7]"),
            ("v1", b'{"predictions": 3}'),
            ("v1", b'{"predictions": [3]}'),
            ("v1", b'{"predictions": [[3, 4], [7, 8]]}'),
            ("v1", b'{"predictions": [{"sum": 3}, {"total": 7}]}'),
            ("v1", b'{"predictions": [{"sum": 3, "sum": 4}, {"sum": 7}]}'),
            ("torchserve", b"[3, NaN]"),
            ("torchserve", b'"3 7"'),
            ("torchserve", b"[3, [7]]"),
        ],
    )
    def test_is_garbage_in_each_protocol(self, open_session: Opens, protocol: str, body: bytes) -> None:
        with (
            running_upstream(lambda _: response(body)) as upstream,
            pytest.raises(UpstreamFailed, match="no usable answer"),
        ):
            open_session(upstream.url, protocol).run(ROWS, ["sum"])

    def test_text_that_cannot_be_kept_is_garbage(self, open_session: Opens) -> None:
        outputs = [TensorSpec("word", "BYTES", [-1])]
        body = answer([2], ["fine", "no\x00"], datatype="BYTES", name="word")

        with running_upstream(lambda _: response(body)) as upstream, pytest.raises(UpstreamFailed):
            open_session(upstream.url, outputs=outputs).run(ROWS, ["word"])

    @pytest.mark.parametrize(
        "wire",
        [
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}",
        ],
    )
    def test_what_is_no_http_or_too_large_is_garbage(self, open_session: Opens, wire: bytes) -> None:
        with running_upstream(lambda _: wire) as upstream, pytest.raises(UpstreamFailed) as failed:
            open_session(upstream.url).run(ROWS, ["sum"])

        assert failed.value.kind == "garbage"

    def test_an_answer_that_breaks_off_is_none(self, open_session: Opens) -> None:
        def break_off(asked: Asked, connected: socket.socket) -> None:
            connected.sendall(sums(asked)[:-5])

        with (
            running_upstream(lambda _: break_off) as upstream,
            pytest.raises(UpstreamFailed, match="before its answer was whole"),
        ):
            open_session(upstream.url).run(ROWS, ["sum"])

    @pytest.mark.parametrize(
        ("status", "body", "headers", "kind", "ours", "sentence"),
        [
            (302, b"", "Location: http://127.0.0.1/\r\n", "status", 502, "302, and no redirect"),
            (401, b"", "", "credential", 502, "refuses our credential"),
            (
                404,
                b'{"error": "no model m"}',
                "",
                "unknown_model",
                502,
                "no such model or version (404): no model m",
            ),
            (429, b"", "Retry-After: 7\r\n", "busy", 503, "no room now (429)"),
            (500, b'{"detail": "boom"}', "", "status", 502, "answered 500: boom"),
            (501, b"<html>", "", "status", 502, "answered 501: it gives no reason"),
        ],
    )
    def test_a_status_is_named(
        self,
        open_session: Opens,
        status: int,
        body: bytes,
        headers: str,
        kind: str,
        ours: int,
        sentence: str,
    ) -> None:
        with (
            running_upstream(lambda _: response(body, status, headers)) as upstream,
            pytest.raises(UpstreamFailed) as failed,
        ):
            open_session(upstream.url).run(ROWS, ["sum"])

        assert (failed.value.kind, failed.value.status) == (kind, ours)
        assert sentence in str(failed.value)
        assert len(upstream.asked) == 1

    def test_values_that_the_server_refuses_are_the_callers(
        self, open_session: Opens, counts: Counter[str]
    ) -> None:
        with (
            running_upstream(lambda _: response(b'{"error": "X is too large"}', 400)) as upstream,
            pytest.raises(ValuesRefused, match="X is too large"),
        ):
            open_session(upstream.url).run(ROWS, ["sum"])

        assert counts == {"refused": 1}


class TestTime:
    def test_a_server_that_says_nothing_is_given_up(self, open_session: Opens) -> None:
        with (
            running_upstream(lambda _: b"") as upstream,
            pytest.raises(UpstreamFailed, match="did not answer within") as failed,
        ):
            open_session(upstream.url, timeout_ms=100).run(ROWS, ["sum"])

        assert (failed.value.status, failed.value.kind) == (504, "timeout")

    def test_a_server_that_drips_is_given_up(self, open_session: Opens) -> None:
        over = threading.Event()

        def drip(_: Asked, connected: socket.socket) -> None:
            connected.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not over.wait(0.01):
                connected.sendall(b" ")

        with running_upstream(lambda _: drip) as upstream:
            with pytest.raises(UpstreamFailed, match="did not answer within"):
                open_session(upstream.url, timeout_ms=150).run(ROWS, ["sum"])
            over.set()

    def test_a_run_that_is_ended_ends_the_call(self, open_session: Opens, counts: Counter[str]) -> None:
        options = RunOptions()

        def end(_: Asked) -> bytes:
            options.terminate = True
            return b""

        with running_upstream(end) as upstream, pytest.raises(CallEnded):
            open_session(upstream.url).run(ROWS, ["sum"], options)

        assert counts == {"ended": 1}


class TestRetries:
    def test_repeats_a_call_that_may_pass(self, open_session: Opens, counts: Counter[str]) -> None:
        answers = iter([response(b"", 503)])

        with running_upstream(lambda asked: next(answers, None) or sums(asked)) as upstream:
            [sum_] = open_session(upstream.url).run(ROWS, ["sum"])

        assert sum_.tolist() == [[3.0], [7.0]]
        assert counts == {"retried": 1, "answered": 1}

    @pytest.mark.slow
    def test_repeats_a_tenth_of_the_calls_at_most(self, open_session: Opens, counts: Counter[str]) -> None:
        def fail_every_other(asked: Asked) -> bytes:
            return response(b"", 502) if len(upstream.asked) % 2 else sums(asked)

        with running_upstream(fail_every_other) as upstream:
            session = open_session(upstream.url)
            for _ in range(40):
                with_suppressed_failure(session)

        assert counts["retried"] <= 1 + 40 / 10

    def test_asks_no_more_than_once_where_the_server_says_when_to_come_back(
        self, open_session: Opens
    ) -> None:
        with (
            running_upstream(lambda _: response(b"", 503, "Retry-After: 9\r\n")) as upstream,
            pytest.raises(UpstreamFailed) as failed,
        ):
            open_session(upstream.url).run(ROWS, ["sum"])

        assert len(upstream.asked) == 1
        assert failed.value.retry_s == 9


class TestCircuit:
    def test_a_server_that_is_down_is_left_alone(self, open_session: Opens, counts: Counter[str]) -> None:
        session = open_session(f"http://127.0.0.1:{free_port()}")
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(UpstreamFailed, match="cannot be reached") as failed:
                session.run(ONE_ROW, ["sum"])
        assert failed.value.status == 502
        assert session.circuit is State.OPEN

        with pytest.raises(UpstreamFailed, match="left alone") as refused:
            session.run(ONE_ROW, ["sum"])

        assert (refused.value.status, counts["circuit_open"]) == (503, 1)
        assert refused.value.retry_s is not None
        assert session.refusal() is not None

    def test_one_call_tries_whether_it_is_back(self, open_session: Opens) -> None:
        is_down = True

        with running_upstream(lambda asked: response(b"", 500) if is_down else sums(asked)) as upstream:
            session = open_session(upstream.url, open_seconds=0.0)
            for _ in range(FAILURES_TO_OPEN):
                with_suppressed_failure(session)
            assert session.circuit is State.OPEN
            is_down = False
            session.run(ONE_ROW, ["sum"])

        assert session.circuit is State.CLOSED
        assert session.refusal() is None

    def test_impatient_callers_do_not_open_it(self, open_session: Opens) -> None:
        options = RunOptions()
        options.terminate = True

        with running_upstream(lambda _: b"") as upstream:
            session = open_session(upstream.url)
            for _ in range(2 * FAILURES_TO_OPEN):
                with pytest.raises(CallEnded):
                    session.run(ONE_ROW, ["sum"], options)

        assert session.circuit is State.CLOSED


class TestAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "169.254.169.254"])
    def test_private_ones_are_not_called(self, open_session: Opens, counts: Counter[str], host: str) -> None:
        session = open_session(f"http://{host}:{free_port()}", rules=OutboundRules())

        with pytest.raises(UpstreamFailed, match="may not call"):
            session.run(ONE_ROW, ["sum"])

        assert counts == {"blocked": 1}

    def test_our_own_port_is_not_called(self, open_session: Opens) -> None:
        with running_upstream(sums) as upstream:
            rules = OutboundRules(["127.0.0.0/8"], [upstream.port])
            with pytest.raises(UpstreamFailed, match="may not call"):
                open_session(upstream.url, rules=rules).run(ONE_ROW, ["sum"])

        assert not upstream.asked


def with_suppressed_failure(session: Any) -> None:
    with suppress(UpstreamFailed):
        session.run(ONE_ROW, ["sum"])
