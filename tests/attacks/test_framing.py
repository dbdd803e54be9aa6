"""Requests are framed as RFC 9112 says, on the hot path and beside it: what proxies read otherwise is refused."""

import pytest

from tests.inference.serving.conftest import server
from tests.inference.serving.running import Response, Server, rows_body

pytestmark = pytest.mark.slow

__all__ = ["server"]  # the fixture of a running server

SUMS = "/v2/models/sums/infer"
PATHS = [SUMS, "/pages"]
BODY = rows_body([1, 2, 3])


def ask(
    running: Server, path: str, *lines: str, version: str = "HTTP/1.1", length: str | None = None
) -> Response:
    """Send a request with these header lines, beside a token and the body's length."""
    given = [f"content-length: {len(BODY) if length is None else length}", *lines]
    head = "\r\n".join([f"POST {path} {version}", "authorization: Bearer dl_infer", *given, "", ""])
    with running.connect() as connection:
        connection.send(head.encode("latin-1") + BODY)
        return connection.receive()


class TestLength:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("form", ["{} ", "{}\t", " {}", "\t {} \t ", "000000000000000{}"])
    def test_may_have_white_space_around_it_and_zeros_before(
        self, server: Server, path: str, form: str
    ) -> None:
        """`Content-Length: 109 ` was answered with 413, as if the body were too long."""
        answers = [ask(server, path, "host: test", length=form.format(len(BODY))) for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 200]

    @pytest.mark.parametrize("length", [str(17 << 20), "9" * 18, "0009999999999999"])
    def test_beyond_the_bound_is_refused(self, server: Server, length: str) -> None:
        assert ask(server, SUMS, "host: test", length=length).status == 413

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("length", ["1 0", "", "ten", "-1", "1,1", "1e2", "9" * 30, "1\x0b", "\xa01"])
    def test_that_is_no_number_is_refused(self, server: Server, path: str, length: str) -> None:
        answer = ask(server, path, "host: test", length=length)

        assert (answer.status, answer.closes) == (400, True)


class TestHost:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        "lines",
        [
            [],
            ["host: test", "host: test"],
            ["host: test", "Host: other"],
            ["host:"],
            ["host: a b"],
            ["host: http://test/"],
            ["host: user@test"],
            ["host: test/path"],
            ["host: test:port"],
            ["host: te\\st"],
            ["host: t\xebst"],
            ["host: [::1"],
            ["host: [zz]"],
            ['host: "test"'],
            ["host: test, other:80:80"],
        ],
    )
    def test_missing_doubled_or_invalid_is_refused(self, server: Server, path: str, lines: list[str]) -> None:
        """HTTP/1.1 without a Host, and with several, was answered."""
        answer = ask(server, path, *lines)

        assert (answer.status, answer.closes) == (400, True)
        assert b"Host" in answer.body

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        "host", ["test", "a_b.example:8000", "[::1]:8000", "127.0.0.1", "x.example.:", " test\t"]
    )
    def test_of_a_name_or_address_is_taken(self, server: Server, path: str, host: str) -> None:
        assert ask(server, path, f"host: {host}").status == 200

    @pytest.mark.parametrize("path", PATHS)
    def test_may_be_missing_in_http_1_0_alone(self, server: Server, path: str) -> None:
        assert ask(server, path, version="HTTP/1.0").status == 200
        assert ask(server, path, "host: a", "host: b", version="HTTP/1.0").status == 400


class TestVersion:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9"])
    def test_that_is_not_spoken_is_refused(self, server: Server, path: str, version: str) -> None:
        """A request line of HTTP/2.0 was answered as if it were HTTP/1.1."""
        answer = ask(server, path, "host: test", version=version)

        assert (answer.status, answer.closes) == (505, True)

    @pytest.mark.parametrize("version", ["HTTP/3.0", "HTTP/1.9", "HTTP/1.1x", "HTTPS/1.1", "http/1.1"])
    def test_unknown_is_refused(self, server: Server, version: str) -> None:
        answer = ask(server, SUMS, "host: test", version=version)

        assert (answer.status, answer.closes) == (400, True)

    def test_refused_ends_the_connection_before_what_follows(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(f"POST {SUMS} HTTP/2.0\r\nhost: test\r\ncontent-length: 0\r\n\r\n".encode())
            connection.send(f"POST {SUMS} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".encode())

            assert connection.receive().status == 505
            assert connection.is_closed_by_server()
