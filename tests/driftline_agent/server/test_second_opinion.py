"""A device that is unsure has the server answer, and answers itself wherever the server does not."""

import contextlib
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from driftline.base.periods import rfc3339
from driftline_agent.rows.row_store import RowStore
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.server.second_opinion import TIMEOUT_SECONDS, SecondOpinion
from driftline_agent.serving import Dataplane
from inference.serving.plan import INFER_MODEL, PlanModel, PlanToken
from tests.driftline_agent.device import IDENTITY, PlayedDevice
from tests.inference.onnx_models import (
    classifier_signature,
    constant_classifier,
    probability_model,
    probability_signature,
    store,
)
from tests.inference.serving.grpc.calls import ask as call
from tests.inference.serving.grpc.calls import facts_of, infer_request, open_channel
from tests.inference.serving.running import Server, publish, rows_body, running_server, token
from tests.ports import free_port

pytestmark = pytest.mark.slow

INFER = "/v2/models/fuel/infer"
FORTY_TAGS = json.dumps({f"tag{place}": "x" for place in range(40)})
BEFORE = rfc3339(datetime.now(UTC) - timedelta(days=1.5))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with version 9 as the champion of both models, which knows the device's token for one of them."""
    home = tmp_path_factory.mktemp("server")
    version = store(home, constant_classifier(0.9, 1), classifier_signature(1), id=1, version="9")
    models = [
        PlanModel(1, 1, "fuel", 1, "9", [], [version]),
        PlanModel(2, 1, "wear", 1, "9", [], [msgspec.structs.replace(version, id=2)]),
    ]
    digest = hashlib.sha256(IDENTITY.token.encode()).hexdigest()
    tags = {"device": "truck", "device_group": "trucks"}
    truck = PlanToken(digest, "device truck", 1, [INFER_MODEL], None, model_id=1, tags=tags)
    publish(home, models, [truck, token("dl_of_no_model", INFER_MODEL)])
    with running_server(home, grpc=True) as running:
        yield running


