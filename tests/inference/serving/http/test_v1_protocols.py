"""TensorFlow Serving, KServe V1, MLflow and TorchServe over HTTP, against a running server."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from inference.protocol.v2.parameters import format_time
from inference.serving.http.incoming_body import MAX_BODY_BYTES
from tests.inference.serving.http.published_models import logged, publish_models
from tests.inference.serving.running import (
    Response,
    Server,
    request_bytes,
    rows_body,
    running_server,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    publish_models(home)
    with running_server(home, app="tests.inference.serving.small_app:app") as running:
        yield running


class Spoken(NamedTuple):
    """A protocol: a model's path, a row of three numbers, the answer to rows, and its errors."""

    path: str
    version_path: str
    row: str
    answer: Any
    error_keys: set[str]


PROTOCOLS = {
    "tensorflow": Spoken(
        "/v1/models/{}:predict",
        "/v1/models/{}/versions/{}:predict",
        '{{"instances":[[{}]]}}',
        {"predictions": [[6.0]]},
        {"error"},
    ),
    "mlflow": Spoken(
        "/invocations/{}",
        "",
        '{{"inputs":[[{}]]}}',
        {"predictions": [6.0]},
        {"error_code", "message"},
    ),
    "torchserve": Spoken("/predictions/{}", "/predictions/{}/{}", "[{}]", 6.0, {"code", "type", "message"}),
}
every_protocol = pytest.mark.parametrize("spoken", PROTOCOLS.values(), ids=PROTOCOLS.keys())
versioned_protocol = pytest.mark.parametrize(
    "spoken",
    [pytest.param(spoken, id=name) for name, spoken in PROTOCOLS.items() if spoken.version_path],
)


def ask(server: Server, spoken: Spoken, model: str = "sums", row: str = "1,2,3", **options: Any) -> Response:
    return server.ask(spoken.path.format(model), spoken.row.format(row).encode(), **options)


def get(server: Server, path: str, **options: Any) -> Response:
    return server.ask(path, method="GET", **options)


@every_protocol
class TestAnswering:
    def test_answers_and_logs(self, server: Server, spoken: Spoken) -> None:
        answer = ask(server, spoken)

        assert (answer.status, answer.json) == (200, spoken.answer)
        assert answer.headers["content-type"] == "application/json"
        assert (answer.headers["driftline-version"], answer.headers["driftline-generation"]) == ("1", "5")
        assert answer.headers["driftline-log"] == "spooled"
        batch, _ = logged(server, answer.headers["driftline-prediction-id"])
        assert (batch.model_id, batch.version_id) == (1, 1)

    def test_logs_what_the_headers_say(self, server: Server, spoken: Spoken) -> None:
        now_us = time.time_ns() // 1000
        key = f"order-{now_us}"
        headers = {
            "Driftline-Id": key,
            "Driftline-Timestamp": format_time(now_us),
            "Driftline-Tags": '{"route":"JFK"}',
            "Driftline-Subject": "eva",
            "Driftline-Priority": "1",
        }

        answer = ask(server, spoken, headers=headers)

        assert answer.headers["driftline-prediction-id"] == key
        batch, place = logged(server, key)
        assert (batch.keyed, batch.event_time_us[place]) == (True, now_us)
        assert (batch.subjects[place], batch.tags[place]) == ("eva", {"route": "JFK"})

    def test_gives_the_shadow_its_copy(self, server: Server, spoken: Spoken) -> None:
        answer = ask(server, spoken, "coins")

        batch, _ = logged(server, answer.headers["driftline-prediction-id"], role="shadow")
        assert batch.version_id == 3

    def test_keeps_the_order_on_a_connection_with_v2(self, server: Server, spoken: Spoken) -> None:
        ours = request_bytes(spoken.path.format("sums"), spoken.row.format("1,2,3").encode())
        with server.connect() as connection:
            connection.send((ours + request_bytes("/v2/models/sums/infer", rows_body([4, 5, 6]))) * 20)

            answers = [connection.receive() for _ in range(40)]

        assert [answer.json for answer in answers[::2]] == [spoken.answer] * 20
        assert [answer.json["outputs"][0]["data"] for answer in answers[1::2]] == [[15]] * 20

    def test_takes_paths_with_percent_signs_and_bodies_after_100_continue(
        self, server: Server, spoken: Spoken
    ) -> None:
        path = spoken.path.format("%73ums").replace(":", "%3A")
        body = spoken.row.format("1,2,3").encode()

        assert server.ask(path, body).json == spoken.answer
        assert server.ask(path, body, headers={"expect": "100-continue"}).json == spoken.answer

    def test_is_answered_later_where_it_prefers_so(self, server: Server, spoken: Spoken) -> None:
        headers = {"prefer": "respond-async", "driftline-subject": f"later-{spoken.path}"}

        job = ask(server, spoken, headers=headers)

        wait_until(lambda: get(server, job.headers["location"]).status != 202)
        answer = get(server, job.headers["location"])
        assert (job.status, answer.status, answer.json) == (202, 200, spoken.answer)
        batch, place = logged(server, answer.headers["driftline-prediction-id"])
        assert batch.subjects[place] == f"later-{spoken.path}"


