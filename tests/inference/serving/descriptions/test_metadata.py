"""What a real server tells of itself and of its models: metadata, statistics, repository."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.inference.serving.conftest import publish_everything
from tests.inference.serving.running import Server, rows_body, running_server
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

COINS = "/v2/models/coins/infer"


class TestDescriptions:
    def test_are_open_for_health_alone(self, server: Server) -> None:
        live = server.ask("/v2/health/live", method="GET", token="")
        ready = server.ask("/v2/health/ready", method="GET", token="")

        assert (live.json, ready.json) == ({"live": True}, {"ready": True})
        assert server.ask("/v2", method="GET", token="").status == 401

    def test_tell_what_the_server_and_the_model_are(self, server: Server) -> None:
        assert server.ask("/v2", method="GET", token="dl_read").json == {
            "name": "driftline",
            "version": version("driftline"),
            "extensions": [
                "asynchronous_inference",
                "binary_tensor_data",
                "classification",
                "model_configuration",
                "model_repository",
                "parameters",
                "schedule_policy",
                "statistics",
            ],
        }
        assert server.ask("/v2/models", method="GET").json == {
            "models": ["sums", "coins", "echoes", "empty", "types", "sizes"]
        }
        assert server.ask("/v2/models/coins", method="GET").json == {
            "name": "coins",
            "versions": ["1", "2"],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
            ],
            "properties": {"task": "binary", "features": '["f0","f1","f2"]', "classes": '["0","1"]'},
        }

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/v2/models/coins/ready", 200),
            ("/v2/models/coins/versions/2/ready", 200),
            ("/v2/models/coins/versions/9/ready", 404),
            ("/v2/models/empty/ready", 503),
            ("/v2/models/empty", 409),
            ("/v2/models/foreign", 404),
            ("/v2/models/foreign/ready", 404),
            ("/v2/models/coins/config", 200),
            ("/v2/models/coins/versions/2/config", 200),
            ("/v2/models/coins/versions/9/config", 404),
            ("/v2/models/empty/config", 409),
            ("/v2/models/foreign/config", 404),
            ("/v2/models/coins/versions/ready", 404),
            ("/v2/nothing", 404),
        ],
    )
    def test_answer_with_the_status_that_clients_look_at(
        self, server: Server, path: str, status: int
    ) -> None:
        assert server.ask(path, method="GET").status == status

    def test_configure_a_model_without_its_rows(self, server: Server) -> None:
        configuration = server.ask("/v2/models/coins/config", method="GET").json

        assert configuration["max_batch_size"] == 10_000
        assert configuration["input"] == [{"name": "X", "data_type": "TYPE_FP32", "dims": [3]}]
        assert [output["dims"] for output in configuration["output"]] == [[], [2]]

    @pytest.mark.parametrize(
        ("method", "path", "status", "allow"),
        [
            ("POST", "/v2", 405, "GET"),
            ("DELETE", "/v2/models/coins", 405, "GET"),
            ("POST", "/v2/models/stats", 405, "GET"),
            ("POST", "/v2/nothing", 404, None),
            ("POST", "/v2/models/coins/infer/", 404, None),
            ("GET", "/v2/repository/index", 405, "POST"),
        ],
    )
    def test_name_the_method_to_use(
        self, server: Server, method: str, path: str, status: int, allow: str | None
    ) -> None:
        answer = server.ask(path, method=method)

        assert (answer.status, answer.headers.get("allow")) == (status, allow)

    def test_leave_other_paths_to_the_application(self, server: Server) -> None:
        assert server.ask("/pages?a=b", b"12345").body == b"app /pages 5"


class TestStatistics:
    def count(self, server: Server, path: str) -> list[tuple[str, str, int]]:
        found = server.ask(path, method="GET").json["model_stats"]
        return [(stat["name"], stat["version"], stat["inference_count"]) for stat in found]

    def test_add_up_what_all_processes_answered(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)
        with running_server(tmp_path, workers=2) as server:
            for _ in range(10):
                server.ask(COINS, rows_body([1, 2, 3], [4, 5, 6]))
            server.ask("/v2/models/coins/versions/2/infer", rows_body([1, 2, 3]))
            server.ask(COINS, b"{")

            def first() -> Any:
                [stat] = server.ask("/v2/models/coins/versions/1/stats", method="GET").json["model_stats"]
                return stat

            wait_until(
                lambda: (
                    self.count(server, "/v2/models/coins/stats") == [("coins", "1", 20), ("coins", "2", 1)]
                    and first()["inference_stats"]["fail"]["count"]
                )
            )
            stat = first()

        parts = stat["inference_stats"]
        assert 1 <= stat["execution_count"] <= 10
        assert {name: part["count"] for name, part in parts.items()} == {
            "success": 10,
            "queue": 10,
            "compute_input": 10,
            "compute_infer": 10,
            "compute_output": 10,
            "fail": 1,
            "cache_hit": 0,
            "cache_miss": 0,
        }
        of_success = sum(
            parts[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output")
        )
        assert 0 < of_success == pytest.approx(parts["success"]["ns"], rel=0.01)

    def test_tell_of_the_callers_project_alone(self, server: Server) -> None:
        names = {name for name, _, _ in self.count(server, "/v2/models/stats")}

        assert names == {"sums", "coins", "echoes", "types", "sizes"}

    @pytest.mark.parametrize(
        ("path", "token", "status"),
        [
            ("/v2/models/stats", "dl_read", 200),
            ("/v2/models/stats", "dl_nobody", 401),
            ("/v2/models/empty/stats", "dl_read", 200),
            ("/v2/models/foreign/stats", "dl_read", 404),
            ("/v2/models/coins/versions/9/stats", "dl_read", 404),
            ("/v2/models/coins/versions/stats", "dl_read", 404),
        ],
    )
    def test_are_found_where_the_model_is(self, server: Server, path: str, token: str, status: int) -> None:
        assert server.ask(path, method="GET", token=token).status == status


class TestRepository:
    def index(self, server: Server, body: bytes = b"") -> Any:
        return server.ask("/v2/repository/index", body).json

    def test_lists_every_version_of_the_project_for_an_empty_body(self, server: Server) -> None:
        entries = {(entry["name"], entry["version"]): entry for entry in self.index(server)}

        assert set(entries) == {
            ("sums", "1"),
            ("coins", "1"),
            ("coins", "2"),
            ("echoes", "1"),
            ("types", "1"),
            ("sizes", "1"),
        }
        assert (entries["sums", "1"]["state"], entries["sums", "1"]["reason"]) == ("READY", "")
        assert self.index(server, b"{}") == list(entries.values())

    def test_says_why_a_version_is_not_there(self, tmp_path: Path) -> None:
        publish_everything(tmp_path)
        for artifact in (tmp_path / "artifacts").iterdir():
            artifact.write_bytes(b"other bytes")
        with running_server(tmp_path) as server:
            entries = self.index(server)
            ready = self.index(server, b'{"ready": true}')
            refused = server.ask("/v2/repository/models/sums/load")

        assert {entry["state"] for entry in entries} == {"UNAVAILABLE"}
        assert "which was registered" in entries[0]["reason"]
        assert (ready, refused.status) == ([], 501)

    @pytest.mark.parametrize("body", [b"[]", b'{"ready": 1}', b"{", b"\xff"])
    def test_refuses_a_body_that_is_no_index_request(self, server: Server, body: bytes) -> None:
        answer = server.ask("/v2/repository/index", body)

        assert (answer.status, "index request" in answer.json["error"]) == (400, True)

    @pytest.mark.parametrize(
        ("path", "body", "status", "part"),
        [
            ("models/sums/load", b"", 200, None),
            ("models/sums/load", b'{"parameters": {}}', 200, None),
            ("models/sums/load", b'{"parameters": {"config": "{}"}}', 501, "a deployment decides"),
            ("models/sums/load", b"{", 501, "a deployment decides"),
            ("models/empty/load", b"", 501, "Promote a version"),
            ("models/sums/unload", b"", 501, "cannot be unloaded here"),
            ("models/foreign/load", b"", 404, "no model 'foreign'"),
            ("models/sums/burn", b"", 404, "nothing at this path"),
            ("nothing", b"", 404, "nothing at this path"),
        ],
    )
    def test_says_truly_what_it_does(
        self, server: Server, path: str, body: bytes, status: int, part: str | None
    ) -> None:
        answer = server.ask(f"/v2/repository/{path}", body)

        assert answer.status == status
        assert json.loads(answer.body) == {} if part is None else part in answer.json["error"]

    def test_is_for_holders_of_a_token(self, server: Server) -> None:
        assert server.ask("/v2/repository/index", token="dl_nobody").status == 401