class Truck:
    """A device with a probability model, and what its programs are answered."""

    def __init__(self, device: PlayedDevice, folder: Path, port: int) -> None:
        self.device = device
        self.rows = RowStore(folder / "rows.db", max_bytes=1 << 20, clock=DeviceClock(), first_sequence=1)
        self._opinions: list[SecondOpinion] = []
        self.reach(port)

    def reach(self, port: int, token: str = IDENTITY.token, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Let the server be at a port, with a token."""
        identity = replace(IDENTITY, url=f"http://127.0.0.1:{port}", token=token)
        opinion = SecondOpinion(identity, DeviceClock(), timeout_seconds)
        self._opinions.append(opinion)
        self.dataplane = Dataplane(self.device.in_use, self.rows, "truck", opinion)

    def close(self) -> None:
        self.rows.close()
        for opinion in self._opinions:
            opinion.close()

    def have(self, **policy: Any) -> None:
        given = {"released_at": rfc3339(datetime.now(UTC))} | policy
        self.device.server.offer(probability_model(), "1", signature=probability_signature(), **given)
        self.device.updater.poll()

    def ask(self, *probabilities: float, **more: Any) -> dict[str, Any]:
        shape = [len(probabilities), 1]
        tensor = {"name": "X", "shape": shape, "datatype": "FP32", "data": [*probabilities]}
        reply = self.dataplane.write(INFER, json.dumps({"inputs": [tensor], **more}).encode())
        assert reply.status == 200
        assert reply.document is not None
        return reply.document


@pytest.fixture
def truck(device: PlayedDevice, server: Server, tmp_path: Path) -> Iterator[Truck]:
    made = Truck(device, tmp_path, server.port)
    yield made
    made.close()


def test_is_the_servers_where_the_device_is_unsure(truck: Truck, server: Server) -> None:
    truck.have(ask_below=0.75)

    answer = truck.ask(0.5, parameters={"driftline_tags": '{"route": "north"}'})

    assert (answer["model_version"], answer["parameters"]["answered_by"]) == ("9", "server")
    [id_] = answer["parameters"]["prediction_ids"]
    assert truck.rows.unsent_rows() == 0  # the server logs what it answers
    [batch] = [batch for batch in server.spooled() if batch.ids == [id_]]
    assert batch.tags == [{"route": "north", "device": "truck", "device_group": "trucks"}]


@pytest.mark.parametrize("outputs", [5, "label", [5], [{"parameters": 5}], {"name": "label"}])
def test_is_not_had_for_outputs_that_are_none(truck: Truck, outputs: Any) -> None:
    truck.have(ask_below=0.75)

    assert truck.ask(0.5, outputs=outputs)["model_version"] == "1"


@pytest.mark.parametrize("tags", ["[1]", "no JSON", 7, {"route": "north"}, "[" * 200_000, FORTY_TAGS])
def test_is_not_had_for_tags_that_are_none(truck: Truck, tags: Any) -> None:
    truck.have(ask_below=0.75)

    assert truck.ask(0.5, parameters={"driftline_tags": tags})["model_version"] == "1"
    assert truck.ask(0.5)["model_version"] == "9"


def test_names_each_row_of_several(truck: Truck) -> None:
    truck.have(ask_below=0.75)

    ids = truck.ask(0.5, 0.9)["parameters"]["prediction_ids"]

    assert [id_[-2:] for id_ in ids] == [":0", ":1"]


@pytest.mark.parametrize(
    ("probability", "version"), [(0.5, "9"), (0.26, "9"), (0.74, "9"), (0.8, "1"), (0.1, "1")]
)
def test_is_asked_for_by_the_likelier_of_both_classes(truck: Truck, probability: float, version: str) -> None:
    truck.have(ask_below=0.75)

    assert truck.ask(probability)["model_version"] == version


def test_is_asked_for_where_one_row_of_a_request_is_unsure(truck: Truck) -> None:
    truck.have(ask_below=0.75)

    assert truck.ask(0.9, 0.5)["model_version"] == "9"
    assert truck.ask(0.9, 0.95)["model_version"] == "1"


@pytest.mark.parametrize(("days", "version"), [(0, "9"), (1, "9"), (2, "1"), (None, "1")])
def test_is_asked_for_once_the_version_is_old(truck: Truck, days: int | None, version: str) -> None:
    truck.have(ask_after_days=days, released_at=BEFORE)

    assert truck.ask(0.99)["model_version"] == version


def test_is_never_asked_for_without_a_policy(truck: Truck) -> None:
    truck.have()

    assert truck.ask(0.5)["model_version"] == "1"
    assert truck.rows.unsent_rows() == 1


def test_the_device_answers_where_nobody_is_reached_and_stores_the_row(truck: Truck) -> None:
    truck.have(ask_below=0.75)
    truck.reach(free_port())

    answer = truck.ask(0.5)

    assert answer["model_version"] == "1"
    assert answer["parameters"] == {"prediction_ids": ["truck-1"]}


def test_the_device_answers_where_the_server_refuses(truck: Truck, server: Server) -> None:
    truck.have(ask_below=0.75)
    truck.reach(server.port, token="dl_device_other")

    assert truck.ask(0.5)["model_version"] == "1"


def test_programs_do_not_wait_each_time_for_a_server_that_is_away(truck: Truck) -> None:
    truck.have(ask_below=0.75)
    truck.reach(free_port())
    opinion, model = truck.dataplane._opinion, truck.device.in_use.model
    assert opinion is not None
    assert model is not None
    unsure = {"probability": np.array([[0.5]], np.float32)}
    before = opinion.is_wanted(model.manifest, unsure)

    truck.ask(0.5)

    assert (before, opinion.is_wanted(model.manifest, unsure)) == (True, False)


def test_is_had_as_json_where_the_program_would_have_bytes(truck: Truck) -> None:
    truck.have(ask_below=0.75)

    by_request = truck.ask(0.5, parameters={"binary_data_output": True})
    by_output = truck.ask(0.5, outputs=[{"name": "label", "parameters": {"binary_data": True}}])

    assert [one["model_version"] for one in (by_request, by_output)] == ["9", "9"]


def test_is_had_for_tensors_that_come_as_bytes(truck: Truck) -> None:
    truck.have(ask_below=0.75)
    tensor = {"name": "X", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}

    reply = truck.dataplane.write(INFER, json.dumps({"inputs": [tensor]}).encode(), struct.pack("<f", 0.5))

    assert reply.document is not None
    assert reply.document["model_version"] == "9"


def test_is_had_where_the_program_names_rows_itself(truck: Truck) -> None:
    truck.have(ask_below=0.75)

    assert truck.ask(0.5, parameters={"driftline_id": "mine"})["model_version"] == "9"


class PlayedPlace:
    """Stands where the server does, for answers that it does not give."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def answer(self, status: int) -> None:
        """Answer each request with a status."""
        self._start(lambda peer: peer.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status))

    def trickle(self, start: bytes) -> None:
        """Answer with a start, and then a byte now and then, without an end."""

        def send(peer: socket.socket) -> None:
            peer.sendall(start)
            while not self._closed.wait(0.05):
                peer.sendall(b" ")

        self._start(send)

    def _start(self, send: Callable[[socket.socket], None]) -> None:
        threading.Thread(target=self._serve, args=(send,), daemon=True).start()

    def _serve(self, send: Callable[[socket.socket], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                with peer, contextlib.suppress(OSError), peer.makefile("rb") as file:
                    lines = iter(file.readline, b"\r\n")
                    headers = dict(line.decode().lower().strip().split(": ", 1) for line in list(lines)[1:])
                    self.asked.append(json.loads(file.read(int(headers["content-length"]))))
                    send(peer)

    def close(self) -> None:
        self._closed.set()
        self._socket.close()


@pytest.fixture
def place() -> Iterator[PlayedPlace]:
    made = PlayedPlace()
    yield made
    made.close()


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"]
)
def test_is_not_waited_for_where_it_comes_byte_by_byte(
    truck: Truck, place: PlayedPlace, start: bytes
) -> None:
    """Only an end would be an answer, and each byte lets a client wait anew for the next one."""
    truck.have(ask_below=0.75)
    place.trickle(start)
    truck.reach(place.port, timeout_seconds=0.3)

    assert truck.ask(0.5)["model_version"] == "1"


@pytest.mark.parametrize(
    ("status", "asked"), [(400, 2), (404, 2), (401, 1), (403, 1), (429, 1), (500, 1), (503, 1)]
)
def test_is_asked_for_again_unless_the_server_refuses_all(
    truck: Truck, place: PlayedPlace, status: int, asked: int
) -> None:
    truck.have(ask_below=0.75)
    place.answer(status)
    truck.reach(place.port, timeout_seconds=20)

    versions = [truck.ask(0.5)["model_version"] for _ in range(2)]

    assert (versions, len(place.asked)) == (["1", "1"], asked)
    assert place.asked[0]["parameters"]["timeout"] == 20_000_000  # microseconds


class TestItsToken:
    """It asks for predictions of its model, and opens nothing else of what serves models."""

    def test_opens_no_other_model(self, server: Server) -> None:
        answer = server.ask("/v2/models/wear/infer", b"{}", token=IDENTITY.token)

        assert answer.status == 403
        assert b"own model alone" in answer.body

    @pytest.mark.parametrize("headers", [{}, {"driftline-callback": "hook"}])
    def test_makes_no_job(self, server: Server, headers: dict[str, str]) -> None:
        asks_for_a_job = headers | {"prefer": "respond-async"}
        answer = server.ask(INFER, rows_body([0.5]), token=IDENTITY.token, headers=asks_for_a_job)

        assert answer.status == 403
        assert b"makes no jobs" in answer.body

    @pytest.mark.parametrize("name", ["driftline_id", "driftline_timestamp"])
    def test_gives_rows_no_id_and_no_time(self, server: Server, name: str) -> None:
        """An id of another device's rows would have them taken for rows that came already."""
        given = {name: {"driftline_id": "crane-1", "driftline_timestamp": rfc3339(datetime.now(UTC))}[name]}

        by_v2 = server.ask(INFER, rows_body([0.5], parameters=given), token=IDENTITY.token)
        by_v1 = server.ask(
            "/v1/models/fuel:predict",
            b'{"instances": [[0.5]]}',
            token=IDENTITY.token,
            headers={key.replace("_", "-"): value for key, value in given.items()},
        )
        with pytest.raises(grpc.RpcError) as by_grpc:
            self._call(server, given)

        assert (by_v2.status, by_v1.status) == (403, 403)
        assert b"neither driftline_id nor" in by_v2.body
        assert by_grpc.value.code() == grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]

    def test_has_rows_logged_in_its_own_device_s_name(self, server: Server) -> None:
        given = {"driftline_tags": '{"device": "crane", "route": "north"}'}

        ids = [
            server.ask(INFER, rows_body([0.5], parameters=given), token=IDENTITY.token).headers[
                "driftline-prediction-id"
            ],
            self._call(server, given)["driftline-prediction-id"],
            self._call(server, {})["driftline-prediction-id"],
        ]

        tags = {batch.ids[0]: batch.tags[0] for batch in server.spooled() if batch.tags}
        own = {"device": "truck", "device_group": "trucks"}
        assert [tags[id_] for id_ in ids] == [own | {"route": "north"}, own | {"route": "north"}, own]

    def _call(self, server: Server, given: dict[str, str]) -> dict[str, str]:
        with open_channel(server.grpc_port) as channel:
            request = infer_request("fuel", [0.5])
            for name, value in given.items():
                request.parameters[name].string_param = value
            return facts_of(call(channel, "ModelInfer", request, token=IDENTITY.token)[1])

    def test_opens_nothing_without_a_model(self, server: Server) -> None:
        answer = server.ask(INFER, b"{}", token="dl_of_no_model")

        assert answer.status == 403

    @pytest.mark.parametrize("path", ["/v2/models/fuel", "/v2/models/fuel/stats", "/v1/models/fuel"])
    def test_reads_nothing(self, server: Server, path: str) -> None:
        answer = server.ask(path, method="GET", token=IDENTITY.token)

        assert answer.status == 403
        assert b"nothing else" in answer.body