ROW_ERRORS = [
    pytest.param("sums", "1,2", 400, id="width"),
    pytest.param("sums", '1,2,"3"', 400, id="datatype"),
    pytest.param("sums", "1,2,Infinity", 400, id="infinity"),
    pytest.param("sums", "1,2,", 400, id="malformed"),
    pytest.param("unknown", "1,2,3", 404, id="unknown model"),
    pytest.param("foreign", "1,2,3", 404, id="another's model"),
    pytest.param("empty", "1,2,3", 409, id="no champion"),
    pytest.param("failing", "-1,2,3", 400, id="values that the model cannot answer"),
]


@every_protocol
class TestRefusing:
    def refused(self, server: Server, spoken: Spoken, answer: Response, status: int) -> None:
        assert (answer.status, set(answer.json)) == (status, spoken.error_keys)
        assert "driftline-prediction-id" not in answer.headers
        assert all(
            batch.subjects in (None, [None] * len(batch.ids)) or "refused" not in batch.subjects
            for batch in server.spooled()
        )

    @pytest.mark.parametrize(("model", "row", "status"), ROW_ERRORS)
    def test_speaks_the_protocol_and_logs_nothing(
        self, server: Server, spoken: Spoken, model: str, row: str, status: int
    ) -> None:
        answer = ask(server, spoken, model, row, headers={"driftline-subject": "refused"})

        self.refused(server, spoken, answer, status)

    @pytest.mark.parametrize(
        ("bearer", "status"), [("dl_nobody", 401), ("dl_expired", 401), ("dl_read", 403)]
    )
    def test_wants_a_token_that_may_infer(
        self, server: Server, spoken: Spoken, bearer: str, status: int
    ) -> None:
        answer = ask(server, spoken, token=bearer, headers={"driftline-subject": "refused"})

        self.refused(server, spoken, answer, status)

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("driftline-timestamp", "2020-01-01"),
            ("driftline-timestamp", "2999-01-01T00:00:00Z"),
            ("driftline-tags", "[]"),
            ("driftline-timeout", "soon"),
        ],
    )
    def test_reads_headers_with_care(self, server: Server, spoken: Spoken, header: str, value: str) -> None:
        answer = ask(server, spoken, headers={"driftline-subject": "refused", header: value})

        self.refused(server, spoken, answer, 400)

    def test_wants_the_scope_for_old_event_times(self, server: Server, spoken: Spoken) -> None:
        headers = {"driftline-subject": "refused", "driftline-timestamp": "2020-01-01T00:00:00Z"}

        self.refused(server, spoken, ask(server, spoken, headers=headers), 403)

    def test_ends_what_takes_longer_than_the_caller_waits(self, server: Server, spoken: Spoken) -> None:
        headers = {"driftline-subject": "refused", "driftline-timeout": "300000"}

        answer = ask(server, spoken, "endless", "-1,0,0", headers=headers)

        self.refused(server, spoken, answer, 504)

    def test_takes_no_body_that_is_too_long(self, server: Server, spoken: Spoken) -> None:
        with server.connect() as connection:
            connection.send(
                b"POST %b HTTP/1.1\r\nhost: test\r\nauthorization: Bearer dl_infer\r\ncontent-length: %d\r\n\r\n"
                % (spoken.path.format("sums").encode(), MAX_BODY_BYTES + 1)
            )

            answer = connection.receive()

        self.refused(server, spoken, answer, 413)

    def test_takes_no_more_rows_than_may_be(self, server: Server, spoken: Spoken) -> None:
        body = spoken.row.format("1,2,3").replace("[1,2,3]", ",".join(["[1,2,3]"] * 10_001))
        body = body if body.endswith("}") else f"[{body}]"

        answer = server.ask(
            spoken.path.format("sums"), body.encode(), headers={"driftline-subject": "refused"}
        )

        self.refused(server, spoken, answer, 413)

    def test_is_not_for_get(self, server: Server, spoken: Spoken) -> None:
        answer = get(server, spoken.path.format("sums"))

        self.refused(server, spoken, answer, 405)
        assert answer.headers["allow"].startswith("POST")

    def test_is_nowhere_else(self, server: Server, spoken: Spoken) -> None:
        answer = server.ask(spoken.path.format("sums/strange/1/2"), b"{}")

        self.refused(server, spoken, answer, 404)


