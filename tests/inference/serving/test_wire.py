"""Odd bytes on the wire: refused wherever stock uvicorn refuses them, on the hot path and beside it."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.inference.serving.running import Server, request_bytes, rows_body
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
BODY = rows_body([1, 2, 3])
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

# Name -> header lines and what follows the empty line. All else of the request is as it should be.
ODD = {
    "length": (LENGTH, BODY),
    "chunks": (CHUNKED, CHUNKS),
    "length and chunks": (LENGTH + CHUNKED, CHUNKS),
    "chunks and length": (CHUNKED + LENGTH, CHUNKS),
    "two lengths alike": (LENGTH + LENGTH, BODY),
    "two lengths that differ": (LENGTH + b"content-length: 1\r\n", BODY),
    "a list of lengths": (b"content-length: %d, %d\r\n" % (len(BODY), len(BODY)), BODY),
    "length below zero": (b"content-length: -1\r\n", BODY),
    "length with a plus": (b"content-length: +%d\r\n" % len(BODY), BODY),
    "length in hexadecimal": (b"content-length: 0x%x\r\n" % len(BODY), BODY),
    "length beyond 64 bits": (b"content-length: 1%b\r\n" % (b"0" * 30), BODY),
    "length of nothing": (b"content-length: \r\n", BODY),
    "length with a tail": (b"content-length: %d x\r\n" % len(BODY), BODY),
    "coding twice": (CHUNKED + CHUNKED, CHUNKS),
    "coding before chunks": (b"transfer-encoding: gzip, chunked\r\n", CHUNKS),
    "chunks before a coding": (b"transfer-encoding: chunked, gzip\r\n", CHUNKS),
    "coding unknown": (b"transfer-encoding: xchunked\r\n", CHUNKS),
    "coding with a tab": (b"transfer-encoding:\tchunked\r\n", CHUNKS),
    "chunk size no number": (CHUNKED, b"zz\r\n" + BODY),
    "chunk size below zero": (CHUNKED, b"-5\r\n" + BODY),
    "chunk size beyond 64 bits": (CHUNKED, b"f" * 17 + b"\r\n" + BODY),
    "chunk size in 0x": (CHUNKED, b"0x%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "chunk without its end": (CHUNKED, b"%x\r\n%bXX0\r\n\r\n" % (len(BODY), BODY)),
    "chunk ended by LF": (CHUNKED, CHUNKS.replace(b"\r\n", b"\n")),
    "space before the colon": (LENGTH + b"x-odd : 1\r\n", BODY),
    "length with a space before the colon": (b"content-length : %d\r\n" % len(BODY), BODY),
    "line without a colon": (LENGTH + b"odd\r\n", BODY),
    "line without a name": (LENGTH + b": odd\r\n", BODY),
    "folded line": (LENGTH + b"x-odd: 1\r\n 2\r\n", BODY),
    "NUL in a value": (LENGTH + b"x-odd: a\0b\r\n", BODY),
    "CR in a value": (LENGTH + b"x-odd: a\rb\r\n", BODY),
    "line ended by LF": (LENGTH + b"x-odd: 1\n", BODY),
    "body cut short": (LENGTH, BODY[:-1]),
    "chunks cut short": (CHUNKED, CHUNKS[:-3]),
}
LINES = {
    "usual": b"POST %b HTTP/1.1\r\n",
    "method in small letters": b"post %b HTTP/1.1\r\n",
    "method unknown": b"ODD %b HTTP/1.1\r\n",
    "version 2.0": b"POST %b HTTP/2.0\r\n",
    "version 0.9": b"POST %b\r\n",
    "version odd": b"POST %b HTTP/1.1x\r\n",
    "two spaces": b"POST  %b HTTP/1.1\r\n",
    "path with a space": b"POST %b x HTTP/1.1\r\n",
    "path with NUL": b"POST %b\0 HTTP/1.1\r\n",
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of uvicorn as it comes, with the application that stands beside the hot path in ours."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "tests.inference.serving.small_app:app",
        "--http",
        "httptools",
    ]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "critical", "--lifespan", "off"]
    )
    try:
        wait_until(lambda: _listens(port))
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_taken(port: int, path: str, line: bytes, lines: bytes, content: bytes) -> bool:
    """Send a request and no more, and tell whether it is answered with 200."""
    head = line % path.encode() + b"host: test\r\nauthorization: Bearer dl_infer\r\n" + lines + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head + content)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    return received.startswith(b"HTTP/1.1 200 ")


class TestKnownHead:
    @pytest.mark.parametrize("name", ODD)
    def test_is_taken_or_refused_as_at_its_first_time(self, server: Server, name: str) -> None:
        usual = LINES["usual"]

        first, second, third = (is_taken(server.port, SUMS, usual, *ODD[name]) for _ in range(3))

        assert first == second == third


class TestOddRequest:
    @pytest.mark.parametrize("name", ODD)
    @pytest.mark.parametrize("path", [SUMS, "/pages"])
    def test_is_taken_only_where_stock_uvicorn_takes_it(
        self, server: Server, stock: int, path: str, name: str
    ) -> None:
        usual = LINES["usual"]

        ours, theirs = (is_taken(port, path, usual, *ODD[name]) for port in (server.port, stock))

        assert not (ours and not theirs)
        if name in ("length", "chunks"):
            assert ours
            assert theirs

    @pytest.mark.parametrize("name", LINES)
    @pytest.mark.parametrize("path", [SUMS, "/pages"])
    def test_line_is_taken_only_where_stock_uvicorn_takes_it(
        self, server: Server, stock: int, path: str, name: str
    ) -> None:
        ours, theirs = (is_taken(port, path, LINES[name], LENGTH, BODY) for port in (server.port, stock))

        assert not (ours and not theirs)

    @pytest.mark.parametrize("name", ["two lengths that differ", "length and chunks", "chunk size no number"])
    def test_that_could_smuggle_another_ends_the_connection(self, server: Server, name: str) -> None:
        lines, content = ODD[name]
        head = (
            b"POST "
            + SUMS.encode()
            + b" HTTP/1.1\r\nhost: test\r\nauthorization: Bearer dl_infer\r\n"
            + lines
            + b"\r\n"
        )
        with server.connect() as connection:
            connection.send(head + content)

            answer = connection.receive()

            assert (answer.status, answer.closes) == (400, True)
            assert connection.is_closed_by_server()


class TestInterruption:
    def test_of_the_sending_side_alone_leaves_time_for_the_answers(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, BODY) * 3)
            connection.socket.shutdown(socket.SHUT_WR)

            answers = [connection.receive() for _ in range(3)]

            assert [answer.status for answer in answers] == [200, 200, 200]
            # The last says so only where the end came before its answer was out.
            assert not any(answer.closes for answer in answers[:-1])
            assert connection.is_closed_by_server()

    def test_of_a_request_in_a_batch_leaves_the_others_alone(self, server: Server) -> None:
        with server.connect() as leaving, server.connect() as staying:
            for place in range(50):
                leaving.send(request_bytes(SUMS, BODY))
                staying.send(request_bytes(SUMS, rows_body([place, 0, 0])))
            leaving.socket.close()

            sums = [staying.receive().json["outputs"][0]["data"] for _ in range(50)]

        assert sums == [[place] for place in range(50)]

    def test_of_a_request_before_its_end_is_no_prediction(self, server: Server) -> None:
        before = sum(len(batch.ids) for batch in server.spooled("champion"))
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, BODY)[:-1])

        assert server.ask(SUMS, BODY).status == 200
        assert sum(len(batch.ids) for batch in server.spooled("champion")) == before + 1
