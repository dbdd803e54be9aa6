"""Heads that are known need no parser; what only looks like one does."""

from inference.protocol.v2.open_inference import OPEN_INFERENCE
from inference.serving.http.header_cache import MAX_HEAD_BYTES, MAX_HEADS, Head, HeaderCache
from tests.inference.serving.running import Server, request_bytes, rows_body

SUMS = "/v2/models/sums/infer"
RAW = b"POST /v2/models/sums/infer HTTP/1.1\r\ncontent-length: 4\r\n\r\n"
HEAD = Head(OPEN_INFERENCE, b"/v2/models/sums/infer", keep_alive=True, content_length=4)


def knowing(data: bytes, head: Head = HEAD) -> HeaderCache:
    heads = HeaderCache()
    heads.remember(head, data)
    return heads


class TestKnownHeads:
    def test_give_what_was_read_before_with_another_body(self) -> None:
        assert knowing(RAW + b"1234").split(RAW + b"5678") == (HEAD, b"5678")

    def test_leave_what_is_not_one_whole_request_to_the_parser(self) -> None:
        heads = knowing(RAW + b"1234")

        assert heads.split(RAW + b"123") is None
        assert heads.split(RAW + b"1234P") is None
        assert heads.split(RAW[:-2]) is None
        assert heads.split(b"") is None

    def test_leave_every_other_byte_to_the_parser(self) -> None:
        heads = knowing(RAW + b"1234")

        for place in range(len(RAW)):
            changed = RAW[:place] + bytes([RAW[place] ^ 32]) + RAW[place + 1 :]
            assert heads.split(changed + b"5678") is None

    def test_remember_no_head_of_several_requests_or_of_chunks(self) -> None:
        chunked = Head(OPEN_INFERENCE, keep_alive=True)

        assert knowing(RAW + b"1234" + RAW + b"1234").split(RAW + b"1234") is None
        assert knowing(RAW + b"1234", chunked).split(RAW + b"1234") is None

    def test_remember_no_head_that_another_reading_ends_elsewhere(self) -> None:
        for line_end in (b"\n\n", b"\n\r\n", b"\r\n\n", b"\n"):
            odd = RAW[:-4] + line_end + b"x-more: 1\r\n\r\n"
            assert knowing(odd + b"1234").split(odd + b"1234") is None

    def test_remember_no_head_of_another_request(self) -> None:
        for before, after in ((b"POST", b"GET"), (b"POST", b"\r\nPOST"), (b"/sums/", b"/other/")):
            other = RAW.replace(before, after)
            assert knowing(other + b"1234").split(other + b"1234") is None

    def test_remember_no_long_head_and_not_without_end(self) -> None:
        long = RAW[:-2] + b"x-long: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n"
        heads = knowing(RAW + b"1234")
        for number in range(MAX_HEADS):
            heads.remember(HEAD, RAW[:-2] + b"x-number: %d\r\n\r\n1234" % number)

        assert knowing(long + b"1234").split(long + b"1234") is None
        assert heads.split(RAW + b"1234") is None


class TestConnection:
    def test_answers_known_heads_like_others_and_in_order(self, server: Server) -> None:
        requests = [request_bytes(SUMS, rows_body([place, 0, 0])) for place in range(8)]
        with server.connect() as connection:
            answers = []
            for request in requests:  # whole, then in two pieces, then two at once
                connection.send(request)
                answers.append(connection.receive())
            connection.send(requests[0][:40])
            connection.send(requests[0][40:] + requests[1] + requests[2][:-1])
            connection.send(requests[2][-1:])
            answers += [connection.receive() for _ in range(3)]

        assert [answer.json["outputs"][0]["data"][0] for answer in answers] == [*range(8), 0, 1, 2]