@versioned_protocol
class TestVersions:
    def test_answers_with_the_version_that_is_named(self, server: Server, spoken: Spoken) -> None:
        body = spoken.row.format("1,2,3").encode()

        answer = server.ask(spoken.version_path.format("coins", 2), body)

        assert answer.headers["driftline-version"] == "2"
        assert "[0.25,0.75]" in answer.body.decode()
        logged(server, answer.headers["driftline-prediction-id"], role="direct")

    def test_refuses_a_version_that_is_not_there(self, server: Server, spoken: Spoken) -> None:
        answer = server.ask(spoken.version_path.format("coins", 9), spoken.row.format("1,2,3").encode())

        assert (answer.status, set(answer.json)) == (404, spoken.error_keys)


class TestTensorFlow:
    ROW = b'{"instances":[[1,2,3]]}'

    @pytest.mark.parametrize(("label", "version"), [("tails", "2"), ("heads", "1")])
    def test_finds_a_version_by_its_alias(self, server: Server, label: str, version: str) -> None:
        answer = server.ask(f"/v1/models/coins/labels/{label}:predict", self.ROW)

        assert (answer.status, answer.headers["driftline-version"]) == (200, version)

    def test_knows_no_other_alias(self, server: Server) -> None:
        answer = server.ask("/v1/models/coins/labels/edge:predict", self.ROW)

        assert (answer.status, answer.json) == (404, {"error": "Model 'coins' has no alias 'edge'."})

    def test_takes_version_0_for_the_champion(self, server: Server) -> None:
        answer = server.ask("/v1/models/coins/versions/0:predict", self.ROW)

        assert (answer.status, answer.headers["driftline-version"]) == (200, "1")

    def test_takes_and_writes_nan(self, server: Server) -> None:
        missing = server.ask("/v1/models/sums:predict", b'{"instances":[[1,NaN,3],[1,2,3]]}')
        undefined = server.ask("/v1/models/roots:predict", b'{"inputs":[[-1,0,0],[4,0,0]]}')

        assert missing.body == b'{"predictions":[[NaN],[6.0]]}'
        assert undefined.body == b'{"outputs":[[NaN],[2.0]]}'

    def test_takes_bytes_in_base64(self, server: Server) -> None:
        answer = server.ask(
            "/v1/models/echoes:predict", b'{"inputs":{"amount":[1.5],"carrier":[{"b64":"QUE="}]}}'
        )

        assert answer.json == {"outputs": {"number": [[1.5]], "text": [["AA"]]}}

    def test_classifies_and_regresses(self, server: Server) -> None:
        body = b'{"examples":[{"f0":1,"f1":2,"f2":3}]}'

        classified = server.ask("/v1/models/coins/labels/tails:classify", body)
        regressed = server.ask("/v1/models/sums:regress", body)
        wrong = server.ask("/v1/models/sums:classify", body)

        assert classified.json == {"results": [[["0", 0.25], ["1", 0.75]]]}
        assert regressed.json == {"results": [6.0]}
        assert (wrong.status, list(wrong.json)) == (400, ["error"])

    def test_refuses_an_unknown_signature_and_an_unknown_verb(self, server: Server) -> None:
        signature = server.ask("/v1/models/sums:predict", b'{"signature_name":"x","instances":[[1,2,3]]}')
        verb = server.ask("/v1/models/sums:explain", self.ROW)

        assert (signature.status, verb.status) == (400, 404)
        assert "no signature 'x'" in signature.json["error"]
        assert ":predict" in verb.json["error"]

    @pytest.mark.parametrize(
        ("path", "versions", "ready"),
        [
            ("coins", {"1": "AVAILABLE", "2": "AVAILABLE"}, True),
            ("coins/versions/2", {"2": "AVAILABLE"}, True),
            ("coins/labels/heads", {"1": "AVAILABLE"}, True),
            ("sums", {"1": "AVAILABLE", "2": "START"}, True),
            ("sums/versions/2", {"2": "START"}, False),
            ("sums/versions/0", {"1": "AVAILABLE", "2": "START"}, True),
            ("empty", {"1": "START"}, False),
        ],
    )
    def test_tells_the_state_of_versions(
        self, server: Server, path: str, versions: dict[str, str], ready: bool
    ) -> None:
        document = get(server, f"/v1/models/{path}", token="dl_read").json

        told = {status["version"]: status["state"] for status in document["model_version_status"]}
        assert (told, document["ready"]) == (versions, ready)

    def test_describes_a_version(self, server: Server) -> None:
        document = get(server, "/v1/models/coins/labels/tails/metadata").json

        assert document["model_spec"]["version"] == "2"
        signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert set(signature["outputs"]) == {"label", "probabilities"}

    def test_lists_its_project_s_models(self, server: Server) -> None:
        assert get(server, "/v1/models", token="dl_theirs").json == {"models": ["foreign"]}

    @pytest.mark.parametrize("metadata", ["", "/metadata"])
    @pytest.mark.parametrize(
        ("path", "bearer", "status"),
        [
            ("foreign", "dl_infer", 404),
            ("unknown", "dl_infer", 404),
            ("coins/versions/9", "dl_infer", 404),
            ("coins/labels/edge", "dl_infer", 404),
            ("coins/strange/1", "dl_infer", 404),
            ("coins", "dl_nobody", 401),
        ],
    )
    def test_tells_no_more_than_it_may(
        self, server: Server, path: str, metadata: str, bearer: str, status: int
    ) -> None:
        answer = get(server, f"/v1/models/{path}{metadata}", token=bearer)

        assert (answer.status, list(answer.json)) == (status, ["error"])

    def test_has_no_metadata_without_a_champion(self, server: Server) -> None:
        assert get(server, "/v1/models/empty/metadata").status == 409

    def test_takes_only_get_for_what_it_tells(self, server: Server) -> None:
        answer = server.ask("/v1/models/sums", b"{}")

        assert (answer.status, answer.headers["allow"]) == (405, "GET")


