"""Versions that another server answers: the other server is a Driftline, or one that misbehaves on purpose."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from driftline.base.outbound.rules import OutboundRules
from inference.runtime.remote.circuit_breaker import FAILURES_TO_OPEN
from inference.runtime.remote.credentials import KEY_FILE, seal_headers
from inference.serving.options import EngineOptions, ShadowLimits
from inference.serving.plan import PlanModel, PlanVersion
from inference.signatures import EndpointSpec
from tests.inference.onnx_models import store, summing_model, summing_signature
from tests.inference.serving.grpc.calls import ask as ask_over_grpc
from tests.inference.serving.grpc.calls import infer_request, open_channel
from tests.inference.serving.running import (
    Server,
    publish,
    request_bytes,
    rows_body,
    running_server,
    token,
)
from tests.upstream import Asked, Upstream, response, running_upstream
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

OPTIONS = EngineOptions(outbound=OutboundRules(["127.0.0.1/32"]))
SUMS = summing_signature(3)
FORMS = {
    "v2": ("v2", False),
    "binary": ("v2", True),
    "v1": ("v1", False),
    "torchserve": ("torchserve", False),
}


def remote(id: int, version: str, url: str, **endpoint: Any) -> PlanVersion:
    spec = EndpointSpec(**{"protocol": "v2", "url": url, "model": "sums", **endpoint})
    return PlanVersion(id=id, version=version, sha256="", path="", signature=SUMS, endpoint=spec)


ROUND, MIRROR = 40, 41


# -- a Driftline behind a Driftline ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with, for each form, a model whose champion is remote and one whose shadow is.

    The other server's own `round` and `mirror` name this one's, which name the other's.
    """
    there, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
    sums = store(there, summing_model(3), SUMS, id=1, version="1")
    theirs_alone = PlanModel(1, 1, "sums", 1, "1", [], [sums])
    publish(there, [theirs_alone], [token("dl_infer", "infer")])
    for home in (there, here):
        (home / KEY_FILE).parent.mkdir()
        (home / KEY_FILE).write_text("the home's key")
    credential = seal_headers({"Authorization": "Bearer dl_infer"}, "the home's key")

    def naming(url: str, ours: PlanVersion) -> list[PlanModel]:
        round_, mirror = (
            remote(id, "theirs", url, model=model, credential=credential)
            for id, model in ((ROUND, "round"), (MIRROR, "mirror"))
        )
        return [
            PlanModel(ROUND, 1, "round", 1, "theirs", [], [round_]),
            PlanModel(MIRROR, 1, "mirror", 1, ours.version, ["theirs"], [ours, mirror]),
        ]

    with running_server(there, options=OPTIONS) as other:
        url = f"http://127.0.0.1:{other.port}"
        ours = store(here, summing_model(3), SUMS, id=1, version="ours")
        models = []
        for place, (name, (protocol, binary)) in enumerate(FORMS.items()):
            theirs = remote(2 + place, "theirs", url, protocol=protocol, binary=binary, credential=credential)
            for id, champion, shadow in ((10, "ours", "theirs"), (20, "theirs", "ours")):
                models.append(
                    PlanModel(id + place, 1, f"{champion}-{name}", 1, champion, [shadow], [ours, theirs])
                )
        publish(here, [*models, *naming(url, ours)], [token("dl_infer", "infer", "read")])
        with running_server(here, options=OPTIONS) as server:
            back = naming(f"http://127.0.0.1:{server.port}", sums)
            publish(there, [theirs_alone, *back], [token("dl_infer", "infer")], generation=2)
            for name in ("round", "mirror"):
                wait_until(
                    lambda name=name: other.ask(f"/v2/models/{name}/ready", method="GET").status == 200
                )
            yield server


@pytest.mark.parametrize("champion", ["ours", "theirs"])
@pytest.mark.parametrize("form", FORMS)
def test_a_remote_version_and_one_of_ours_shadow_each_other(pairs: Server, form: str, champion: str) -> None:
    model_id = 10 * ["", "ours", "theirs"].index(champion) + list(FORMS).index(form)

    answers = [
        pairs.ask(f"/v2/models/{champion}-{form}/infer", rows_body([1, 2, number], [4, 5, 6]))
        for number in range(5)
    ]

    assert [answer.json["outputs"][0]["data"] for answer in answers] == [
        [3.0 + number, 15.0] for number in range(5)
    ]
    assert {answer.headers["driftline-version"] for answer in answers} == {champion}
    wait_until(lambda: len(rows_of(pairs, "shadow", model_id)) == 10)
    assert rows_of(pairs, "shadow", model_id) == rows_of(pairs, "champion", model_id)


