"""Devices that reach a server of NATS alone: a real one with TLS, a real gateway, and agents as processes."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import onnx
import orjson
import pytest

from driftline_agent.server.nats_wire import MAX_PART_BYTES, METHOD, MORE, PATH, STATUS, SUBJECT, connect
from driftline_agent.server.server_client import open_client
from inference.edge.models import DeviceGroup
from inference.edge.nats_gateway import DeviceGateway
from inference.edge.nats_gateway import NatsServer as GatewayServer
from inference.prediction_log.models import PredictionRow
from tests.driftline_agent.enrolled import running_agents
from tests.driftline_agent.gateways import running_gateways
from tests.inference.edge.fleet import release
from tests.inference.onnx_models import linear_model
from tests.loopback import LoopbackHandler, LoopbackServer
from tests.ports import free_port
from tests.streams.nats_server import PASSWORD, USER, NatsServer, nats_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
ROWS = "/self/rows"


@pytest.fixture
def nats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    """A server of NATS, which agents of this test know how to sign in to."""
    folder = tmp_path / "nats"
    folder.mkdir()
    with nats_server(folder) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        monkeypatch.setenv("DRIFTLINE_AGENT_NATS_USER", USER)
        monkeypatch.setenv("DRIFTLINE_AGENT_NATS_PASSWORD", PASSWORD)
        yield server


def logged(group: DeviceGroup) -> list[str]:
    return list(PredictionRow.objects.filter(model_id=group.model_id).values_list("prediction_id", flat=True))


def test_every_row_counts_once_where_gateways_and_nats_are_killed(
    group: DeviceGroup, nats: NatsServer, live_server: Any, tmp_path: Path
) -> None:
    large = onnx.load_from_string(linear_model(1.0, 0.0))
    large.doc_string = "x" * 3 * MAX_PART_BYTES
    release(group, "1", large.SerializeToString())

    with (
        running_gateways(tmp_path, nats, live_server.url, 2) as gateways,
        running_agents(group, f"tls://127.0.0.1:{nats.port}", tmp_path, 2) as agents,
    ):
        for agent in agents:
            agent.wait_for("1")
        for kill in range(4):
            for agent in agents:
                for x in range(25):
                    assert agent.ask(float(x)) is not None
            victim = gateways[kill % 2]
            victim.kill()
            victim.start()
            if kill == 2:
                nats.kill()
                nats.start()
        release(group, "2")
        for agent in agents:
            agent.wait_for("2")
        wait_until(lambda: len(logged(group)) == 200, what="all rows are logged")

    assert sorted(logged(group)) == sorted(f"truck{one}-{row}" for one in range(2) for row in range(1, 101))


class EchoingServer(LoopbackHandler):
    """A web server that answers with what it got."""

    def do_POST(self) -> None:
        body = self.read_body()
        self.send_response(200)
        self.send_header("Content-Type", self.headers.get("Content-Type", ""))
        self.send_header("X-Internal", "stays here")
        self.send_header("Driftline-Prediction-Id", self.headers.get("Authorization", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def gateway_to(url: str, nats: NatsServer) -> Iterator[None]:
    """Run a gateway in a thread."""
    address = GatewayServer(f"tls://127.0.0.1:{nats.port}", USER, PASSWORD, nats.certificate)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(DeviceGateway(address, url, pause_seconds=0.05).run(stop))
    )
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def device_of(nats: NatsServer) -> Iterator[httpx.Client]:
    """A client as the agent has it, once a gateway hears it."""
    url = f"tls://127.0.0.1:{nats.port}"
    with open_client(url, "/api/v1/devices", 10.0, {"Authorization": "Bearer a-token"}) as client:
        wait_until(lambda: _is_heard(client), what="a gateway hears the device")
        yield client


def _is_heard(client: httpx.Client) -> bool:
    with suppress(httpx.ConnectError):
        client.get("/nothing")
        return True
    return False


@pytest.mark.parametrize(
    "size", [0, 1, MAX_PART_BYTES - 1, MAX_PART_BYTES, MAX_PART_BYTES + 1, 5 * MAX_PART_BYTES + 7]
)
def test_a_body_of_any_length_arrives_whole_both_ways(nats: NatsServer, size: int) -> None:
    body = bytes(place * 7 % 251 for place in range(size))
    with LoopbackServer(EchoingServer) as web, gateway_to(web.url, nats), device_of(nats) as device:
        answer = device.post(ROWS, content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Driftline-Prediction-Id"] == "Bearer a-token"
    assert "X-Internal" not in answer.headers


def test_a_body_beyond_the_bound_is_refused_in_its_midst(nats: NatsServer) -> None:
    with LoopbackServer(EchoingServer) as web, gateway_to(web.url, nats), device_of(nats) as device:
        answer = device.post(ROWS, content=bytes(33 << 20))

    assert (answer.status_code, answer.content) == (413, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/models"),
        ("POST", "/api/v1/devices"),
        ("DELETE", "/api/v1/devices/self/rows"),
        ("POST", "/api/v1/devices/self/rows?project=theirs"),
        ("POST", "/api/v1/devices/self/../../tokens"),
        ("POST", "/v2/models/a/../../infer"),
    ],
)
def test_what_no_device_asks_for_is_not_passed_on(nats: NatsServer, method: str, path: str) -> None:
    with LoopbackServer(EchoingServer) as web, gateway_to(web.url, nats), device_of(nats) as device:
        answer = device.request(method, f"http://driftline{path}", content=b"x")

    assert (answer.status_code, answer.content) == (404, b"")


UNREADABLE = [
    (b"_INBOX.x", b"NATS/1.0\r\n\r\n"),
    (b"_INBOX.x", b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
    (b"_INBOX.\xff", b"NATS/1.0\r\nA: b\r\n\r\n"),
]


@pytest.mark.parametrize(("reply", "headers"), UNREADABLE)
def test_a_message_that_nobody_can_read_keeps_no_other_device_out(
    nats: NatsServer, reply: bytes, headers: bytes
) -> None:
    with LoopbackServer(EchoingServer) as web, gateway_to(web.url, nats), device_of(nats) as device:
        with signed_in(nats) as line:
            line.sendall(
                b"HPUB driftline.devices %s %d %d\r\n%s\r\nPING\r\n"
                % (reply, len(headers), len(headers), headers)
            )
            wait_until(lambda: b"PONG" in line.recv(4096), what="the message is delivered")
        answer = device.post(ROWS, content=b"{}")

    assert answer.status_code == 200


def test_a_device_publishes_nowhere_with_the_rights_of_the_gateway(nats: NatsServer) -> None:
    nats.create_stream("orders")
    nats.send("orders.new", [b"1", b"2"])
    with LoopbackServer(EchoingServer) as web, gateway_to(web.url, nats), device_of(nats) as device:
        with signed_in(nats) as line:
            line.sendall(b"PUB driftline.devices $JS.API.STREAM.PURGE.orders 0\r\n\r\nPING\r\n")
            wait_until(lambda: b"PONG" in line.recv(4096), what="the message is delivered")
        assert device.post(ROWS, content=b"{}").status_code == 200  # what came before it was looked at

    assert nats.ask(lambda streams: streams.stream_info("orders")).state.messages == 2


def test_a_body_that_does_not_grow_is_refused(nats: NatsServer) -> None:
    async def ask() -> dict[str, str]:
        client = await connect(
            f"tls://127.0.0.1:{nats.port}",
            USER,
            PASSWORD,
            name="slow",
            inbox="_INBOX.slow",
            authority=nats.certificate,
        )
        headers = {METHOD: "POST", PATH: "/api/v1/devices/self/rows", MORE: "1"}
        answer = await client.request(SUBJECT, b"{", headers=headers, timeout=10)
        answer = await client.request(answer.reply, b"", headers={MORE: "1"}, timeout=10)
        await client.close()
        return dict(answer.headers or {})

    with LoopbackServer(EchoingServer) as web, gateway_to(web.url, nats), device_of(nats):
        assert asyncio.run(ask()) == {STATUS: "400"}


class CuttingServer(LoopbackHandler):
    """A web server that breaks off in the middle of a file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(5 * MAX_PART_BYTES))
        self.end_headers()
        self.wfile.write(bytes(3 * MAX_PART_BYTES))


