"""The KServe SDK, against a running server."""

from pathlib import Path

import pytest

from tests.foreign_clients.conftest import Platform, Report, differences, run_program

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(platform: Platform, client_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return run_program("kserve_sdk.py", client_environment, platform, tmp_path_factory.mktemp("kserve"))


@pytest.mark.parametrize("client", ["rest-json", "rest-binary", "grpc"])
def test_receives_what_onnx_runtime_answers_in_every_datatype(
    client: str, report: Report, platform: Platform
) -> None:
    assert differences(report, client, platform) == []


@pytest.mark.parametrize(("client", "not_found"), [("rest", "404"), ("grpc", "NOT_FOUND")])
def test_finds_what_is_there_and_not_what_is_not(client: str, not_found: str, report: Report) -> None:
    assert report.findings[client] == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "unknown": not_found,
    }
