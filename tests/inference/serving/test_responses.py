"""What a real server answers to inference requests, and what it logs."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inference.protocol.v2.parameters import format_time
from inference.serving.counts.metrics import PHASES
from tests.inference.serving.running import Server, request_bytes, rows_body
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

UUID_7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SUMS = "/v2/models/sums/infer"
COINS = "/v2/models/coins/infer"


class TestAnswer:
    def test_is_the_models_with_its_version_in_the_headers(self, server: Server) -> None:
        answer = server.ask(SUMS, rows_body([1, 2, 3.5], id="mine"))

        assert answer.status == 200
        assert answer.json == {
            "model_name": "sums",
            "model_version": "1",
            "id": "mine",
            "outputs": [{"name": "sum", "datatype": "FP32", "shape": [1, 1], "data": [6.5]}],
        }
        assert UUID_7.fullmatch(answer.headers["driftline-prediction-id"])
        assert answer.headers["driftline-version"] == "1"
        assert answer.headers["driftline-generation"] == "5"
        assert answer.headers["driftline-log"] == "spooled"

    def test_holds_every_row(self, server: Server) -> None:
        answer = server.ask(SUMS, rows_body([1, 2, 3], [4, 5, 6]))

        assert answer.json["outputs"][0] == {
            "name": "sum",
            "datatype": "FP32",
            "shape": [2, 1],
            "data": [6, 15],
        }

    def test_serves_texts_one_input_a_feature(self, server: Server) -> None:
        body = {
            "inputs": [
                {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [None, 7]},
                {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": ["\u00dcA", None]},
            ]
        }

        answer = server.ask("/v2/models/echoes/infer", json.dumps(body).encode())

        assert [output["data"] for output in answer.json["outputs"]] == [[None, 7], ["\u00dcA", ""]]
        assert "not finite in number" in answer.json["parameters"]["driftline_warnings"]

    def test_comes_from_the_version_asked_for(self, server: Server) -> None:
        champion = server.ask("/v2/models/coins/versions/1/infer", rows_body([1, 2, 3]))
        other = server.ask("/v2/models/coins/versions/2/infer", rows_body([1, 2, 3]))

        assert [answer.headers["driftline-version"] for answer in (champion, other)] == ["1", "2"]
        assert [answer.json["outputs"][0]["data"] for answer in (champion, other)] == [[0], [1]]


class TestRefusal:
    @pytest.mark.parametrize(
        ("path", "token", "status", "part"),
        [
            (SUMS, "dl_nobody", 401, "missing, unknown or expired"),
            (SUMS, "dl_expired", 401, "missing, unknown or expired"),
            (SUMS, "", 401, "missing, unknown or expired"),
            (SUMS, "dl_read", 403, "lacks the scope 'infer'"),
            ("/v2/models/foreign/infer", "dl_infer", 404, "no model 'foreign'"),
            ("/v2/models/nothing/infer", "dl_infer", 404, "no model 'nothing'"),
            ("/v2/models/sums/versions/9/infer", "dl_infer", 404, "no servable version '9'"),
            ("/v2/models/empty/infer", "dl_infer", 409, "no_champion"),
            ("/v2/models//infer", "dl_infer", 404, "nothing at this path"),
            ("/v2/models/a/b/infer", "dl_infer", 404, "nothing at this path"),
        ],
    )
    def test_names_the_reason_in_the_protocols_shape(
        self, server: Server, path: str, token: str, status: int, part: str
    ) -> None:
        answer = server.ask(path, rows_body([1, 2, 3]), token=token)

        assert answer.status == status
        assert list(answer.json) == ["error"]
        assert part in answer.json["error"]
        assert ("www-authenticate" in answer.headers) == (status == 401)

    @pytest.mark.parametrize(
        ("headers", "status", "part"),
        [
            ({"content-encoding": "br"}, 415, "use gzip, deflate or none"),
            ({"content-encoding": "gzip"}, 400, "not one whole piece of gzip"),
            ({"inference-header-content-length": "10"}, 400, "not JSON"),
            ({"authorization": "Basic dl_infer"}, 401, "missing, unknown"),
        ],
    )
    def test_covers_headers_that_it_does_not_go_along_with(
        self, server: Server, headers: dict[str, str], status: int, part: str
    ) -> None:
        answer = server.ask(SUMS, rows_body([1, 2, 3]), headers=headers)

        assert (answer.status, part in answer.json["error"]) == (status, True)

    def test_of_bad_values_names_the_version_that_refused(self, server: Server) -> None:
        answer = server.ask(SUMS, rows_body([1, 2]))

        assert answer.status == 400
        assert "the model takes [rows, 3]" in answer.json["error"]
        assert answer.headers["driftline-version"] == "1"

    def test_of_a_bad_request_leaves_its_neighbours_alone(self, server: Server) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(SUMS, b"{") + request_bytes(SUMS, rows_body([1, 2, 3])))

            assert [connection.receive().status for _ in range(2)] == [400, 200]

    def test_is_405_for_another_method(self, server: Server) -> None:
        answer = server.ask(SUMS, method="DELETE")

        assert (answer.status, answer.headers["allow"]) == (405, "POST")


class TestLog:
    def find(self, server: Server, prediction_id: str, role: str = "champion") -> Any:
        return next((batch for batch in server.spooled(role) if batch.ids[0].startswith(prediction_id)), None)

    def test_holds_the_row_before_its_answer_leaves(self, server: Server) -> None:
        began_us = time.time_ns() // 1000
        answer = server.ask(SUMS, rows_body([1, 2, 3], id="mine"))

        batch = self.find(server, answer.headers["driftline-prediction-id"])

        assert batch.ids == [answer.headers["driftline-prediction-id"]]
        assert batch.client_ids == ["mine"]
        assert (batch.model_id, batch.version_id, batch.generation, batch.keyed) == (1, 1, 5, False)
        assert [(column.name, column.kind) for column in batch.features] == [
            ("f0", "f4"),
            ("f1", "f4"),
            ("f2", "f4"),
        ]
        assert batch.features[1].data == b"\0\0\0@"
        assert batch.prediction == b"\0\0\0\0\0\0\x18@"
        assert began_us <= batch.received_us == batch.event_time_us[0] <= time.time_ns() // 1000
        assert 0 < batch.latency_us[0] < 20_000_000

    def test_names_each_row_of_a_request(self, server: Server) -> None:
        answer = server.ask(COINS, rows_body([1, 2, 3], [4, 5, 6]))
        prediction_id = answer.headers["driftline-prediction-id"]

        batch = self.find(server, prediction_id)

        assert batch.ids == [f"{prediction_id}:0", f"{prediction_id}:1"]
        assert batch.prediction == ["0", "0"]
        assert batch.probabilities == b"\0\0@?\0\0\x80>" * 2

    def test_holds_the_shadows_answer_under_the_same_id(self, server: Server) -> None:
        answer = server.ask(COINS, rows_body([1, 2, 3]))
        prediction_id = answer.headers["driftline-prediction-id"]
        wait_until(lambda: self.find(server, prediction_id, "shadow"))

        shadow = self.find(server, prediction_id, "shadow")

        assert (shadow.version_id, shadow.prediction) == (3, ["1"])
        assert shadow.event_time_us == self.find(server, prediction_id).event_time_us

    def test_gives_no_copy_of_a_direct_call_to_the_shadow(self, server: Server) -> None:
        direct = server.ask("/v2/models/coins/versions/2/infer", rows_body([1, 2, 3]))
        champion = server.ask(COINS, rows_body([1, 2, 3]))
        wait_until(lambda: self.find(server, champion.headers["driftline-prediction-id"], "shadow"))

        direct_id = direct.headers["driftline-prediction-id"]

        assert self.find(server, direct_id, "direct").version_id == 3
        assert self.find(server, direct_id, "shadow") is None

    def test_keeps_the_callers_key_time_tags_and_subject(self, server: Server) -> None:
        moment = datetime.now(UTC) - timedelta(minutes=5)
        parameters = {
            "driftline_id": "flight 1",
            "driftline_timestamp": moment.isoformat(),
            "driftline_tags": '{"airport": "JFK"}',
            "driftline_subject": "someone",
        }

        answer = server.ask(SUMS, rows_body([1, 2, 3], parameters=parameters))

        batch = self.find(server, "flight 1")
        assert answer.headers["driftline-prediction-id"] == "flight 1"
        assert batch.keyed
        assert format_time(batch.event_time_us[0]) == moment.isoformat().replace("+00:00", "Z")
        assert (batch.tags, batch.subjects) == ([{"airport": "JFK"}], ["someone"])

    def test_takes_old_times_with_the_scope_backfill_alone(self, server: Server) -> None:
        body = rows_body([1, 2, 3], parameters={"driftline_timestamp": "2013-01-01T05:00:00-05:00"})

        refused = server.ask(SUMS, body)
        taken = server.ask(SUMS, body, token="dl_backfill")

        assert (refused.status, "backfill" in refused.json["error"]) == (403, True)
        batch = self.find(server, taken.headers["driftline-prediction-id"])
        assert format_time(batch.event_time_us[0]) == "2013-01-01T10:00:00Z"

    def test_marks_missing_values_as_missing(self, server: Server) -> None:
        body = {
            "inputs": [
                {"name": "amount", "shape": [1, 1], "datatype": "FP32", "data": [None]},
                {"name": "carrier", "shape": [1, 1], "datatype": "BYTES", "data": [None]},
            ]
        }

        answer = server.ask("/v2/models/echoes/infer", json.dumps(body).encode())

        amount, carrier = self.find(server, answer.headers["driftline-prediction-id"]).features
        assert (amount.kind, amount.data) == ("f4", b"\0\0\xc0\x7f")
        assert (carrier.kind, carrier.data) == ("s", [None])


class TestStatusFile:
    def test_counts_what_was_answered(self, server: Server) -> None:
        server.ask(SUMS, rows_body([1, 2, 3]))
        server.ask(SUMS, b"{")

        def counted() -> bool:
            [status] = server.status_files()
            sums = status["series"].get("1/champion/1")
            return sums is not None and sums["rows"] >= 1 and status["refusals"].get("400", 0) >= 1

        wait_until(counted)
        [status] = server.status_files()
        assert (status["generation"], status["ready"], status["stale_models"]) == (1, True, {})

    def test_splits_an_answers_time_into_phases_that_add_up(self, server: Server) -> None:
        server.ask(SUMS, rows_body([1, 2, 3]))

        wait_until(lambda: "1/champion/1" in server.status_files()[0]["series"])
        phases = server.status_files()[0]["series"]["1/champion/1"]["phases"]
        assert len({sum(phase["counts"]) for phase in phases.values()}) == 1
        assert all(phase["sum"] > 0 for phase in phases.values())
        assert sum(phases[phase]["sum"] for phase in PHASES[:-1]) == phases["total"]["sum"]