def test_an_answer_that_breaks_off_is_an_error(nats: NatsServer) -> None:
    with (
        LoopbackServer(CuttingServer) as web,
        gateway_to(web.url, nats),
        device_of(nats) as device,
        pytest.raises(httpx.RemoteProtocolError, match="broke off"),
    ):
        device.get(f"/self/artifacts/{'a' * 64}")


def test_a_question_under_way_ends_when_the_client_is_closed(nats: NatsServer) -> None:
    asked, answered = threading.Event(), threading.Event()

    class Waiting(LoopbackHandler):
        def do_POST(self) -> None:
            asked.set()
            answered.wait(30)

    failures: list[Exception] = []

    def ask(device: httpx.Client) -> None:
        try:
            device.post(ROWS, content=b"{}")
        except httpx.HTTPError as error:
            failures.append(error)

    with LoopbackServer(Waiting) as web, gateway_to(web.url, nats):
        with device_of(nats) as device:
            thread = threading.Thread(target=ask, args=[device])
            thread.start()
            assert asked.wait(30)
        thread.join(10)
        answered.set()
        assert not thread.is_alive()

    assert isinstance(failures[0], httpx.ConnectError)


@contextmanager
def signed_in(nats: NatsServer) -> Iterator[ssl.SSLSocket]:
    """A connection of a device's user on which the test writes what it likes."""
    with socket.create_connection(("127.0.0.1", nats.port), timeout=10) as plain:
        plain.recv(4096)
        context = ssl.create_default_context(cafile=str(nats.certificate))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as line:
            options = orjson.dumps({"user": USER, "pass": PASSWORD, "headers": True, "verbose": False})
            line.sendall(b"CONNECT %s\r\n" % options)
            yield line