class TestMlflow:
    def test_needs_no_model_s_name_where_the_project_has_one_model(self, server: Server) -> None:
        answer = server.ask("/invocations", b"f2,f1,f0\n3,2,1\n,2,1\n", token="dl_theirs")

        assert answer.json == {"predictions": [6.0, None]}

    @pytest.mark.parametrize(
        ("bearer", "part"), [("dl_infer", "serves 'sums', 'coins'"), ("dl_nothing", "serves none")]
    )
    def test_needs_it_elsewhere(self, server: Server, bearer: str, part: str) -> None:
        answer = server.ask("/invocations", b'{"inputs":[[1,2,3]]}', token=bearer)

        assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert part in answer.json["message"]

    def test_reads_parameters(self, server: Server) -> None:
        body = {"inputs": [[1, 2, 3]], "params": {"driftline_subject": "adam"}}

        answer = server.ask("/invocations/sums", json.dumps(body).encode())

        batch, place = logged(server, answer.headers["driftline-prediction-id"])
        assert batch.subjects[place] == "adam"


class TestTorchServe:
    def test_takes_put(self, server: Server) -> None:
        answer = server.ask("/predictions/sums", b"[[1,2,3],[4,5,6]]", method="PUT")

        assert answer.json == [6, 15]

    def test_takes_no_other_method(self, server: Server) -> None:
        answer = server.ask("/predictions/sums", b"[1,2,3]", method="PATCH")

        assert (answer.status, answer.json["type"]) == (405, "MethodNotAllowedException")
        assert answer.headers["allow"] == "POST, PUT"


class TestPing:
    def test_is_open_to_all(self, server: Server) -> None:
        answer = get(server, "/ping", token="dl_nobody")

        assert (answer.status, answer.json) == (200, {"status": "Healthy"})

    def test_is_only_got(self, server: Server) -> None:
        assert server.ask("/ping").status == 405


def test_leaves_other_paths_to_the_application(server: Server) -> None:
    for path in ("/v1/model", "/v1", "/pings", "/invocation", "/prediction/sums", "/models"):
        assert get(server, path).body == f"app {path} 0".encode()
