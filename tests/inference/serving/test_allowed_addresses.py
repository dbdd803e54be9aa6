"""A token that may be used from some networks alone, and the secrets of a rotated one, at a running server."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from inference.protocol import inference_service_pb2 as messages
from inference.serving.grpc.calls import address_of_peer
from inference.serving.options import EngineOptions
from inference.serving.plan import PlanModel
from tests.inference.onnx_models import store, summing_model, summing_signature
from tests.inference.serving.grpc.calls import ask, infer_request, open_channel
from tests.inference.serving.running import Server, publish, request_bytes, rows_body, running_server, token
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
BODY = rows_body([1, 2, 3])
OFFICE, ELSEWHERE = "203.0.113.7", "198.51.100.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server behind a proxy of this machine."""
    home = tmp_path_factory.mktemp("home")
    sums = store(home, summing_model(3), summing_signature(3), id=1, version="1")
    digest = token("dl_rotated_old").digest
    tokens = [
        token("dl_anywhere"),
        token("dl_office", networks=["203.0.113.0/24", "2001:db8::/32"]),
        token("dl_here", networks=["127.0.0.0/8"]),
        token("dl_rotated", previous_digest=digest, previous_until=time.time() + 3600),
        token("dl_ended", previous_digest=token("dl_ended_old").digest, previous_until=time.time() - 1),
    ]
    publish(home, [PlanModel(1, 1, "sums", 5, "1", [], [sums])], tokens)
    options = EngineOptions(trusted_proxies=["127.0.0.0/8"])
    with running_server(home, grpc=True, options=options) as running:
        yield running


def refusals(server: Server) -> int:
    [status] = server.status_files()
    return int(status["refusals"].get("403", 0))


def forwarded(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}


class TestRest:
    @pytest.mark.parametrize(
        "address", [OFFICE, f"{ELSEWHERE}, {OFFICE}", f"::ffff:{OFFICE}", "[2001:db8::7]:4711"]
    )
    def test_answers_from_there(self, server: Server, address: str) -> None:
        assert server.ask(SUMS, BODY, token="dl_office", headers=forwarded(address)).status == 200

    @pytest.mark.parametrize(
        ("headers", "address"),
        [
            ({}, "127.0.0.1"),
            (forwarded(ELSEWHERE), ELSEWHERE),
            (forwarded(f"{OFFICE}, {ELSEWHERE}"), ELSEWHERE),
        ],
    )
    def test_refuses_from_elsewhere_and_says_from_where(
        self, server: Server, headers: dict[str, str], address: str
    ) -> None:
        answer = server.ask(SUMS, BODY, token="dl_office", headers=headers)

        assert answer.status == 403
        assert f"may not be used from {address};" in answer.json["error"]

    def test_judges_each_request_of_a_connection_by_its_own_address(self, server: Server) -> None:
        """Heads and admissions are remembered; where a request comes from is not."""
        addresses = [OFFICE, ELSEWHERE] * 3

        with server.connect() as connection:
            statuses = []
            for address in addresses:
                connection.send(request_bytes(SUMS, BODY, token="dl_office", headers=forwarded(address)))
                statuses.append(connection.receive().status)

        assert statuses == [200, 403] * 3

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v2/models"),
            ("GET", "/v2/models/sums"),
            ("GET", "/v2/models/sums/stats"),
            ("GET", "/v1/models/sums"),
            ("POST", "/v2/repository/index"),
            ("GET", "/v2/jobs/00000000-0000-0000-0000-000000000000"),
            ("POST", f"{SUMS}?by=asgi"),
        ],
    )
    def test_refuses_at_every_other_door_too(self, server: Server, method: str, path: str) -> None:
        outside = server.ask(path, b"", method=method, token="dl_office", headers=forwarded(ELSEWHERE))
        inside = server.ask(path, b"", method=method, token="dl_office", headers=forwarded(OFFICE))

        assert (outside.status, inside.status != 403) == (403, True)

    def test_refuses_a_job(self, server: Server) -> None:
        headers = {"prefer": "respond-async"}

        outside = server.ask(SUMS, BODY, token="dl_office", headers=headers | forwarded(ELSEWHERE))
        inside = server.ask(SUMS, BODY, token="dl_office", headers=headers | forwarded(OFFICE))

        assert (outside.status, inside.status) == (403, 202)

    def test_counts_the_refusal(self, server: Server) -> None:
        before = refusals(server)

        server.ask(SUMS, BODY, token="dl_office")

        wait_until(lambda: refusals(server) > before, what="the count of refusals")

    def test_takes_the_connection_where_no_proxy_says_more(self, server: Server) -> None:
        assert server.ask(SUMS, BODY, token="dl_here").status == 200
        assert server.ask(SUMS, BODY, token="dl_anywhere", headers=forwarded(ELSEWHERE)).status == 200


def test_a_server_without_a_declared_proxy_believes_no_header(tmp_path: Any) -> None:
    sums = store(tmp_path, summing_model(3), summing_signature(3), id=1, version="1")
    publish(
        tmp_path,
        [PlanModel(1, 1, "sums", 5, "1", [], [sums])],
        [token("dl_office", networks=[f"{OFFICE}/32"])],
    )

    with running_server(tmp_path) as alone:
        answer = alone.ask(SUMS, BODY, token="dl_office", headers=forwarded(OFFICE))

    assert (answer.status, "from 127.0.0.1;" in answer.json["error"]) == (403, True)


class TestGrpc:
    def test_answers_from_there_and_refuses_from_elsewhere(self, server: Server) -> None:
        with open_channel(server.grpc_port) as channel:
            asked = infer_request("sums", [1, 2, 3])
            ask(channel, "ModelInfer", asked, token="dl_office", forwarded_for=OFFICE)
            ask(channel, "ModelInfer", asked, token="dl_here")
            refusal = refused(channel, "ModelInfer", asked, forwarded_for=f"{OFFICE}, {ELSEWHERE}")
            described = refused(channel, "ModelMetadata", messages.ModelMetadataRequest(name="sums"))

        assert f"may not be used from {ELSEWHERE};" in refusal
        assert "may not be used from 127.0.0.1;" in described

    @pytest.mark.parametrize(
        ("peer", "address"),
        [
            ("ipv4:192.0.2.1:4711", "192.0.2.1"),
            ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
            ("ipv6:[::ffff:192.0.2.1]:4711", "::ffff:192.0.2.1"),
            ("unix:/run/driftline.sock", ""),
        ],
    )
    def test_reads_the_name_of_a_connection(self, peer: str, address: str) -> None:
        assert address_of_peer(peer) == address


class TestSecrets:
    def test_of_before_a_rotation_are_taken_until_they_end(self, server: Server) -> None:
        texts = ("dl_rotated", "dl_rotated_old", "dl_ended", "dl_ended_old")

        statuses = {text: server.ask(SUMS, BODY, token=text).status for text in texts}

        assert statuses == {"dl_rotated": 200, "dl_rotated_old": 200, "dl_ended": 200, "dl_ended_old": 401}


def refused(channel: grpc.Channel, method: str, request: Any, **options: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, method, request, token="dl_office", **options)
    call: Any = caught.value
    assert call.code() == grpc.StatusCode.PERMISSION_DENIED
    return str(call.details())
