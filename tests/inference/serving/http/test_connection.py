"""The edges of HTTP: order, bounds and odd ways to send a request."""

import pytest

from tests.inference.serving.running import Server, request_bytes, rows_body

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
BODY = rows_body([1, 2, 3])
CHUNKED = (
    b"POST /v2/models/sums/infer HTTP/1.1\r\n"
    b"host: test\r\nauthorization: Bearer dl_infer\r\ntransfer-encoding: chunked\r\n\r\n"
)


def sums_of(*answers: object) -> list[float]:
    return [answer.json["outputs"][0]["data"][0] for answer in answers]  # type: ignore[attr-defined]


class TestOrder:
    def test_is_kept_among_pipelined_inference(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(b"".join(request_bytes(SUMS, rows_body([place, 0, 0])) for place in range(200)))

            answers = [connection.receive() for _ in range(200)]

        assert sums_of(*answers) == list(range(200))

    def test_is_kept_between_the_application_and_inference(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(
                request_bytes(SUMS, BODY)
                + request_bytes("/slow", b"", method="GET")
                + request_bytes(SUMS, rows_body([4, 0, 0]))
                + request_bytes("/quick", b"", method="GET")
                + request_bytes(SUMS, rows_body([5, 0, 0]))
            )

            first, slow, second, quick, third = [connection.receive() for _ in range(5)]

        assert sums_of(first, second, third) == [6, 4, 5]
        assert (slow.body, quick.body) == (b"app /slow 0", b"app /quick 0")

    def test_is_kept_before_a_request_that_cannot_be_read(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, BODY) + b"nonsense\r\n\r\n")

            good, bad = connection.receive(), connection.receive()

            assert (good.status, bad.status, bad.closes) == (200, 400, True)
            assert connection.is_closed_by_server()


class TestBodies:
    def test_may_arrive_a_byte_at_a_time(self, server: Server) -> None:
        with server.connect() as connection:
            for byte in request_bytes(SUMS, BODY):
                connection.send(bytes([byte]))

            assert sums_of(connection.receive()) == [6]

    def test_may_be_chunked(self, server: Server) -> None:
        chunks = b"".join(b"1;ext=1\r\n%b\r\n" % bytes([byte]) for byte in BODY)
        with server.connect() as connection:
            connection.send(CHUNKED + chunks + b"0\r\ntrailer: x\r\n\r\n" + request_bytes(SUMS, BODY))

            assert sums_of(connection.receive(), connection.receive()) == [6, 6]

    def test_may_wait_for_100_continue(self, server: Server) -> None:
        request = request_bytes(SUMS, BODY, headers={"expect": "100-continue"})
        with server.connect() as connection:
            connection.send(request[: -len(BODY)])
            assert connection.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(BODY)

            answer = connection.receive()

        assert sums_of(answer) == [6]
        assert answer.headers["driftline-log"] == "spooled"

    def test_of_http_1_0_are_answered_and_the_connection_closed(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, BODY).replace(b"HTTP/1.1", b"HTTP/1.0"))

            answer = connection.receive()

            assert (answer.status, answer.closes) == (200, True)
            assert connection.is_closed_by_server()

    def test_close_where_the_client_asks_for_it(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, BODY, headers={"connection": "close"}))

            assert connection.receive().closes
            assert connection.is_closed_by_server()


class TestBounds:
    def test_refuse_a_declared_body_before_it_is_sent(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, b"", headers={"content-length": str(17 * 1024 * 1024)}))

            answer = connection.receive()

        assert (answer.status, answer.closes) == (413, True)

    def test_refuse_a_chunked_body_that_goes_on(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(CHUNKED)
            for _ in range(17):
                connection.send(b"100000\r\n" + b" " * 0x100000 + b"\r\n")

            answer = connection.receive()

        assert (answer.status, answer.closes) == (413, True)

    @pytest.mark.parametrize("path", [SUMS, "/pages"])
    @pytest.mark.parametrize("ended", [b"", b"\r\n\r\n"])
    def test_refuse_headers_that_are_too_long_on_every_path(
        self, server: Server, path: str, ended: bytes
    ) -> None:
        with server.connect() as connection:
            connection.send(f"POST {path} HTTP/1.1\r\nx-long: ".encode() + b"x" * 70_000 + ended)

            answer = connection.receive()

        assert (answer.status, answer.closes) == (431, True)

    def test_take_headers_just_below_the_bound(self, server: Server) -> None:
        assert server.ask(SUMS, BODY, headers={"x-long": "x" * 60_000}).status == 200

    def test_refuse_trailers_without_end(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(CHUNKED + b"%x\r\n%b\r\n0\r\ntrailer: " % (len(BODY), BODY))
            for _ in range(10):
                connection.send(b"x" * 70_000)

            assert connection.receive().status == 431

    def test_leave_uploads_to_the_application_alone(self, server: Server) -> None:
        assert server.ask("/upload", b"x" * 300_000).body == b"app /upload 300000"
