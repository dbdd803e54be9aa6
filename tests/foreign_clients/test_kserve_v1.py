"""The KServe SDK in its protocol V1, against a running server."""

from pathlib import Path

import pytest

from tests.foreign_clients.conftest import Platform, Report, differences, run_program

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(platform: Platform, client_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return run_program("kserve_v1.py", client_environment, platform, tmp_path_factory.mktemp("kserve"))


def test_receives_what_onnx_runtime_answers_in_every_datatype(report: Report, platform: Platform) -> None:
    assert differences(report, "v1", platform) == []


def test_finds_the_model_ready(report: Report) -> None:
    assert report.findings["ready"] is True


def test_is_told_what_is_not_there_and_what_is_wrong(report: Report) -> None:
    unknown, wrong = report.findings["unknown"], report.findings["wrong"]

    assert unknown[0] == "404"
    assert "There is no model 'unknown' in this project." in unknown[1]
    assert wrong[0] == "400"
    assert "the model takes lists of 4" in wrong[1]
