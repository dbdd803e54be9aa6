"""Triton's own clients, against a running server."""

from pathlib import Path
from typing import Any

import pytest

from tests.foreign_clients.conftest import FEATURES, Platform, Report, differences, run_program

pytestmark = pytest.mark.e2e

CLIENTS = [
    "http-binary",
    "http-json",
    "http-gzip",
    "http-deflate",
    "http-aio-binary",
    "http-aio-json",
    "grpc",
    "grpc-aio",
]
EXPLORERS = ["http-binary", "http-aio-json", "grpc", "grpc-aio"]


@pytest.fixture(scope="module")
def report(platform: Platform, client_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return run_program("triton_client.py", client_environment, platform, tmp_path_factory.mktemp("triton"))


@pytest.mark.parametrize("client", CLIENTS)
def test_receives_what_onnx_runtime_answers_in_every_datatype(
    client: str, report: Report, platform: Platform
) -> None:
    assert differences(report, client, platform) == []


@pytest.mark.parametrize("client", EXPLORERS)
class TestLookingAround:
    def findings(self, report: Report, client: str) -> Any:
        return report.findings[client]

    def test_finds_the_server_and_its_models_ready(self, report: Report, client: str) -> None:
        found = self.findings(report, client)

        assert [found[what] for what in ("live", "ready", "model_ready", "server")] == [
            True,
            True,
            True,
            "driftline",
        ]

    def test_reads_the_metadata_and_the_configuration(self, report: Report, client: str) -> None:
        found = self.findings(report, client)

        (tensor,) = found["metadata"]["inputs"]
        assert (tensor["name"], tensor["datatype"]) == ("X", "FP32")
        assert [int(size) for size in tensor["shape"]] == [-1, FEATURES]
        configuration = found["configuration"].get("config", found["configuration"])
        assert configuration["max_batch_size"] > 1
        assert [int(size) for size in configuration["input"][0]["dims"]] == [FEATURES]

    def test_reads_statistics_that_count_its_questions(self, report: Report, client: str) -> None:
        (statistics,) = self.findings(report, client)["statistics"]["model_stats"]

        assert (statistics["name"], statistics["version"]) == ("forest", "1")
        assert int(statistics["inference_count"]) >= 5
        assert int(statistics["inference_stats"]["success"]["count"]) >= 1

    def test_lists_the_repository(self, report: Report, client: str) -> None:
        index = self.findings(report, client)["index"]

        models = index if isinstance(index, list) else index["models"]
        assert {(model["name"], model["state"]) for model in models} == {
            ("identity", "READY"),
            ("forest", "READY"),
            ("half_plus_three", "READY"),
        }

    def test_gets_the_output_and_the_classes_that_it_asks_for(
        self, report: Report, client: str, platform: Platform
    ) -> None:
        found = self.findings(report, client)

        best = [max(enumerate(row), key=lambda pair: pair[1]) for row in own_probabilities(platform)]
        assert found["best"] == [[f"{value:f}:{place}:{place}"] for place, value in best]
        assert (found["id"], found["outputs"]) == ("mine", ["probabilities"])

    def test_is_told_in_a_sentence_what_it_did_wrong(self, report: Report, client: str) -> None:
        found = self.findings(report, client)

        assert found["unknown"] == "There is no model 'unknown' in this project."
        assert "The model has no input 'X'" in found["wrong"]
        assert "The token is missing, unknown or expired" in found["anonymous"]


def own_probabilities(platform: Platform) -> list[list[float]]:
    probabilities: list[list[float]] = platform.own_answers()["forest"]["probabilities"].tolist()
    return probabilities