def rows_of(server: Server, role: str, model_id: int) -> list[tuple[list[str], object]]:
    """Give each logged row's id with the predictions of its batch."""
    batches = [batch for batch in server.spooled(role) if batch.model_id == model_id]
    return [(id, batch.prediction) for batch in batches for id in batch.ids]  # type: ignore[misc]


def test_a_request_that_goes_round_is_said_to_after_one_round(pairs: Server) -> None:
    answer = pairs.ask("/v2/models/round/infer", rows_body([1, 2, 3]))

    assert answer.status == 508
    assert "forwarded 2 times" in answer.json["error"]
    wait_until(lambda: told_of(pairs, "round", "theirs")["calls"] == {"loop": 1})
    assert rows_of(pairs, "champion", ROUND) == []


@pytest.mark.parametrize(
    ("path", "hops", "status"),
    [
        ("ours-v2/versions/theirs", "1", 200),
        ("ours-v2/versions/theirs", "2", 508),
        ("ours-v2/versions/theirs", "x", 400),
        ("theirs-v2/versions/ours", "2", 200),
    ],
)
def test_what_was_forwarded_twice_is_answered_here_or_not_at_all(
    pairs: Server, path: str, hops: str, status: int
) -> None:
    body, headers = rows_body([1, 2, 3]), {"Driftline-Hops": hops}

    answer = pairs.ask(
        f"/v2/models/{path}/infer", body, headers=headers
    )  # no champion, so without the shadow

    assert answer.status == status


def test_copies_that_come_back_are_not_copied_again(pairs: Server) -> None:
    asked = []

    def has_come_back() -> bool:
        """Ask once more: on a busy machine a copy may take too long, and is dropped before it comes back."""
        asked.append(pairs.ask("/v2/models/mirror/infer", rows_body([1, 2, 3])))
        return pairs.status_files()[0]["shadow_drops"].get(f"{MIRROR}/loop/theirs", 0) > 0

    wait_until(has_come_back)
    assert len(rows_of(pairs, "champion", MIRROR)) <= 2 * len(asked)  # the callers', and a copy of each


def test_a_large_request_is_answered_in_pieces(pairs: Server) -> None:
    body = rows_body(*([row, 1, 1] for row in range(600)))

    answer = pairs.ask("/v2/models/ours-v1/versions/theirs/infer", body)  # by its name, so without the shadow

    assert answer.json["outputs"][0]["data"] == [row + 2.0 for row in range(600)]


# -- a server that misbehaves ------------------------------------------------------------------------------------------
GOOD = b'{"outputs":[{"name":"sum","datatype":"FP32","shape":[1,1],"data":[6]}]}'

MODELS = [
    "garbage",
    "v2",
    "v1",
    "torchserve",
    "mlflow",
    "deadline",
    "down",
    "spoilt",
    "crowded",
    "grpc",
]
OURS, THEIRS = 101, 102  # the shadows of one more model


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(lambda _: response(GOOD)) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Server]:
    """A server with a remote version for each test, so that none meets another's circuit."""
    home = tmp_path_factory.mktemp("home")
    models = [
        PlanModel(id, 1, name, 1, name, [], [remote(id, name, upstream.url, timeout_ms=400)])
        for id, name in enumerate(MODELS, 1)
    ]
    champion = store(home, summing_model(3), SUMS, id=100, version="champion")
    ours = store(home, summing_model(3), SUMS, id=OURS, version="ours")
    theirs = remote(THEIRS, "theirs", upstream.url)
    models.append(PlanModel(100, 1, "shadowed", 1, "champion", ["theirs", "ours"], [champion, ours, theirs]))
    publish(home, models, [token("dl_infer", "infer", "read")])
    limits = ShadowLimits(run_seconds=30)
    with running_server(home, options=msgspec.structs.replace(OPTIONS, shadows=limits), grpc=True) as running:
        yield running


def ids_of(server: Server, model: str) -> list[str]:
    """Give the ids of what is logged of a model."""
    wanted = MODELS.index(model) + 1
    return [id for batch in server.spooled() if batch.model_id == wanted for id in batch.ids]


def ask(server: Server, model: str, **parameters: Any) -> Any:
    fields = {"parameters": parameters} if parameters else {}
    return server.ask(f"/v2/models/{model}/infer", rows_body([1, 2, 3], **fields))


type Misbehave = Callable[[Asked], Any]


def say(body: bytes, status: int = 200, headers: str = "") -> Misbehave:
    return lambda _: response(body, status, headers)


def break_off(asked: Asked) -> Any:
    def send_half(_: Asked, connected: socket.socket) -> None:
        connected.sendall(response(GOOD)[:-5])

    return send_half


