"""Bodies that are compressed on the wire, both ways."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.serving.http.compression import choose_coding, pack, unpack, unpack_quickly
from inference.serving.refusals import Refusal
from inference.serving.responses import Answer
from tests.inference.serving.running import Server, request_bytes, rows_body

SUMS = "/v2/models/sums/infer"
MEBIBYTE = 1024 * 1024
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
MANY_ROWS = rows_body(*[[place, 0.5, 0] for place in range(5000)])


def compressed(body: bytes, coding: str = "gzip", **headers: str) -> bytes:
    return request_bytes(SUMS, PACK[coding](body), headers={"content-encoding": coding, **headers})


class TestUnpack:
    @given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]))
    def test_gives_back_what_was_packed(self, body: bytes, coding: str) -> None:
        assert unpack(coding.encode(), PACK[coding](body), 2000) == body

    def test_takes_just_as_much_as_it_may(self) -> None:
        assert unpack(b"gzip", gzip.compress(bytes(100)), 100) == bytes(100)
        assert isinstance(refused := unpack(b"gzip", gzip.compress(bytes(101)), 100), Refusal)
        assert (refused.status, "more than 100 bytes" in refused.sentence) == (413, True)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"plain",
            gzip.compress(b"cut short")[:-1],
            gzip.compress(b"one") + gzip.compress(b"two"),
            gzip.compress(b"more") + b"\0",
            gzip.compress(b"wrong sum")[:-8] + bytes(8),
            zlib.compress(b"another wrapper"),
        ],
        ids=["nothing", "plain", "cut", "two", "more", "wrong sum", "deflate"],
    )
    def test_refuses_what_is_not_one_whole_piece(self, body: bytes) -> None:
        assert unpack(b"gzip", body, 1000) == Refusal(
            400, "The body is not one whole piece of gzip; compress it again."
        )

    @pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"", b"\xff"])
    def test_refuses_other_codings(self, coding: bytes) -> None:
        refused = unpack(coding, b"", 1000)

        assert isinstance(refused, Refusal)
        assert refused.status == 415

    def test_leaves_to_a_thread_what_is_long_packed_or_unpacked(self) -> None:
        assert unpack_quickly(b"gzip", gzip.compress(b"short")) == b"short"
        assert unpack_quickly(b"gzip", gzip.compress(bytes(MEBIBYTE))) is None
        assert unpack_quickly(b"deflate", bytes(9000)) is None


class TestChooseCoding:
    LONG = Answer(200, bytes(2000))

    @pytest.mark.parametrize(
        ("accepted", "coding"),
        [
            (b"gzip", b"gzip"),
            (b"deflate", b"deflate"),
            (b"br, GZIP;q=0.5, deflate", b"gzip"),
            (b"gzip;q=0, deflate;q=1.0", b"deflate"),
            (b"gzip; q=0.000", None),
            (b"identity", None),
            (b"*", None),
            (b"", None),
            (None, None),
        ],
    )
    def test_follows_what_the_caller_accepts(self, accepted: bytes | None, coding: bytes | None) -> None:
        assert choose_coding(self.LONG, accepted) == coding

    def test_leaves_short_answers_as_they_are(self) -> None:
        assert choose_coding(Answer(200, bytes(100)), b"gzip") is None

    def test_tells_the_coding_with_the_answer(self) -> None:
        packed = pack(self.LONG, b"gzip")

        assert gzip.decompress(packed.body) == self.LONG.body
        assert packed.fields.endswith(b"content-encoding: gzip\r\nvary: accept-encoding\r\n")


class TestServer:
    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    def test_reads_compressed_requests(self, server: Server, coding: str) -> None:
        with server.connect() as connection:
            connection.send(compressed(rows_body([1, 2, 3]), coding) + compressed(MANY_ROWS, coding))

            short, long = connection.receive(), connection.receive()

        assert short.json["outputs"][0]["data"] == [6]
        assert long.json["outputs"][0]["data"][:3] == [0.5, 1.5, 2.5]

    def test_reads_compressed_binary_requests(self, server: Server) -> None:
        with server.connect() as connection:
            length = {"inference-header-content-length": "0"}
            connection.send(compressed(struct.pack("<3f", 1, 2, 4), **length))

            assert connection.receive().body.endswith(struct.pack("<f", 7))

    def test_keeps_the_order_while_a_thread_unpacks(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(compressed(MANY_ROWS) + request_bytes(SUMS, rows_body([1, 2, 3])))

            shapes = [connection.receive().json["outputs"][0]["shape"] for _ in range(2)]

        assert shapes == [[5000, 1], [1, 1]]

    def test_refuses_a_bomb_and_goes_on(self, server: Server) -> None:
        bomb = gzip.compress(bytes(200 * MEBIBYTE))
        request = request_bytes(SUMS, bomb, headers={"content-encoding": "gzip"})
        with server.connect() as connection:
            connection.send(request + request_bytes(SUMS, rows_body([1, 2, 3])))

            refused, answered = connection.receive(), connection.receive()

        assert (refused.status, answered.status) == (413, 200)
        assert "unpacks to more than 16777216 bytes" in refused.json["error"]

    def test_does_not_unpack_for_who_may_not_ask(self, server: Server) -> None:
        answer = server.ask(SUMS, b"not gzip", token="dl_nobody", headers={"content-encoding": "gzip"})

        assert answer.status == 401

    def test_does_the_same_on_the_way_around(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(compressed(MANY_ROWS, expect="100-continue", **{"accept-encoding": "gzip"}))

            answer = connection.receive()

        assert answer.headers["content-encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(answer.body))["outputs"][0]["data"]) == 5000

    @pytest.mark.parametrize("rows", [300, 5000])
    def test_compresses_long_answers_for_who_asks(self, server: Server, rows: int) -> None:
        body = rows_body(*[[place, 0.5, 0] for place in range(rows)])

        plain = server.ask(SUMS, body)
        packed = server.ask(SUMS, body, headers={"accept-encoding": "deflate"})

        assert "content-encoding" not in plain.headers
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("deflate", "accept-encoding")
        assert json.loads(zlib.decompress(packed.body))["outputs"] == plain.json["outputs"]
