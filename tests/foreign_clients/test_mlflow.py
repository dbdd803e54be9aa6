"""MLflow's scoring client, against a running server."""

from pathlib import Path

import pytest

from tests.foreign_clients.conftest import SINGLE_TOKEN, Platform, Report, differences, run_program

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def report(platform: Platform, client_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("mlflow")
    return run_program("mlflow_client.py", client_environment, platform, folder, token=SINGLE_TOKEN)


@pytest.mark.parametrize(
    "form",
    [
        "dataframe_split",
        "dataframe_split_reordered",
        "dataframe_split_unnamed",
        "dataframe_records",
        "instances",
        "inputs",
        "inputs_by_name",
        "csv",
    ],
)
def test_receives_what_onnx_runtime_answers_in_each_form(
    form: str, report: Report, platform: Platform
) -> None:
    assert differences(report, form, platform, models=["forest"]) == []


def test_sends_the_missing_values_of_a_table(report: Report, platform: Platform) -> None:
    assert report.findings["missing"] == len(platform.questions()["forest"]["X"])


def test_is_told_in_a_sentence_what_it_did_wrong(report: Report) -> None:
    assert "error code 400" in report.findings["wrong"]
    assert '"error_code":"BAD_REQUEST"' in report.findings["wrong"]
    assert "The feature 'f2' is missing" in report.findings["wrong"]
    assert "exactly one of dataframe_split" in report.findings["form"]