NOT_ANSWERED: list[tuple[Misbehave, int, str]] = [
    (say(b"<html>"), 502, "no usable answer"),
    (say(GOOD.replace(b"6", b"NaN")), 502, "no usable answer"),
    (say(GOOD.replace(b"FP32", b"FP64")), 502, "should be FP32"),
    (say(GOOD.replace(b"[1,1]", b"[2,1]").replace(b"[6]", b"[6,6]")), 502, "for 1 rows"),
    (say(b"", 302, "Location: http://127.0.0.1:1/\r\n"), 502, "no redirect"),
    (say(b"", 401), 502, "refuses our credential"),
    (say(b'{"error": "no sums"}', 404), 502, "no such model or version (404): no sums"),
    (say(b'{"error": "boom"}', 500), 502, "answered 500: boom"),
    (say(b'{"error": "full"}', 429, "Retry-After: 7\r\n"), 503, "no room now (429): full"),
    (say(b'{"error": "X is too large"}', 400), 400, "X is too large"),
    (break_off, 502, "before its answer was whole"),
]


def test_what_is_not_answered_is_said_and_not_logged(server: Server, upstream: Upstream) -> None:
    for misbehave, status, sentence in NOT_ANSWERED:
        upstream.answer = say(GOOD)
        ask(server, "garbage")  # so that no more calls fail than go well, which would open the circuit
        upstream.answer = misbehave
        answer = ask(server, "garbage")
        assert answer.status == status, answer.body
        assert sentence in answer.json["error"]

    assert len(ids_of(server, "garbage")) == len(NOT_ANSWERED)  # those of the good answers
    wait_until(lambda: server.counted()["garbage", "model"] == 1)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v2/models/v2/infer", rows_body([1, 2, 3]), "error"),
        ("/v1/models/v1:predict", b'{"instances": [[1, 2, 3]]}', "error"),
        ("/predictions/torchserve", b"[[1, 2, 3]]", "message"),
        ("/invocations/mlflow", b'{"inputs": [[1, 2, 3]]}', "message"),
    ],
)
def test_each_protocols_clients_get_the_error_that_they_expect(
    server: Server, upstream: Upstream, path: str, body: bytes, field: str
) -> None:
    upstream.answer = say(b'{"error": "boom"}', 500)

    answer = server.ask(path, body)

    assert answer.status == 502
    assert "answered 500: boom" in answer.json[field]


@pytest.mark.parametrize(
    ("misbehave", "code", "part"),
    [
        (say(b'{"error": "boom"}', 500), "UNAVAILABLE", "answered 500: boom"),
        (say(b'{"error": "full"}', 429), "UNAVAILABLE", "no room now (429): full"),
        (lambda _: b"", "DEADLINE_EXCEEDED", "did not answer within 0.4 s"),
        (say(b'{"error": "round"}', 508), "FAILED_PRECONDITION", "answered 508: round"),
        (say(b'{"error": "X is too large"}', 400), "INVALID_ARGUMENT", "X is too large"),
    ],
)
def test_a_client_over_grpc_gets_the_code_that_stands_for_the_status(
    server: Server, upstream: Upstream, misbehave: Misbehave, code: str, part: str
) -> None:
    upstream.answer = misbehave

    with open_channel(server.grpc_port) as channel, pytest.raises(grpc.RpcError) as caught:
        ask_over_grpc(channel, "ModelInfer", infer_request("grpc", [1, 2, 3]))

    call: Any = caught.value
    assert call.code() == grpc.StatusCode[code]
    assert part in call.details()


def test_a_deadline_ends_in_504_whatever_the_server_does(server: Server, upstream: Upstream) -> None:
    upstream.answer = lambda _: b""

    hasty, patient = ask(server, "deadline", timeout=50_000), ask(server, "deadline")

    assert (hasty.status, patient.status) == (504, 504)
    assert "'timeout'" in hasty.json["error"]
    assert "did not answer within 0.4 s" in patient.json["error"]
    assert ids_of(server, "deadline") == []


def test_a_server_that_is_down_is_left_alone_and_found_again(server: Server, upstream: Upstream) -> None:
    upstream.answer = say(b"", 500)

    failed = [ask(server, "down").status for _ in range(FAILURES_TO_OPEN)]
    asked = len(upstream.asked)
    refused = ask(server, "down")

    assert failed == [502] * FAILURES_TO_OPEN
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert len(upstream.asked) == asked
    wait_until(lambda: told_of(server, "down")["circuits"] == {"open": 1})
    upstream.answer = say(GOOD)
    wait_until(lambda: ask(server, "down").status == 200)
    wait_until(lambda: told_of(server, "down")["circuits"] == {"closed": 1})
    assert told_of(server, "down")["calls"] == {"status": FAILURES_TO_OPEN, "answered": 1}
    assert len(ids_of(server, "down")) == 1