def test_a_web_server_that_is_away_is_a_status_and_the_gateway_goes_on(nats: NatsServer) -> None:
    with gateway_to(f"http://127.0.0.1:{free_port()}", nats), device_of(nats) as device:
        assert [device.post(ROWS, content=b"{}").status_code for _ in range(2)] == [502, 502]


def test_a_server_of_nats_without_a_gateway_is_not_reached(nats: NatsServer) -> None:
    with (
        open_client(f"tls://127.0.0.1:{nats.port}", "/api/v1/devices", 10.0, {}) as device,
        pytest.raises(httpx.ConnectError, match="no gateway of Driftline"),
    ):
        device.post(ROWS, content=b"{}")


def test_a_server_that_asks_for_no_tls_hears_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("nats-server")
    if program is None:
        pytest.skip("There is no NATS server; install one, such as 'apt-get install nats-server'.")
    port = free_port()
    with (tmp_path / "nats.log").open("wb") as log:
        plain = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-DV"], stdout=log, stderr=log)
    monkeypatch.setenv("DRIFTLINE_AGENT_NATS_USER", "truck-a")
    monkeypatch.setenv("DRIFTLINE_AGENT_NATS_PASSWORD", "a-password")
    try:
        wait_until(lambda: "Server is ready" in (tmp_path / "nats.log").read_text(), what="the start of NATS")
        with (
            open_client(f"tls://127.0.0.1:{port}", "/api/v1/devices", 10.0, {}) as device,
            pytest.raises(httpx.ConnectError, match="does not ask for TLS"),
        ):
            device.post(ROWS, content=b"{}")
    finally:
        plain.terminate()
        plain.wait()
    assert "CONNECT" not in (tmp_path / "nats.log").read_text()