def test_rows_that_fail_time_after_time_shut_nobody_else_out(server: Server, upstream: Upstream) -> None:
    upstream.answer = lambda asked: answer_but_nine(asked, response(b"Internal Server Error", 500))
    spoilt, good = rows_body([1, 2, 9]), rows_body([1, 2, 3])

    for body in [good] * FAILURES_TO_OPEN + [spoilt] * FAILURES_TO_OPEN:
        server.ask("/v2/models/crowded/infer", body)
    answer = server.ask("/v2/models/crowded/infer", good)

    assert answer.status == 200
    wait_until(lambda: told_of(server, "crowded")["calls"] == {"answered": 6, "status": 5})
    assert told_of(server, "crowded")["circuits"] == {"closed": 1}


def told_of(server: Server, model: str, version: str = "") -> Any:
    """Read what the statistics tell of a model's other server; its version is called like it unless told."""
    path = f"/v2/models/{model}/versions/{version or model}/stats"
    [stats] = server.ask(path, method="GET").json["model_stats"]
    return stats["upstream"]


def test_a_remote_shadow_holds_up_no_other_and_catches_up_in_few_calls(
    server: Server, upstream: Upstream
) -> None:
    released = threading.Event()

    def answer_when_released(asked: Asked) -> bytes:
        released.wait(20)
        [tensor] = json.loads(asked.body)["inputs"]
        if 8 in tensor["data"]:
            return response(b"", 500)
        return answer_but_nine(asked, response(b'{"error": "9 is too much"}', 400))

    upstream.answer = answer_when_released
    called = len(upstream.asked)
    answers = [
        server.ask("/v2/models/shadowed/infer", rows_body([1, 2, {20: 9, 30: 8}.get(place, 3)]))
        for place in range(40)
    ]

    assert {answer.status for answer in answers} == {200}
    wait_until(lambda: len(shadow_ids(server, OURS)) == 40)
    assert shadow_ids(server, THEIRS) == []
    released.set()
    wait_until(lambda: len(shadow_ids(server, THEIRS)) == 38)  # all but the two that the server does not take
    refused = {answers[place].headers["driftline-prediction-id"] for place in (20, 30)}
    assert shadow_ids(server, THEIRS) == [id for id in shadow_ids(server, OURS) if id not in refused]
    assert len(upstream.asked) - called <= 1 + 1 + 39  # the first, all together, and then each alone


def shadow_ids(server: Server, version_id: int) -> list[str]:
    return [id for batch in server.spooled("shadow") if batch.version_id == version_id for id in batch.ids]


def answer_but_nine(asked: Asked, refusal: bytes) -> bytes:
    """Answer 1 to each row, unless a 9 is among them."""
    [tensor] = json.loads(asked.body)["inputs"]
    if 9 in tensor["data"]:
        return refusal
    rows = tensor["shape"][0]
    output = {"name": "sum", "datatype": "FP32", "shape": [rows, 1], "data": [1.0] * rows}
    return response(json.dumps({"outputs": [output]}).encode())


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (response(b'{"error": "9 is too much"}', 400), 400),
        (response(b"Internal Server Error", 500), 502),
        (response(b'{"code": 503, "message": "Prediction failed"}', 503), 503),
        (response(GOOD.replace(b"6", b"NaN")), 502),
    ],
    ids=["400", "MLServer's 500", "TorchServe's 503", "NaN"],
)
def test_values_that_the_server_does_not_answer_fail_their_own_request_alone(
    server: Server, upstream: Upstream, refusal: bytes, status: int
) -> None:
    upstream.answer = lambda asked: answer_but_nine(asked, refusal)
    connections = [server.connect() for _ in range(6)]
    for place, connection in enumerate(connections):
        body = rows_body([1, 2, 9 if place == 3 else 3])
        connection.send(request_bytes("/v2/models/spoilt/infer", body))
    statuses = [connection.receive().status for connection in connections]
    for connection in connections:
        connection.socket.close()

    assert statuses == [200, 200, 200, status, 200, 200]


def test_a_process_starts_while_the_server_is_down_and_calls_no_private_address(tmp_path: Path) -> None:
    with running_upstream(lambda _: response(GOOD)) as alive:
        with running_upstream(lambda _: response(GOOD)) as gone:
            pass
        models = [
            PlanModel(1, 1, "gone", 1, "1", [], [remote(1, "1", gone.url)]),
            PlanModel(2, 1, "private", 1, "1", [], [remote(2, "1", alive.url.replace("0.1:", "0.2:"))]),
        ]
        publish(tmp_path, models, [token("dl_infer", "infer")])
        with running_server(tmp_path, options=OPTIONS) as server:
            answers = [ask(server, model) for model in ("gone", "private")]

    assert [answer.status for answer in answers] == [502, 502]
    assert "cannot be reached" in answers[0].json["error"]
    assert "may not call" in answers[1].json["error"]
    assert not alive.asked
